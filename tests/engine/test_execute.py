"""The engine's batches: what is encoded together follows from places in the index, never from what is left to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sambench.core.options import NoOptions
from sambench.engine.job import Batch, Job, TaskJob, batches, failure_of
from sambench.engine.worker import Worker
from sambench.errors import DataError
from sambench.models import zoo
from sambench.runs.directory import Failure
from sambench.types import Image, Mask, Model, Prompts, View

INDEX = [f"im{i:02d}" for i in range(7)]


ALL = ((0,), (0,), (0,))


def test_batches_follow_the_index() -> None:
    assert batches(INDEX, [INDEX], 3) == [
        Batch(0, ("im00", "im01", "im02"), ALL),
        Batch(1, ("im03", "im04", "im05"), ALL),
        Batch(2, ("im06", None, None), ((0,), (), ())),
    ]
    assert batches(INDEX, [["im04", "im06"]], 3) == [
        Batch(1, ("im03", "im04", "im05"), ((), (0,), ())),
        Batch(2, ("im06", None, None), ((0,), (), ())),
    ]
    assert batches(INDEX, [[]], 3) == []
    assert batches(INDEX, [["im01"]], 1) == [Batch(1, ("im01",), ((0,),))]


def test_batches_of_several_tasks_hold_what_any_has_to_do() -> None:
    cut = batches(INDEX, [["im00", "im06"], [], ["im06", "im04"]], 2)
    assert cut == [
        Batch(0, ("im00", "im01"), ((0,), ())),
        Batch(2, ("im04", "im05"), ((2,), ())),
        Batch(3, ("im06", None), ((0, 2), ())),
    ]
    assert [batch.tasks for batch in cut] == [[0], [2], [0, 2]]


class Spy(Model):
    """A model that notes the shapes of each batch it encodes."""

    name, weights_digest, trained_on = "spy", "0", None
    capabilities = frozenset({"points"})
    encode_batch = 3

    def __init__(self, *, batch_invariant: bool) -> None:
        self.batch_invariant = batch_invariant
        self.seen: list[list[tuple[int, ...]]] = []

    def encode(self, images: Sequence[Image]) -> list[_SpyView]:
        self.seen.append([i.shape for i in images])
        return [_SpyView(i.shape[:2]) for i in images]


class _SpyView(View):
    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        return _SpyPrediction(self.size, len(prompts))


class _SpyPrediction:
    def __init__(self, size: tuple[int, int], n: int) -> None:
        self.size, self.scores = size, np.ones((n, 1), np.float32)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        return [Mask.from_dense(np.ones(self.size, bool)) for _ in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        return None


def worker(data: Path, model: Spy) -> Worker:
    job = Job(
        tasks=(TaskJob("single_point", {"clicks": [1]}),),
        dataset="mask_pngs",
        dataset_options={"dir": str(data)},
        root=data,
        split="all",
        model=zoo.LocatedModel("spy", "spy", "0", None, NoOptions(), False),
        device="cpu",
        threads=1,
        encode_batch=3,
        seed=0,
        label="toy",
    )
    return Worker(job, model)


def batch(*slots: str | None) -> Batch:
    """A batch of the slots that are not None; the others belong to the index all the same."""
    return Batch(0, tuple(slot or "im11" for slot in slots), tuple((0,) if slot else () for slot in slots))


def test_every_slot_keeps_its_place(toy_data: Path) -> None:
    model = Spy(batch_invariant=False)
    one = worker(toy_data, model)
    # The toy images are 40 + n rows high and 50 columns wide.
    for slots in [("im03", "im04", "im05"), (None, "im04", None), ("im06", None, None)]:
        (result,) = one.run(batch(*slots), one.load(batch(*slots)), 0.0).results
        assert [o.id for o in result.outcomes] == [s for s in slots if s]
    black = (1, 1, 3)
    assert model.seen == [
        [(43, 50, 3), (44, 50, 3), (45, 50, 3)],
        [black, (44, 50, 3), black],
        [(46, 50, 3), black, black],
    ]


def test_a_failed_sample_leaves_its_slot_black(toy_data: Path) -> None:
    model = Spy(batch_invariant=False)
    one = worker(toy_data, model)
    slots = batch("im00", "im01", "im02")
    loaded = one.load(slots)
    loaded[1] = Failure("im01", "broken", "DataError")
    (result,) = one.run(slots, loaded, 0.0).results
    assert model.seen == [[(40, 50, 3), (1, 1, 3), (42, 50, 3)]]
    assert [f.id for f in result.failures] == ["im01"]
    assert [o.id for o in result.outcomes] == ["im00", "im02"]


def test_a_batch_invariant_model_is_spared_the_black_ones(toy_data: Path) -> None:
    model = Spy(batch_invariant=True)
    one = worker(toy_data, model)
    slots = batch(None, "im04", None)
    one.run(slots, one.load(slots), 0.0)
    assert model.seen == [[(44, 50, 3)]]


def test_an_image_of_another_size_than_annotated_fails(toy_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = worker(toy_data, Spy(batch_invariant=True))
    sample = one.dataset.load("im04")
    monkeypatch.setattr(
        one.dataset, "load", lambda id: type(sample)(id, (44, 51), sample.read_image, sample.read_truth)
    )
    (failure,) = one.load(batch("im04"))
    assert isinstance(failure, Failure)
    assert failure.error == "image im04 is 50x44 pixels, its annotation says 51x44"


def test_failures_are_one_line() -> None:
    known = failure_of("a", DataError("x.png: truncated"))
    assert (known.error, known.kind, known.where) == ("x.png: truncated", "DataError", "")
    try:
        raise ValueError("two\n  lines")
    except ValueError as error:
        surprise = failure_of("a", error)
    assert surprise.error == "ValueError: two lines"
    assert "test_execute.py:" in surprise.where


def test_workers_that_die_over_an_image_fail_it_in_one_line(toy_data: Path, tmp_path: Path, sambench_cli: Any) -> None:
    (tmp_path / "m.py").write_text(
        "import os\nclass M:\n"
        "    def set_image(self, i): os._exit(9)\n"
        "    def predict(self, point_coords, point_labels): ...\n"
    )
    done = sambench_cli(
        "run",
        "-t",
        "single_point",
        "-d",
        f"mask_pngs:{toy_data}",
        "-m",
        f"{tmp_path / 'm.py'}:M",
        "--workers",
        2,
        "--out",
        tmp_path / "out",
        code=1,
    )
    assert (
        "workers were lost without finishing anything, the last because its process ended with exit code 9"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
