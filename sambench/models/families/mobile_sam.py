"""MobileSAM (Zhang et al., 2023)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = (
    ModelCard(
        "mobile_sam",
        "mobile_sam",
        "SAM's decoder over a TinyViT encoder, distilled from ViT-H",
        adapter="sambench.models.sam.mobile_sam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=frozenset({"sa1b"}),
        parameters=9_808_452,
        citation="Zhang et al., Faster Segment Anything (MobileSAM), 2023, arXiv 2306.14289",
        url="https://github.com/ChaoningZhang/MobileSAM",
        weights=(
            "Download weights/mobile_sam.pt from the address above (41 MB) and pass the file: --model mobile_sam.pt\n"
            "The same file from the Hugging Face hub: hf download dhkim2810/MobileSAM mobile_sam.pt --local-dir ."
        ),
        licence="Apache-2.0",
        memory="0.6 GB, CPU, measured",
    ),
)
