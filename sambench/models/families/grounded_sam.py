"""Boxes that a detector finds for a phrase, as prompts for SAM."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = (
    ModelCard(
        "grounded_sam",
        "grounded_sam",
        "text: Grounding DINO's boxes (Swin-T) prompt SAM ViT-H; not the paper's model",
        adapter="sambench.models.text.grounded_sam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask", "text"}),
        trained_on=frozenset({"sa1b", "objects365", "goldg", "cap4m", "imagenet"}),
        citation="Ren et al., Grounded SAM, 2024, arXiv 2401.14159; Liu et al., Grounding DINO, ECCV 2024, arXiv "
        "2303.05499",
        url="https://github.com/IDEA-Research/Grounded-Segment-Anything",
        weights=(
            "Nothing to do where the Hugging Face hub can be reached: IDEA-Research/grounding-dino-tiny and "
            "facebook/sam-vit-huge are fetched on first use.\n"
            "Or have folders and files of your own: --set model.detector=FOLDER --set model.sam=FILE\n"
            "Another detector: --set model.detector=google/owlv2-base-patch16-ensemble; another SAM: --set "
            "model.sam=sam_vit_b"
        ),
        hub="IDEA-Research/grounding-dino-tiny",
        licence="Apache-2.0",
    ),
)
