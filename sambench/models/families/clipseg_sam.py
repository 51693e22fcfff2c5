"""CLIPSeg's heat maps, as clicks for SAM."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = (
    ModelCard(
        "clipseg_sam",
        "clipseg_sam",
        "text: the hot regions of CLIPSeg are clicks for SAM ViT-H; not the paper's model",
        adapter="sambench.models.text.clipseg_sam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask", "text"}),
        trained_on=frozenset({"sa1b", "openai_wit400m", "phrasecut", "coco"}),
        citation="Lüddecke and Ecker, Image Segmentation Using Text and Image Prompts, CVPR 2022, arXiv 2112.10003; "
        "Kirillov et al., Segment Anything, ICCV 2023, arXiv 2304.02643",
        url="https://github.com/timojl/clipseg",
        weights=(
            "Nothing to do where the Hugging Face hub can be reached: CIDAS/clipseg-rd64-refined and "
            "facebook/sam-vit-huge are fetched on first use.\n"
            "Or have folders and files of your own: --set model.clipseg=FOLDER --set model.sam=FILE\n"
            "Another SAM: --set model.sam=sam_vit_b"
        ),
        hub="CIDAS/clipseg-rd64-refined",
        licence="CLIPSeg: MIT (code), Apache-2.0 (weights on the hub); SAM: Apache-2.0",
    ),
)
