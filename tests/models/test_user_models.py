"""Models of the user's own: the stock wrapper, the README's example, `sambench check model`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT

from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.common.wrapper import ModelAnswerError, PredictorModel
from sambench.types import Prompts

Call = Callable[..., subprocess.CompletedProcess[str]]
README = ROOT / "README.md"
IMAGE = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)


class Recording:
    """Keeps what it was called with; answers masks of the pixels right of the first point."""

    def __init__(self) -> None:
        self.images: list[Any] = []
        self.calls: list[dict[str, Any]] = []

    def set_image(self, image: Any) -> None:
        self.images.append(image)

    def predict(
        self,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
    ) -> Any:
        self.calls.append(locals())
        n = 3 if multimask_output else 1
        masks = np.zeros((n, 6, 5), bool)
        masks[:, :, int(point_coords[0][0]) :] = True
        return masks, np.linspace(0.1, 0.3, n), np.full((n, 2, 2), float(len(self.calls)))


def points(*xy: tuple[float, float]) -> Prompts:
    return Prompts(np.array([[p] for p in xy], np.float32), np.ones((len(xy), 1), np.int64))


def test_the_wrapper_hands_over_one_prompt_at_a_time() -> None:
    predictor = Recording()
    model = PredictorModel(predictor, "recording", "0")
    assert model.capabilities == {"points", "boxes", "masks", "multimask"}
    assert model.trained_on is None
    (view,) = model.encode([IMAGE])
    prediction = view.predict(points((1, 2), (3, 4)), multimask=True)
    assert len(predictor.images) == 1
    assert prediction.scores.dtype == np.float32
    np.testing.assert_allclose(prediction.scores, [[0.1, 0.2, 0.3]] * 2)
    np.testing.assert_array_equal(predictor.calls[1]["point_coords"], [[3, 4]])
    assert [m.area for m in prediction.masks([(0, 2), (1, 0)])] == [6 * 4, 6 * 2]
    np.testing.assert_array_equal(prediction.feedback([(1, 0)]), np.full((1, 2, 2), 2.0))


def test_the_wrapper_leaves_padding_out_and_passes_the_mask_on() -> None:
    predictor = Recording()
    (view,) = PredictorModel(predictor, "recording", "0").encode([IMAGE])
    prompts = Prompts(
        np.array([[[1, 2], [0, 0]]], np.float32), np.array([[1, -1]]), mask_logits=np.ones((1, 2, 2), np.float32)
    )
    assert view.predict(prompts, multimask=False).scores.shape == (1, 1)
    np.testing.assert_array_equal(predictor.calls[0]["point_coords"], [[1, 2]])
    assert predictor.calls[0]["mask_input"].shape == (1, 2, 2)


def test_prompting_another_image_sets_it_again() -> None:
    predictor = Recording()
    model = PredictorModel(predictor, "recording", "0")
    first, second = model.encode([IMAGE, IMAGE + 1])
    for view in (first, second, second, first):
        view.predict(points((1, 1)), multimask=True)
    assert [int(i[0, 0, 0]) for i in predictor.images] == [0, 1, 0]


def test_capabilities_follow_from_the_parameters() -> None:
    class PointsOnly:
        trained_on = ("coco",)

        def set_image(self, image: Any) -> None: ...

        def predict(self, point_coords: Any, point_labels: Any) -> Any:
            return np.ones((6, 5), bool), 0.5

    model = PredictorModel(PointsOnly(), "p", "0")
    assert model.capabilities == {"points"}
    assert model.trained_on == {"coco"}
    (view,) = model.encode([IMAGE])
    prediction = view.predict(points((1, 1)), multimask=True)
    assert prediction.masks([(0, 0)])[0].area == 30
    assert prediction.feedback([(0, 0)]) is None


def test_answers_of_the_wrong_form_are_named() -> None:
    class Wrong:
        def set_image(self, image: Any) -> None: ...

        def predict(self, point_coords: Any, point_labels: Any) -> Any:
            return np.ones((1, 3, 3), bool), [0.5]

    (view,) = PredictorModel(Wrong(), "wrong", "0").encode([IMAGE])
    with pytest.raises(ModelAnswerError, match=r"wrong: predict answered masks \(1, 3, 3\) for an image of \(6, 5\)"):
        view.predict(points((1, 1)), multimask=True)


def readme_example() -> str:
    match = re.search(r"<!-- model-example -->\s*```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert match, "README.md has no <!-- model-example -->"
    return match[1]


def test_the_readmes_example_is_short_and_runs(sambench_cli: Call, toy_data: Path, tmp_path: Path) -> None:
    example = readme_example()
    assert len([line for line in example.splitlines() if line.strip()]) < 15
    file = tmp_path / "my_model.py"
    file.write_text(example)
    (name,) = re.findall(r"class (\w+)", example)
    done = sambench_cli(
        "run", "-t", "single_point", "-d", f"mask_pngs:{toy_data}", "-m", f"{file}:{name}", "--out", tmp_path
    )
    assert "12/12" in done.stdout
    checked = sambench_cli("check", "model", f"{file}:{name}")
    assert "✗" not in checked.stdout


def test_check_model_ticks_the_embedded_model(sambench_cli: Call) -> None:
    lines = sambench_cli("check", "model", "region_tree").stdout.splitlines()
    assert [line[0] for line in lines] == ["✓"] * len(lines)
    assert {line[2:].partition(":")[0] for line in lines} >= {
        "loads",
        "encode",
        "points",
        "multimask",
        "masks",
        "boxes",
    }


BROKEN = """
import numpy as np
class {name}:
    calls = 0
    def set_image(self, image): self.shape = image.shape[:2]
    def predict(self, point_coords=None, point_labels=None, box=None, multimask_output=True):
        n = 3 if multimask_output else 1
        {body}
        return masks, scores
