"""Our RITM against maps that the authors' code computed from the same checkpoints and clicks (docs/parity/ritm.md)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from helpers import ritm_cases
from helpers.parity import MISTAKES, PRECISIONS, Comparison, computing, float64, mistaken, shifted
from helpers.paths import STORED
from helpers.ritm_cases import CASES, STEP, Case, as_prompts
from numpy.typing import NDArray

from sambench.models.common import checkpoints
from sambench.models.interactive import ritm_weights
from sambench.models.interactive.click_predictor import ClickModel, Settings
from sambench.models.interactive.zoom_in import ZoomIn

THRESHOLD = 0.49
"""Above which a probability is foreground."""

WORDS = {
    "target_size": "target",
    "min_crop_size": "min_size",
    "expansion_ratio": "expansion",
    "recompute_thresh_iou": "recompute_iou",
    "prob_thresh": "threshold",
}
"""The authors' names of ZoomIn's settings, and ours where they differ."""


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[np.generic]]:
    with np.load(STORED / "ritm_maps.npz") as held:
        return dict(held)


def model_for(case: Case, folder: Path, mistake: str = "") -> ClickModel:
    changed = {} if case.with_prev_mask else {"with_prev_mask": False}
    path = ritm_cases.checkpoint(folder / "weights.pth", case.model, **changed)
    network, architecture = ritm_weights.network(checkpoints.find(str(path)))
    mistaken(network, mistake, "feature_extractor.stage3.1.branches.1.0.bn1", "maps_transform.2.bias")
    zoom = None if case.zoom is None else ZoomIn(**{WORDS.get(k, k): v for k, v in case.zoom.items()})
    settings = Settings(
        flip=case.flip, zoom=zoom, radius=architecture.norm_radius, clicks_limit=case.clicks_limit, prompt_batch=1
    )
    return ClickModel(network.prepared("cpu"), settings, "cpu", name="ritm", weights_digest="", trained_on=None)


def compare(
    model: ClickModel,
    name: str,
    expected: dict[str, NDArray[np.generic]],
    precision: str,
    count: int,
    mistake: str = "",
) -> Comparison:
    """After each of the first ``count`` clicks of a case."""
    case = CASES[name]
    comparison = Comparison({"maps": expected[f"{name} rounding"]} if precision == "float32" else {})
    maps, crops, areas = (expected[f"{name} {part}"] for part in ("maps", "crops", "areas"))
    view = model.encode([shifted(ritm_cases.picture(*case.size), mistake)])[0]
    clicks = ritm_cases.clicks(*case.size)
    assert len(maps) == len(crops) == case.count
    fed = None
    for n in range(1, count + 1):
        prediction = view.predict(as_prompts([clicks[:n]], fed), multimask=False)
        fed = prediction.feedback([(0, 0)])
        comparison.equal("crops", (fed[0].crop or (-1, -1, -1, -1)) == tuple(crops[n - 1]))
        ours = prediction.probabilities(0)
        assert ours.shape == case.size
        comparison.values("maps", ours[::STEP, ::STEP], maps[n - 1])
        mask = prediction.masks([(0, 0)])[0]
        comparison.pixels("maps", mask.dense()[::STEP, ::STEP], maps[n - 1], THRESHOLD)
        comparison.area("maps", mask.area, int(areas[n - 1]), ours, THRESHOLD)
    return comparison


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_the_authors(
    name: str, precision: str, expected: dict[str, NDArray[np.generic]], tmp_path: Path
) -> None:
    with computing(precision):
        found = compare(model_for(CASES[name], tmp_path), name, expected, precision, CASES[name].count)
    print(found.margins)
    assert found.worst <= 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str, expected: dict[str, NDArray[np.generic]], tmp_path: Path) -> None:
    with float64():
        found = compare(model_for(CASES["whole"], tmp_path, mistake), "whole", expected, "float64", 1, mistake)
    assert found.worst > 2


def test_the_cases_are_worth_comparing(expected: dict[str, NDArray[np.generic]]) -> None:
    """Maps of random weights could be all 0 or all 1, clicks without effect, and crops as large as the image."""
    moved = cut = 0
    for name, case in CASES.items():
        maps, crops = expected[f"{name} maps"], expected[f"{name} crops"]
        assert all(0.04 < m.std() < 0.5 and m.max() > 0.5 for m in maps), name
        changes = [np.abs(a - b).max() for a, b in itertools.pairwise(maps)]
        # A click outside the crop is not seen.
        assert sum(change > 5e-3 for change in changes) >= len(changes) / 2, (name, changes)
        used = [tuple(c) for c in crops if c[0] >= 0]
        moved += len(set(used)) > 1
        cut += any((c[1] - c[0] + 1, c[3] - c[2] + 1) != case.size for c in used)
    assert moved >= 3
    assert cut >= 4
    # A prediction that was lost: no pixel above ZoomIn's threshold after click 3, so that click 4 sees the whole image
    # but answers into the crop of click 3.
    lost = expected["lost maps"]
    assert lost[2].max() < 0.8
    assert tuple(expected["lost crops"][2]) == tuple(expected["lost crops"][3])
