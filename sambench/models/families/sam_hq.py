"""HQ-SAM (Ke et al., NeurIPS 2023)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

TRAINED_ON = frozenset({"sa1b", "hqseg44k"})
"""HQSeg-44K joins DIS, ThinObject-5K, FSS-1000, ECSSD, MSRA10K and DUT-OMRON."""

CARDS = tuple(
    ModelCard(
        name,
        "sam_hq",
        f"Segment Anything in High Quality, {size}",
        adapter="sambench.models.sam.sam_hq",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=TRAINED_ON,
        parameters=parameters,
        citation="Ke et al., Segment Anything in High Quality, NeurIPS 2023, arXiv 2306.01567",
        url="https://github.com/SysCV/sam-hq",
        weights=(
            f"Nothing to do where the Hugging Face hub can be reached: {hub} is fetched on first use.\n"
            f"Or download {name}.pth from the address above and pass the file: --model {name}.pth"
        ),
        hub=hub,
        licence="Apache-2.0",
        memory=f"{memory} GB, CPU, measured",
    )
    for name, size, parameters, memory, hub in (
        ("sam_hq_vit_b", "ViT-B", 94_806_576, 2.5, "syscv-community/sam-hq-vit-base"),
        ("sam_hq_vit_l", "ViT-L", 313_676_080, 4.0, "syscv-community/sam-hq-vit-large"),
        ("sam_hq_vit_h", "ViT-H", 642_686_000, 5.4, "syscv-community/sam-hq-vit-huge"),
    )
)
