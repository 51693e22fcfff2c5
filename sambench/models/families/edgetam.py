"""EdgeTAM (Zhou et al., CVPR 2025), on single images."""

from __future__ import annotations

from sambench.models.cards import ModelCard

TRAINED_ON = frozenset({"sa1b", "sa_v", "davis", "davis345", "mose", "youtube_vos"})
"""What SAM 2's may have seen, which it was trained after: its repository does not say."""

CARDS = (
    ModelCard(
        "edgetam",
        "edgetam",
        "EdgeTAM: SAM 2 with RepViT-M1, image part",
        adapter="sambench.models.sam2.edgetam",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=TRAINED_ON,
        parameters=9_120_641,
        citation="Zhou et al., EdgeTAM: On-Device Track Anything Model, CVPR 2025, arXiv 2501.07256",
        url="https://github.com/facebookresearch/EdgeTAM",
        weights=(
            "Nothing to do where the Hugging Face hub can be reached: yonigozlan/EdgeTAM-hf is fetched on first use.\n"
            "Or take checkpoints/edgetam.pt from the address above and pass the file: --model edgetam.pt"
        ),
        hub="yonigozlan/EdgeTAM-hf",
        licence="Apache-2.0",
    ),
)
