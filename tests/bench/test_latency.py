"""`sambench bench latency`: what is timed and what is not, quantiles by hand, the file. The model moves the clock."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image as Pillow

from sambench.bench import latency
from sambench.bench.latency import Plan, measure, quantiles
from sambench.errors import UsageError
from sambench.reporting.effects import COLUMNS
from sambench.reporting.latencies import FIGURES, Latency, Quantiles, Setting, load_latencies
from sambench.types import Image, Mask, Prompts

IMAGE = np.random.default_rng(3).integers(0, 256, (40, 60, 3)).astype(np.uint8)
SECONDS = {"encode": 2.0, "first": 0.5, "point": 0.03125, "box": 0.0625, "next": 0.125, "mask": 0.25, "logits": 64.0}
"""What each thing takes, exact in binary. ``first``: what is put off until the first prompt. ``logits``: feedback,
which no figure may hold."""


@dataclass
class FakeModel:
    """Moves the clock by :data:`SECONDS` for whatever is asked of it, and keeps what was asked."""

    name = "fake"
    weights_digest = "f" * 64
    trained_on = None
    encode_batch = 1
    batch_invariant = True
    capabilities: frozenset[str] = frozenset({"points", "boxes", "masks", "multimask"})
    feeds: bool = True
    time: float = 100.0
    pending: float = 0.0
    images: list[Image] = field(default_factory=list)
    asked: list[tuple[Prompts, bool]] = field(default_factory=list)
    shown: list[tuple[int, int]] = field(default_factory=list)

    def clock(self) -> float:
        assert self.pending == 0, "the device was not waited for"
        return self.time

    def settle(self) -> None:
        self.time, self.pending = self.time + self.pending, 0.0

    def spend(self, what: str) -> None:
        """As on a GPU: the time passes until somebody waits for it."""
        self.pending += SECONDS[what]

    def encode(self, images: Any) -> list[FakeView]:
        self.spend("encode")
        self.images += images
        return [FakeView(self) for _ in images]


class FakeView:
    def __init__(self, model: FakeModel) -> None:
        self.model, self.fresh = model, True

    def predict(self, prompts: Prompts, *, multimask: bool) -> FakePrediction:
        assert self.model.images, "nothing was encoded"
        self.model.asked.append((prompts, multimask))
        if self.fresh:
            self.model.spend("first")
            self.fresh = False
        fed = prompts.mask_logits is not None
        self.model.spend("next" if fed else "box" if prompts.boxes is not None else "point")
        return FakePrediction(self.model, 3 if multimask else 1)


class FakePrediction:
    def __init__(self, model: FakeModel, candidates: int) -> None:
        self.model, self.scores = model, np.array([[0.25, 0.75, 0.5][:candidates]], np.float32)

    def masks(self, which: Any) -> list[Mask]:
        self.model.shown += which
        self.model.spend("mask")
        return [Mask.empty((40, 60)) for _ in which]

    def feedback(self, chosen: Any) -> Any:
        self.model.spend("logits")
        return np.full((len(chosen), 8, 8), chosen[0][1], np.float32) if self.model.feeds else None


def measured(model: FakeModel, plan: Plan) -> dict[str, Quantiles | None]:
    return measure(model, IMAGE, plan, model.settle, model.clock)


def test_what_is_timed() -> None:
    figures = measured(FakeModel(), Plan(repeats=4, warmup=2, images=3))
    assert list(figures) == list(FIGURES)
    # Encoding 2 s, what it puts off .5 s and a point of .03125 s, less the median of later points.
    assert figures["encode"] == Quantiles(3, 2.5, 2.5)
    assert figures["point"] == Quantiles(4, 31.25, 31.25)
    assert figures["point_mask"] == Quantiles(4, 281.25, 281.25)  # .03125 + .25 s
    assert figures["box"] == Quantiles(4, 62.5, 62.5)
    assert figures["box_mask"] == Quantiles(4, 312.5, 312.5)
    # The second click alone: neither the first nor its logits, which took 64 s each.
    assert figures["next_point"] == Quantiles(4, 125.0, 125.0)
    assert figures["next_point_mask"] == Quantiles(4, 375.0, 375.0)


def test_every_prompt_and_every_image_is_another_one() -> None:
    model = FakeModel()
    measured(model, Plan(repeats=20, warmup=3, images=5))
    assert len(model.images) == 8
    assert len({image.tobytes() for image in model.images}) == 8
    points = [p for p, _ in model.asked if p.points is not None and p.mask_logits is None]
    boxes = [p.boxes.tobytes() for p, _ in model.asked if p.boxes is not None]
    # A first prompt for each image, 23 points, and 23 before a second click.
    assert len(points) == 8 + 23 + 23
    assert len({p.points.tobytes() for p in points}) == len(points)
    assert len(boxes) == len(set(boxes)) == 23
    for prompts, _ in model.asked:
        if prompts.points is not None:
            assert (prompts.points >= 0).all()
            assert (prompts.points < (60, 40)).all()
        else:
            (x0, y0, x1, y1) = prompts.boxes[0]
            assert 0 <= x0 < x1 <= 60
            assert 0 <= y0 < y1 <= 40


def test_a_second_click_gets_what_the_first_answered() -> None:
    model = FakeModel()
    measured(model, Plan(repeats=5, warmup=0, images=1))
    second = [place for place, (p, _) in enumerate(model.asked) if p.mask_logits is not None]
    assert len(second) == 5
    for place in second:
        (before, several), (prompts, one) = model.asked[place - 1], model.asked[place]
        assert (several, one) == (True, False)
        assert prompts.points.shape == (1, 2, 2)
        assert (prompts.points[:, :1] == before.points).all()
        assert prompts.labels[0, 0] == 1
        assert (prompts.mask_logits == 1).all()  # candidate 1 had the best score
    assert set(model.shown) == {(0, 0), (0, 1)}  # the best of three, or the only one


def test_warming_up_is_not_counted() -> None:
    class Slow(FakeModel):
        """Its first two images take an hour longer."""

        def encode(self, images: Any) -> list[FakeView]:
            self.pending += 3600.0 * (len(self.images) < 2)
            return super().encode(images)

    figures = measured(Slow(), Plan(repeats=3, warmup=2, images=3))
    assert figures["encode"] == Quantiles(3, 2.5, 2.5)
    figures = measured(Slow(), Plan(repeats=3, warmup=1, images=3))
    # 3602.5, 2.5 and 2.5 s; the 95 % quantile is at place .95 · 2 = 1.9, nine tenths between the last two.
    assert figures["encode"] == Quantiles(3, 2.5, pytest.approx(2.5 + 0.9 * 3600))


def test_what_a_model_does_not_take_is_left_out() -> None:
    figures = measured(FakeModel(frozenset({"boxes"})), Plan(2, 1, 2))
    assert {name for name, one in figures.items() if one is None} == {
        *("point", "point_mask", "next_point", "next_point_mask")
    }
    # The first prompt is a box here: 2 + .5 + .0625 s, less the median of boxes.
    assert figures["encode"] == Quantiles(2, 2.5, 2.5)
    figures = measured(FakeModel(frozenset({"points"})), Plan(2, 1, 2))
    assert [name for name, one in figures.items() if one is not None] == ["encode", "point", "point_mask"]
    with pytest.raises(UsageError, match="fake takes neither points nor boxes"):
        measured(FakeModel(frozenset({"edges"})), Plan(2, 1, 2))
    with pytest.raises(UsageError, match="fake says that it takes masks"):
        measured(FakeModel(feeds=False), Plan(2, 1, 2))


def test_quantiles_by_hand() -> None:
    # Places .5 · 3 = 1.5 and .95 · 3 = 2.85 between 0, 10, 20 and 40.
    assert quantiles([40.0, 10.0, 0.0, 20.0]) == Quantiles(4, 15.0, pytest.approx(20 + 0.85 * 20))
    assert quantiles([7.0]) == Quantiles(1, 7.0, 7.0)


@pytest.fixture(scope="module")
def leaf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("image") / "leaf.png"
    Pillow.fromarray(IMAGE).save(file)
    return file


def test_the_picture_is_brought_to_its_size(leaf: Path, tmp_path: Path) -> None:
    name, pixels = latency.picture(leaf, 120)
    assert (name, pixels.shape, pixels.dtype) == ("leaf", (80, 120, 3), np.uint8)
    assert latency.picture(leaf, 30)[1].shape == (20, 30, 3)
    with pytest.raises(UsageError, match="no such file"):
        latency.picture(tmp_path / "none.png", 30)


def test_the_command_and_its_file(
    sambench_cli: Callable[..., subprocess.CompletedProcess[str]], toy_model: str, leaf: Path, tmp_path: Path
) -> None:
    done = sambench_cli(
        *("bench", "latency", "-m", toy_model, "--image", leaf, "--size", 48, "--threads", 1, "--out", tmp_path),
        *("--repeats", 3, "--images", 2, "--warmup", 1),
    )
    (file,) = tmp_path.glob("latency/Toy@*/cpu.json")
    content = json.loads(file.read_text())
    assert [content[k] for k in ("device", "threads", "image", "height", "width")] == ["cpu", 1, "leaf", 32, 48]
    assert (content["warmup"], content["figures"]["encode"]["n"]) == (1, 2)
    assert content["load_before"] >= 0
    assert content["figures"]["next_point_mask"]["n"] == 3
    assert content["figures"]["box"] is None  # its predict has no such parameter
    assert content["machine"]["versions"]["numpy"] == np.__version__
    (read,) = load_latencies([tmp_path], [])
    assert read.as_dict() == {key: content[key] for key in read.as_dict()}
    assert read.name in done.stdout
    assert "2 encodings, 3 prompts of each kind" in done.stdout
    assert "Segment Anything (§3) says about 50 ms" in done.stdout


def test_every_field_of_the_file_is_documented() -> None:
    documented = (ROOT / "docs" / "latency.md").read_text("utf-8")
    setting = Setting("cpu", "some CPU", 2, "leaf", 32, 48)
    fields = {*Latency("m", "d", {}, setting, {}).as_dict(), *FIGURES, *COLUMNS, "p50", "p95", "load_before", "machine"}
    assert [field for field in fields if f"`{field}`" not in documented] == []


@pytest.mark.parametrize(
    ("model", "changes", "complaint"),
    [
        ("nothing", {}, "unknown model 'nothing'"),
        ("sobel", {}, "takes neither points nor boxes"),
        ("region_tree", {"assignments": ["task.x=1"]}, "no such owner 'task'"),
        ("region_tree", {"assignments": ["model.x=1"]}, r"unknown option model\.x"),
        ("region_tree", {"image": Path("none.png")}, "no such file"),
    ],
)
def test_usage(leaf: Path, tmp_path: Path, model: str, changes: dict[str, Any], complaint: str) -> None:
    asked: dict[str, Any] = {"image": leaf, "size": 32, "threads": 1, "say": lambda line: None, **changes}
    with pytest.raises(UsageError, match=complaint):
        latency.bench([model], Plan(1, 0, 1), tmp_path, **asked)


def test_a_folder_that_cannot_be_written(leaf: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --out"):
        latency.bench(
            ["region_tree"], Plan(1, 0, 1), tmp_path / "file", image=leaf, size=32, threads=1, say=lambda line: None
        )
