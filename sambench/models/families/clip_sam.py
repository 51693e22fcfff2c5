"""CLIP over SAM's masks: the idea of Segment Anything §7.5 with released weights."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = (
    ModelCard(
        "clip_sam",
        "clip_sam",
        "text: CLIP ViT-L/14@336 chooses among SAM ViT-H's masks; not the paper's model",
        adapter="sambench.models.text.clip_sam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask", "text"}),
        trained_on=frozenset({"sa1b", "openai_wit400m"}),
        citation="Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021, "
        "arXiv 2103.00020; Kirillov et al., Segment Anything, ICCV 2023, arXiv 2304.02643",
        url="https://github.com/openai/CLIP",
        weights=(
            "Nothing to do where the Hugging Face hub can be reached: openai/clip-vit-large-patch14-336 and "
            "facebook/sam-vit-huge are fetched on first use.\n"
            "Or have folders and files of your own: --set model.clip=FOLDER --set model.sam=FILE\n"
            "Any other CLIP or SigLIP: --set model.clip=google/siglip-so400m-patch14-384; another SAM: --set "
            "model.sam=sam_vit_b"
        ),
        hub="openai/clip-vit-large-patch14-336",
        licence="CLIP: MIT; SAM: Apache-2.0",
    ),
)