"""


@pytest.mark.parametrize(
    ("body", "what", "complaint"),
    [
        ("masks, scores = np.ones((n, 3, 3), bool), np.ones(n)", "points", "answered masks"),
        ("masks, scores = np.ones((n, *self.shape), bool), np.full(n, np.nan)", "points", "not finite"),
        ("masks, scores = np.ones((3, *self.shape), bool), np.ones(3)", "multimask", "expected several and 1"),
        (
            "self.calls += 1; masks, scores = np.ones((n, *self.shape), bool), np.full(n, 1 / self.calls)",
            "answers again the same",
            "changed between two equal calls",
        ),
        (
            "masks, scores = np.ones((n, *self.shape), bool), 1 / point_coords.sum() + np.zeros(n)",
            "boxes",
            "AttributeError",
        ),
    ],
)
def test_check_model_crosses_each_broken_promise(
    sambench_here: Call, tmp_path: Path, body: str, what: str, complaint: str
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN.format(name="Broken", body=body))
    done = sambench_here("check", "model", f"{tmp_path / 'broken.py'}:Broken", code=1)
    crossed = [line for line in done.stdout.splitlines() if line.startswith(f"✗ {what}")]
    assert crossed, done.stdout
    assert complaint in crossed[0]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("class M: pass", "has neither encode() nor set_image() and predict()"),
        (
            "class M:\n    def __init__(self): raise OSError('weights are elsewhere')",
            "cannot be made: OSError: weights",
        ),
        ("class M:\n    def encode(self, images): ...", "has encode() but no 'capabilities'"),
        ("class M:\n    def set_image(self, i): ...\n    def predict(self, point_coords): ...", "not point_labels"),
    ],
)
def test_unusable_classes(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "m.py").write_text(content)
    located = zoo.locate(f"{tmp_path / 'm.py'}:M", {})
    with pytest.raises((UsageError, ModelAnswerError), match=re.escape(complaint)):
        located.load("cpu", 1)


def test_a_model_trained_on_the_dataset_is_not_zero_shot(sambench_cli: Call, real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(readme_example().replace("trained_on = ()", 'trained_on = ("coco",)'))
    (name,) = re.findall(r"class (\w+)", readme_example())
    done = sambench_cli(
        "run",
        "-t",
        "single_point",
        "-d",
        "coco",
        "--data-root",
        real_data / "coco_subset",
        "--limit",
        1,
        "-m",
        f"{tmp_path / 'm.py'}:{name}",
        "--out",
        tmp_path / "out",
        code=1,
    )
    (path,) = (tmp_path / "out").glob("single_point/*/*/summary.json")
    assert '"zero_shot": "no"' in path.read_text()
    assert "not zero-shot" in done.stdout
    assert "†" in (tmp_path / "out" / "report" / "report.md").read_text()
