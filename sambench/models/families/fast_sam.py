"""FastSAM (Zhao et al., 2023)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = tuple(
    ModelCard(
        name,
        "fast_sam",
        f"FastSAM, {size}: all masks at once, prompts choose among them",
        adapter="sambench.models.fast_sam.fast_sam",
        capabilities=frozenset({"points", "boxes"}),
        trained_on=frozenset({"sa1b"}),
        parameters=parameters,
        citation="Zhao et al., Fast Segment Anything, 2023, arXiv 2306.12156",
        url="https://github.com/CASIA-IVA-Lab/FastSAM",
        weights=(
            f"Download {file} from the address above (Model Checkpoints) and pass it:\n"
            f"--model {name} --set model.weights={file}\n"
            "Needs pip install 'sambench[fastsam]', which brings ultralytics and torchvision. ultralytics is under "
            "AGPL-3.0, unlike sambench: whoever distributes a program with it, or offers one over a network, has to "
            "offer its whole source under that licence."
        ),
        licence="AGPL-3.0",
        extra="fastsam",
    )
    for name, size, parameters, file in (
        ("fast_sam_x", "YOLOv8x-seg", 72_234_149, "FastSAM.pt"),
        ("fast_sam_s", "YOLOv8s-seg", 11_790_483, "FastSAM-s.pt"),
    )
)
