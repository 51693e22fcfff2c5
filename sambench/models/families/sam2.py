"""SAM 2 and 2.1 (Ravi et al., ICLR 2025), on single images."""

from __future__ import annotations

from sambench.models.cards import ModelCard

TRAINED_ON = frozenset({"sa1b", "sa_v", "davis", "davis345", "mose", "youtube_vos"})
"""The paper trains with DAVIS, MOSE and YouTubeVOS and without them, besides videos that are not public; nobody says
which of the two the released weights are, so all count as seen."""

CARDS = tuple(
    ModelCard(
        f"{version}_hiera_{size}",
        "sam2",
        f"Segment Anything {version[3:]}, Hiera-{title}, image part",
        adapter="sambench.models.sam2.sam2",
        capabilities=frozenset({"points", "boxes", "masks", "multimask"}),
        trained_on=TRAINED_ON,
        parameters=parameters,
        citation="Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, arXiv 2408.00714",
        url="https://github.com/facebookresearch/sam2",
        weights=(
            f"Nothing to do where the Hugging Face hub can be reached: {hub} is fetched on first use.\n"
            f"Or download {version}_hiera_{size}.pt from the address above and pass the file: "
            f"--model {version}_hiera_{size}.pt"
        ),
        hub=hub,
        licence="Apache-2.0",
        memory=f"{memory} GB, CPU, measured",
    )
    for version in ("sam2", "sam2.1")
    for size, title, parameters, memory in (
        ("tiny", "T", 31_440_721, 1.0),
        ("small", "S", 38_538_577, 0.9),
        ("base_plus", "B+", 73_328_401, 1.1),
        ("large", "L", 216_924_865, 1.6),
    )
    for hub in (f"facebook/{version}-hiera-{size.replace('_', '-')}",)
)
