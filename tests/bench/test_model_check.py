"""``sambench check model``: edges, phrases, and what is fed back. The other capabilities: test_user_models.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from sambench.bench import model_check

EDGES = """
import numpy as np
class Edges:
    capabilities = frozenset({"edges"})
    calls = 0
    def encode(self, images): return [View(self, image) for image in images]
class View:
    edges_are_thin = True
    def __init__(self, model, image): self.model, self.size = model, image.shape[:2]
"""

CLICKS = """
import numpy as np
from sambench.types import Mask
class Clicks:
    capabilities = frozenset({CAPABILITIES})
    def encode(self, images): return [View(image) for image in images]
class View:
    def __init__(self, image): self.size = image.shape[:2]
    def predict(self, prompts, *, multimask): return Answer(self.size, prompts)
class Answer:
    def __init__(self, size, prompts):
        self.size, self.scores = size, np.full((len(prompts), 1), 0.5, np.float32)
        fed = prompts.mask_logits
        assert fed is None or ([state["clicks"] for state in fed], prompts.points.shape[1]) == ([1] * len(prompts), 2)
    def masks(self, which): return [Mask.empty(self.size) for _ in which]
    def feedback(self, chosen): return FEEDBACK
"""


def checked(tmp_path: Path, source: str, name: str) -> dict[str, model_check.Check]:
    (tmp_path / "model.py").write_text(source)
    return {check.what: check for check in model_check.check_model(f"{tmp_path / 'model.py'}:{name}", [], "cpu")}


@pytest.mark.parametrize(
    ("edges", "complaint"),
    [
        ("    def edges(self): return np.full(self.size, 0.25, np.float32)", ""),
        ("", "its view has no edges()"),
        ("    def edges(self): return np.zeros((3, 4), np.float32)", "float32 (3, 4), expected"),
        ("    def edges(self): return np.zeros(self.size, np.uint8)", "uint8"),
        ("    def edges(self): return np.full(self.size, 1.5, np.float32)", "not all between 0 and 1"),
        ("    def edges(self): return np.full(self.size, np.nan, np.float32)", "not all between 0 and 1"),
        (
            "    def edges(self): self.model.calls += 1; return np.full(self.size, 1 / self.model.calls)",
            "changed between two equal calls",
        ),
    ],
)
def test_edges(tmp_path: Path, edges: str, complaint: str) -> None:
    found = checked(tmp_path, EDGES + edges, "Edges")["edges"]
    assert found.passed == (not complaint)
    assert (complaint or "3 maps, thin already, mean strength 0.250") in found.detail


def test_a_model_that_takes_no_previous_mask_is_told_so(tmp_path: Path) -> None:
    source = CLICKS.replace("CAPABILITIES", '"points"').replace("FEEDBACK", "None")
    found = checked(tmp_path, source, "Clicks")
    assert "masks" not in found
    assert found["previous mask"] == model_check.Check(
        "previous mask", True, "not taken: at later clicks the model gets all clicks and no mask"
    )


@pytest.mark.parametrize(
    ("feedback", "complaint"),
    [
        ('[{"clicks": 1} for _ in chosen]', ""),
        ("None", "feedback() gives nothing"),
        ('[{"clicks": 1}]', "prompts gives 1 answers"),
    ],
)
def test_what_is_fed_back_may_be_any_sequence(tmp_path: Path, feedback: str, complaint: str) -> None:
    source = CLICKS.replace("CAPABILITIES", '"points", "masks"').replace("FEEDBACK", feedback)
    found = checked(tmp_path, source, "Clicks")
    assert "previous mask" not in found
    assert found["masks"].passed == (not complaint), found["masks"].detail
    assert (complaint or "the previous answer fed back, opaque") in found["masks"].detail


def test_phrases(tmp_path: Path) -> None:
    source = CLICKS.replace("CAPABILITIES", '"text"').replace("FEEDBACK", "None")
    found = checked(tmp_path, source, "Clicks")
    assert found["text"].passed
    assert found["text"].detail.startswith("2 phrases: ")
