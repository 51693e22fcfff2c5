"""Calls in lockstep: what is decoded with what, whoever is faster; and exceptions, interrupts, crops."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import official_sam

from sambench.engine.joint_decoding import measure_together
from sambench.models.sam.sam import SamModel, SamOptions, load_checkpoint
from sambench.suite.tasks.proposals import Proposals
from sambench.suite.tasks.single_point import SinglePoint
from sambench.types import Context, GroundTruth, Instance, Mask, Prompts, Sample, View

CONTEXT = Context("toy", 0, frozenset({"points", "masks", "multimask"}))


def asks(*numbers: float) -> Prompts:
    """One prompt for each number, a click in that column."""
    points = np.array([[[x, 0]] for x in numbers], np.float32)
    return Prompts(points, np.ones((len(numbers), 1), np.int64))


class Answer:
    def __init__(self, name: str, prompts: Prompts) -> None:
        assert prompts.points is not None
        self.text = [f"{name}{int(x)}" for x in prompts.points[:, 0, 0]]


class Echo:
    """A view whose answer to a prompt is its own name and the column of the click. Column 13 is refused."""

    def __init__(self, name: str) -> None:
        self.name, self.edges_are_thin = name, True

    def predict(self, prompts: Prompts, *, multimask: bool) -> Any:
        answer = Answer(self.name, prompts)
        if any(text.endswith("13") for text in answer.text):
            raise ValueError(f"{self.name}13")
        return answer

    def edges(self) -> str:
        return f"edges of {self.name} on {threading.current_thread().name}"

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[Echo]:
        for i in range(len(boxes)):
            assert threading.current_thread() is threading.main_thread()
            yield Echo(f"{self.name}.{i}.")


class Recorder:
    """A model that keeps what it was asked at once."""

    prompt_batch = 4

    def __init__(self) -> None:
        self.batches: list[tuple[bool, list[str]]] = []

    def predict_together(self, views: Sequence[Any], prompts: Sequence[Prompts], *, multimask: bool) -> list[Any]:
        assert threading.current_thread() is threading.main_thread()
        asked = [Answer(view.name, one) for view, one in zip(views, prompts, strict=True)]
        self.batches.append((multimask, [text for one in asked for text in one.text]))
        return [view.predict(one, multimask=multimask) for view, one in zip(views, prompts, strict=True)]


def together(*calls: Callable[[Any], Any]) -> tuple[list[Any], list[tuple[bool, list[str]]]]:
    model = Recorder()
    views = [Echo("abcdefgh"[slot]) for slot in range(len(calls))]
    return measure_together(calls, views, model), model.batches  # type: ignore[arg-type]


def rounds(pause: Callable[[], None], *columns: int) -> Callable[[Any], list[str]]:
    """A call that asks for one column after the other, three candidates first and one after that."""

    def call(view: Any) -> list[str]:
        got = []
        for i, column in enumerate(columns):
            pause()
            got += view.predict(asks(column, column + 1), multimask=i == 0).text
        pause()
        return got

    return call


@pytest.mark.parametrize("seed", range(5))
def test_what_is_decoded_together_follows_from_the_calls_alone(seed: int) -> None:
    draw = random.Random(seed)
    efforts = iter([draw.choice((0, 0, 10_000, 100_000)) for _ in range(100)])

    def pause() -> None:
        sum(range(next(efforts)))

    results, batches = together(rounds(pause, 0, 2, 4), rounds(pause, 0), rounds(pause), rounds(pause, 5, 7))
    assert results == [
        ["a0", "a1", "a2", "a3", "a4", "a5"],
        ["b0", "b1"],
        [],
        ["d5", "d6", "d7", "d8"],
    ]
    assert batches == [
        (True, ["a0", "a1", "b0", "b1", "d5", "d6"]),
        (False, ["a2", "a3", "d7", "d8"]),
        (False, ["a4", "a5"]),
    ]


def test_three_candidates_and_one_are_asked_for_apart() -> None:
    def call(view: Any, multimask: bool) -> list[str]:
        text: list[str] = view.predict(asks(1), multimask=multimask).text
        return text

    results, batches = together(*(partial(call, multimask=multimask) for multimask in (False, True, False)))
    assert results == [["a1"], ["b1"], ["c1"]]
    assert batches == [(True, ["b1"]), (False, ["a1", "c1"])]


def test_calls_run_side_by_side() -> None:
    """Each waits for the other outside of the model, which would never end if one ran after the other."""
    both = threading.Barrier(2)

    def call(view: Any) -> list[str]:
        view.predict(asks(1), multimask=True)
        both.wait()
        text: list[str] = view.predict(asks(2), multimask=True).text
        return text

    assert together(call, call)[0] == [["a2"], ["b2"]]


def test_an_exception_ends_one_call_alone() -> None:
    def broken(view: Any) -> None:
        view.predict(asks(1), multimask=True)
        raise LookupError("mine")

    results, batches = together(rounds(lambda: None, 1, 3), broken)
    assert results[0] == ["a1", "a2", "a3", "a4"]
    assert isinstance(results[1], LookupError)
    assert batches == [(True, ["a1", "a2", "b1"]), (False, ["a3", "a4"])]


def test_prompts_that_the_model_refuses_fail_the_call_that_asked_them() -> None:
    results, _ = together(rounds(lambda: None, 1), rounds(lambda: None, 13), rounds(lambda: None, 4))
    assert [str(result) for result in results] == ["['a1', 'a2']", "b13", "['c4', 'c5']"]
    assert isinstance(results[1], ValueError)


def test_a_call_may_get_over_an_exception_of_the_model() -> None:
    def call(view: Any) -> list[str]:
        with pytest.raises(ValueError, match="a13"):
            view.predict(asks(13), multimask=True)
        text: list[str] = view.predict(asks(1), multimask=True).text
        return text

    assert together(call)[0] == [["a1"]]


def test_whatever_else_a_view_offers_is_offered_and_done_where_the_model_works() -> None:
    def call(view: Any) -> tuple[str, bool, bool]:
        return view.edges(), view.edges_are_thin, hasattr(view, "crops")

    main = threading.main_thread().name
    assert together(call, call)[0] == [(f"edges of {name} on {main}", True, True) for name in "ab"]

    def lacks(view: Any) -> bool:
        return hasattr(view, "flies")

    assert together(lacks)[0] == [False]


def test_crops_are_encoded_and_prompted_in_lockstep_too() -> None:
    def call(view: Any, crops: int) -> list[str]:
        boxes = [(0, 0, 1, 1)] * crops
        return [text for crop in view.crops(boxes) for text in crop.predict(asks(7), multimask=True).text]

    results, batches = together(partial(call, crops=2), partial(call, crops=1))
    assert results == [["a.0.7", "a.1.7"], ["b.0.7"]]
    assert batches == [(True, ["a.0.7", "b.0.7"]), (True, ["a.1.7"])]


def test_a_view_is_not_asked_after_its_call() -> None:
    views = together(lambda view: view)[0]
    with pytest.raises(RuntimeError, match="after its call had ended"):
        views[0].predict(asks(1), multimask=True)


def test_a_view_is_asked_one_thing_at_a_time() -> None:
    refused, errors = threading.Event(), []

    def two_threads(view: Any) -> None:
        def ask() -> None:
            try:
                view.predict(asks(1), multimask=True)
            except RuntimeError as error:
                errors.append(str(error))
                refused.set()

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def other(view: Any) -> None:
        """Lets nobody be answered before one has been refused."""
        assert refused.wait(30)

    assert together(two_threads, other)[0] == [None, None]
    assert len(errors) == 1
    assert "two questions at the same time" in errors[0]


def test_nothing_to_measure() -> None:
    assert together() == ([], [])


def test_what_is_no_exception_is_raised_when_all_have_ended() -> None:
    done = []

    def leaves(view: Any) -> None:
        raise SystemExit(3)

    def stays(view: Any) -> None:
        view.predict(asks(1), multimask=True)
        done.append(True)

    with pytest.raises(SystemExit):
        together(leaves, stays)
    assert done == [True]


def test_an_interrupt_ends_all_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three calls one waits for an answer, one has yet to ask, and one hangs."""
    monkeypatch.setattr("sambench.engine.joint_decoding.LINGER", 0.3)
    asked, released, went_on = threading.Event(), threading.Event(), []

    def ask(view: Any) -> None:
        try:
            view.predict(asks(1), multimask=True)
        except Exception:
            went_on.append("as after a failure")
        went_on.append("as after an answer")

    def waits(view: Any) -> None:
        asked.set()
        ask(view)

    def interrupts(view: Any) -> None:
        asked.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        ask(view)

    def hangs(view: Any) -> None:
        released.wait()
        ask(view)

    before = set(threading.enumerate())
    # Whoever runs the tests may have set another one.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            together(waits, interrupts, hangs)
    finally:
        signal.signal(signal.SIGINT, handler)
    released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()
    assert went_on == []


