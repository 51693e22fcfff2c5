"""SimpleClick (Liu et al., ICCV 2023)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = tuple(
    ModelCard(
        name,
        "simpleclick",
        summary,
        adapter="sambench.models.interactive.simpleclick",
        capabilities=frozenset({"points", "masks"}),
        trained_on=frozenset({"coco", "lvis"}),
        parameters=parameters,
        citation="Liu et al., SimpleClick: Interactive Image Segmentation with Simple Vision Transformers, ICCV 2023, "
        "arXiv 2210.11006",
        url="https://github.com/uncbiag/SimpleClick",
        weights=(
            f"Download cocolvis_vit_{size}.pth from the Google Drive folder that the README there links to,\n"
            f"and pass the file: --model {name} --set model.weights=cocolvis_vit_{size}.pth"
        ),
        licence="MIT",
        memory=memory,
    )
    for name, size, summary, parameters, memory in (
        ("simpleclick_vit_xtiny", "xtiny", "SimpleClick, xTiny ViT", 3_845_441, "0.5 GB, CPU, measured"),
        ("simpleclick_vit_b", "base", "SimpleClick, ViT-B", 97_068_737, "1.1 GB, CPU, measured"),
        ("simpleclick_vit_l", "large", "SimpleClick, ViT-L", 322_992_833, "2.6 GB while loading, computed"),
        (
            "simpleclick_vit_h",
            "huge",
            "SimpleClick, ViT-H, the model of the paper's comparison",
            660_714_481,
            "5.3 GB while loading, computed",
        ),
    )
)
