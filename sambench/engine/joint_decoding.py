"""Several calls that prompt views of one model, side by side, their prompts decoded together.

Each call runs on a separate thread. A call that asks something of its view waits until every other call has asked too
or has ended; then all questions are answered, in the order of the calls, and all go on. So the prompts that share a
batch of the decoder follow from the questions, never from the speed of a call, and the model works on one thread only.
Work on a prediction (masks, feedback) is done by the call that asked, beside the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sambench.core.model import Prediction, Prompts, View

LINGER = 2.0
"""Seconds that an interrupt waits for the calls to come to their next question, at which they end."""

Answer = TypeVar("Answer")


class Decoder(Protocol):
    """The part of :class:`sambench.core.model.Model` that decodes the prompts of several images at once."""

    @property
    def prompt_batch(self) -> int: ...

    def predict_together(
        self, views: Sequence[View], prompts: Sequence[Prompts], *, multimask: bool
    ) -> Sequence[Prediction]: ...


def measure_together(
    calls: Sequence[Callable[[View], Answer]], views: Sequence[View], model: Decoder
) -> list[Answer | Exception]:
    """The answer of each call for the view at its place, or the exception that ended that call alone.

    ``views``: of ``model``, as it made them; a call gets a wrapper with the same methods. Ask it one question at a time
    and none after the call has ended, or RuntimeError is raised. Encoding crops and questions to crops wait for the
    other calls too. A BaseException of a call that is not an Exception is raised here, once all have ended. An
    interrupt of this thread ends each call at its next question.
    """
    rendezvous = _Rendezvous(len(calls))
    ended: dict[int, Answer | BaseException] = {}

    def attend(slot: int) -> None:
        try:
            ended[slot] = calls[slot](_AskingView(views[slot], partial(rendezvous.ask, slot)))
        except BaseException as error:
            ended[slot] = error
        finally:
            rendezvous.leave(slot)

    # Daemons: one that hangs does not keep an interrupted process from ending.
    threads = [threading.Thread(target=attend, args=(slot,), daemon=True) for slot in range(len(calls))]
    try:
        for thread in threads:
            thread.start()
        while asked := rendezvous.questions():
            _answer(asked, model)
    except BaseException:
        rendezvous.break_up()
        raise
    for thread in threads:
        thread.join()
    results: list[Answer | Exception] = []
    for slot in range(len(calls)):
        result = ended[slot]
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        results.append(result)
    return results


@dataclass(frozen=True, eq=False)
class _Decoding:
    """A question that is answered with those of other calls."""

    view: View
    prompts: Prompts
    multimask: bool

    def alone(self) -> Prediction:
        return self.view.predict(self.prompts, multimask=self.multimask)


_Question = _Decoding | Callable[[], Any]
_Asked = tuple[_Question, Future[Any]]


class _BrokenUp(BaseException):
    """Nobody will answer any more. Not an Exception: a call must not go on as if one sample had failed."""


class _Rendezvous:
    """The place where calls, by slot, put their questions and wait for the answers."""

    def __init__(self, slots: int) -> None:
        self._changed = threading.Condition()
        self._present = set(range(slots))
        self._busy = set(range(slots))
        self._asked: dict[int, _Asked] = {}
        self._answers: dict[int, Future[Any]] = {}
        self._over = False

    def ask(self, slot: int, question: _Question) -> Any:
        """The answer, once it is there. For the thread of a call."""
        answer: Future[Any] = Future()
        with self._changed:
            if self._over:
                raise _BrokenUp
            if slot not in self._busy:
                raise RuntimeError("a view was asked two questions at the same time, or after its call had ended")
            self._busy.remove(slot)
            self._asked[slot] = question, answer
            self._answers[slot] = answer
            self._changed.notify()
        return answer.result()

    def leave(self, slot: int) -> None:
        """The call has ended."""
        with self._changed:
            self._busy.discard(slot)
            self._present.remove(slot)
            self._changed.notify()

    def questions(self) -> list[_Asked]:
        """The questions of the remaining calls, by slot, once each has asked; empty, once all have left."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            asked = [self._asked[slot] for slot in sorted(self._asked)]
            self._busy.update(self._asked)
            self._asked.clear()
            return asked

    def break_up(self) -> None:
        """Ends all calls at their questions, and waits for them, but not for long."""
        with self._changed:
            self._over = True
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(_BrokenUp())
            self._changed.wait_for(lambda: not self._present, LINGER)


def _answer(asked: Sequence[_Asked], model: Decoder) -> None:
    """First prompts for three candidates, then those for one, then everything else; by slot in each."""
    for multimask in (True, False):
        prompted = [(q, answer) for q, answer in asked if isinstance(q, _Decoding) and q.multimask == multimask]
        if prompted:
            _decode([question for question, _ in prompted], [answer for _, answer in prompted], model)
    for question, answer in asked:
        if not isinstance(question, _Decoding):
            _settle(question, answer)


def _decode(questions: Sequence[_Decoding], answers: Sequence[Future[Any]], model: Decoder) -> None:
    """All of them together, all with the same number of candidates. If that fails each is tried alone, and only the
    call whose prompts are at fault gets the exception."""
    predictions: Sequence[Prediction] | None = None
    with suppress(Exception):
        views, prompts = [q.view for q in questions], [q.prompts for q in questions]
        predictions = model.predict_together(views, prompts, multimask=questions[0].multimask)
    if predictions is None:
        for question, answer in zip(questions, answers, strict=True):
            _settle(question.alone, answer)
    else:
        for answer, prediction in zip(answers, predictions, strict=True):
            answer.set_result(prediction)


def _settle(question: Callable[[], Any], answer: Future[Any]) -> None:
    try:
        result = question()
    except Exception as error:
        answer.set_exception(error)
    else:
        answer.set_result(result)


class _AskingView(View):
    """A view all of whose work is done at a rendezvous."""

    def __init__(self, view: View, ask: Callable[[_Question], Any]) -> None:
        self._view, self._ask = view, ask

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        prediction: Prediction = self._ask(_Decoding(self._view, prompts, bool(multimask)))
        return prediction

    def edges(self) -> NDArray[np.float32]:
        edges: NDArray[np.float32] = self._ask(self._view.edges)
        return edges

    @property
    def edges_are_thin(self) -> bool:  # type: ignore[override]
        return self._view.edges_are_thin

    def crops(self, boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[View] | None:
        crops = self._ask(partial(self._view.crops, boxes))
        return None if crops is None else self._asking(crops)

    def _asking(self, crops: Iterator[View]) -> Iterator[View]:
        while (crop := self._ask(partial(next, crops, None))) is not None:
            yield _AskingView(crop, self._ask)
