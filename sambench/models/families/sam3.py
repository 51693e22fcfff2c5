"""SAM 3 (Carion et al., 2025), on single images."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = (
    ModelCard(
        "sam3",
        "sam3",
        "Segment Anything with Concepts, image part; for text not the paper's model",
        adapter="sambench.models.sam2.sam3",
        capabilities=frozenset({"points", "boxes", "masks", "multimask", "text"}),
        trained_on=None,
        parameters=852_400_071,
        citation="Carion et al., SAM 3: Segment Anything with Concepts, 2025, arXiv 2511.16719",
        url="https://github.com/facebookresearch/sam3",
        weights=(
            "Accept the licence at https://huggingface.co/facebook/sam3 with your account and run `hf auth login`:\n"
            "facebook/sam3 is then fetched on first use.\n"
            "Or pass a folder that has it, with its tokenizer files for phrases: --model FOLDER"
        ),
        hub="facebook/sam3",
        licence="SAM License (see the hub page)",
    ),
)
