"""EfficientSAM (Xiong et al., CVPR 2024)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = tuple(
    ModelCard(
        name,
        "efficient_sam",
        f"EfficientSAM, {size}: a plain ViT with SAMI pretraining",
        adapter="sambench.models.sam.efficient_sam",
        capabilities=frozenset({"points", "boxes", "multimask"}),
        trained_on=frozenset({"imagenet", "sa1b"}),
        parameters=parameters,
        citation="Xiong et al., EfficientSAM: Leveraged Masked Image Pretraining, CVPR 2024, arXiv 2312.00863",
        url="https://github.com/yformer/EfficientSAM",
        weights=f"Download weights/{file} from the address above{unpack} and pass the file: --model {checkpoint}",
        licence="Apache-2.0",
        memory=f"{memory} GB, CPU, measured",
    )
    for name, size, parameters, memory, file, checkpoint, unpack in (
        ("efficient_sam_ti", "ViT-Ti", 10_223_204, 0.3, "efficient_sam_vitt.pt", "efficient_sam_vitt.pt", ""),
        (
            "efficient_sam_s",
            "ViT-S",
            26_413_028,
            0.5,
            "efficient_sam_vits.pt.zip",
            "efficient_sam_vits.pt",
            ", unpack it",
        ),
    )
)
