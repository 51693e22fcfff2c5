"""FocalClick on SegFormer's encoder (Chen et al., CVPR 2022)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

COCO_LVIS = frozenset({"coco", "lvis"})
COMBINED = COCO_LVIS | {"ade20k", "msra10k", "dut", "youtube_vos", "thinobject5k", "hflickr"}
"""The authors' combination of eight datasets."""

CARDS = tuple(
    ModelCard(
        f"focalclick_segformer_{name}",
        "focalclick",
        summary,
        adapter="sambench.models.interactive.focalclick",
        capabilities=frozenset({"points", "masks"}),
        trained_on=trained_on,
        parameters=parameters,
        citation="Chen et al., FocalClick: Towards Practical Interactive Image Segmentation, CVPR 2022, "
        "arXiv 2204.02574",
        url="https://github.com/XavierCHEN34/ClickSEG",
        weights=(
            f"Download {weights} from the Google Drive folder that the README at the address above links to,\n"
            f"and pass the file: --model focalclick_segformer_{name} --set model.weights=FILE"
        ),
        licence="MIT (the authors' code; their encoder begins with SegFormer's weights, for which NVIDIA allows "
        "non-commercial use only)",
        memory=memory,
    )
    for name, summary, weights, trained_on, parameters, memory in (
        (
            "b0_s1",
            "FocalClick S1 on SegFormer-B0",
            "SegFormerB0-S1 (COCO+LVIS)",
            COCO_LVIS,
            3_735_651,
            "0.4 GB, CPU, measured",
        ),
        (
            "b0_s2",
            "FocalClick S2 on SegFormer-B0",
            "SegFormerB0-S2 (COCO+LVIS)",
            COCO_LVIS,
            3_735_651,
            "0.4 GB, CPU, measured",
        ),
        (
            "b3_s2",
            "FocalClick S2 on SegFormer-B3, the model of the paper's comparison",
            "SegFormerB3-S2 (combined datasets)",
            COMBINED,
            45_682_819,
            "0.6 GB, CPU, measured",
        ),
    )
)