def test_an_interrupt_of_the_model_ends_all_calls() -> None:
    class Interrupted(Recorder):
        def predict_together(self, views: Sequence[Any], prompts: Sequence[Prompts], *, multimask: bool) -> list[Any]:
            raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        measure_together([rounds(lambda: None, 1)] * 2, [Echo("a"), Echo("b")], Interrupted())  # type: ignore[list-item]
    assert threading.active_count() == before


# With a model ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam") / "weights.pth"
    torch.save(official_sam.build(side=256).state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SIZES = ((90, 120), (120, 80), (64, 64), (50, 140))


def _samples() -> list[Sample]:
    """Images of noise on stripes with 3, 1, 5 and 2 blocks as instances."""
    made = []
    for number, (size, instances) in enumerate(zip(SIZES, (3, 1, 5, 2), strict=True)):
        rng = np.random.default_rng(number)
        stripes = np.add.outer(np.arange(size[0]) * 3, np.arange(size[1]) * 2)[..., None] % 200
        image = (stripes + rng.integers(0, 50, (*size, 3))).astype(np.uint8)
        blocks = []
        for i in range(instances):
            top, left = (int(rng.integers(0, side - 25)) for side in size)
            blocks.append(Instance(str(i), Mask.from_window(size, top, left, np.ones(rng.integers(8, 25, 2)))))
        truth = GroundTruth(tuple(blocks))
        made.append(Sample(f"image {number}", size, partial(np.copy, image), partial(_same, truth)))
    return made


def _same(truth: GroundTruth) -> GroundTruth:
    return truth


def _records(model: SamModel, lockstep: bool, task: Any) -> list[dict[str, Any]]:
    """Of all samples, without times."""
    samples = _samples()
    views: list[View] = [model.encode([sample.image])[0] for sample in samples]
    calls = [partial(_measure, task, sample) for sample in samples]
    if lockstep:
        measured = measure_together(calls, views, model)
    else:
        measured = [call(view) for call, view in zip(calls, views, strict=True)]
    rows = []
    for one in measured:
        assert not isinstance(one, Exception)
        rows += [{name: value for name, value in row.items() if not name.endswith("_ms")} for row in one.rows]
    return rows


def _measure(task: Any, sample: Sample, view: View) -> Any:
    measured = task.measure(sample, view, CONTEXT)
    return measured() if callable(measured) else measured


SINGLE_POINT = SinglePoint(SinglePoint.Options(clicks=(1, 3)))


@pytest.mark.parametrize("task", [SINGLE_POINT, Proposals(Proposals.Options(points_per_side=3, crop_n_layers=1))])
def test_records_are_the_same_to_the_bit_where_prompts_are_decoded_one_by_one(checkpoint: Path, task: Any) -> None:
    model = load_checkpoint(str(checkpoint), SamOptions(prompt_batch=1), "cpu")
    alone, lockstep = (_records(model, together, task) for together in (False, True))
    assert len(alone) > 4
    assert repr(alone) == repr(lockstep)


def test_records_are_the_same_but_for_rounding_where_batches_span_images(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_checkpoint(str(checkpoint), SamOptions(prompt_batch=4), "cpu")
    alone = _records(model, False, SINGLE_POINT)
    spans = []
    decoder = type(model.decoder).__call__

    def spy(self: Any, images: Sequence[Any], *rest: Any) -> Any:
        spans.append([images.index(image) for image in images])
        return decoder(self, images, *rest)

    monkeypatch.setattr(type(model.decoder), "__call__", spy)
    lockstep = _records(model, True, SINGLE_POINT)
    # 3, 1, 5 and 2 prompts in each of three rounds.
    assert spans == [[0, 0, 0, 3], [0, 0, 0, 0], [0, 1, 1]] * 3
    for ours, expected in zip(lockstep, alone, strict=True):
        for name, value in expected.items():
            if name in ("iou", "score", "oracle_iou", "candidate_iou", "candidate_score"):
                np.testing.assert_allclose(ours[name], value, atol=1e-4)
            else:
                assert ours[name] == value, name
