"""RITM (Sofiiuk et al., ICIP 2022)."""

from __future__ import annotations

from sambench.models.cards import ModelCard

CARDS = tuple(
    ModelCard(
        name,
        "ritm",
        f"interactive segmentation with clicks and the previous mask, {summary}",
        adapter="sambench.models.interactive.ritm",
        capabilities=frozenset({"points", "masks"}),
        trained_on=frozenset({"coco", "lvis"}),
        parameters=parameters,
        citation=(
            "Sofiiuk, Petrov and Konushin, Reviving Iterative Training with Mask Guidance for Interactive "
            "Segmentation, ICIP 2022, arXiv 2102.06583"
        ),
        url="https://github.com/SamsungLabs/ritm_interactive_segmentation",
        weights=(
            f"Download {file} from the releases (v1.0) of the address above.\n"
            f"Pass the file: --model {file}, or --model {name} --set model.weights={file}"
        ),
        licence="MIT (code; none named for weights)",
        memory=f"{memory} GB, CPU, measured",
    )
    for name, summary, parameters, memory, file in (
        ("ritm_hrnet18", "HRNet-18", 10_032_019, 1.1, "coco_lvis_h18_itermask.pth"),
        ("ritm_hrnet18s", "HRNet-18 small", 4_220_047, 1.1, "coco_lvis_h18s_itermask.pth"),
        (
            "ritm_hrnet32",
            "HRNet-32, the baseline of the Segment Anything paper",
            30_951_363,
            1.6,
            "coco_lvis_h32_itermask.pth",
        ),
    )
)
