"""Segment Anything (Kirillov et al., ICCV 2023)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = tuple(
    ModelCard(
        name,
        "sam",
        f"Segment Anything, {size}",
        adapter="sambench.models.sam.sam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=frozenset({"sa1b"}),
        parameters=parameters,
        citation="Kirillov et al., Segment Anything, ICCV 2023, arXiv 2304.02643",
        url="https://github.com/facebookresearch/segment-anything",
        weights=(
            f"Nothing to do where the Hugging Face hub can be reached: {hub} is fetched on first use.\n"
            f"Or download {file} from the address above and pass the file: --model {file}"
        ),
        hub=hub,
        licence="Apache-2.0",
        memory=f"{memory} GB, CPU, measured",
    )
    for name, size, parameters, memory, hub, file in (
        ("sam_vit_b", "ViT-B", 93_735_472, 1.0, "facebook/sam-vit-base", "sam_vit_b_01ec64.pth"),
        ("sam_vit_l", "ViT-L", 312_342_832, 1.9, "facebook/sam-vit-large", "sam_vit_l_0b3195.pth"),
        ("sam_vit_h", "ViT-H, the paper's model", 641_090_864, 3.2, "facebook/sam-vit-huge", "sam_vit_h_4b8939.pth"),
    )
)
