"""Making the answers to single objects again: records hold the quality of an answer, not its mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sambench.core.dataset import Instance, Sample
from sambench.core.mask import Mask
from sambench.core.model import Click, View


@dataclass(frozen=True, eq=False, slots=True)
class Answer:
    """The answer to one object.

    Attributes:
        instance: The object.
        clicks: In order; none where the prompt is a box.
        box: xyxy in pixels; None where the prompt is clicks.
        predicted: The mask after them.
    """

    instance: Instance
    clicks: tuple[Click, ...]
    box: tuple[float, float, float, float] | None
    predicted: Mask


@dataclass(frozen=True, slots=True)
class Recorded:
    """The record of one object.

    Attributes:
        area: Of its mask, in pixels.
        size: ``(H, W)`` of the image.
        ious: After each click, a single one for a box; empty where the run recorded none.
        scores: The model's own, likewise.
        first_click: None where the prompt is a box.
    """

    area: float
    size: tuple[int, int]
    ious: Sequence[float]
    scores: Sequence[float | None]
    first_click: Click | None = None


class Replay(ABC):
    """Prompts the objects of an image as a run did.

    Attributes:
        prompt_rule: Runs of equal rules prompted the same objects with the same first prompts.
        ignores_void: Void pixels do not count in the IoU.
    """

    prompt_rule: str
    ignores_void: bool

    @abstractmethod
    def prompted(self, sample: Sample) -> list[Instance]:
        """Return the objects that the run prompted for, in the order of the annotation."""

    @abstractmethod
    def recorded(self, records: Any) -> Mapping[tuple[str, str], Recorded]:
        """Return by image and object what the records (a ``pyarrow.Table``) hold."""

    @abstractmethod
    def answers(
        self, sample: Sample, view: View, context: Any, wanted: Collection[str], clicks: int
    ) -> Iterator[Answer]:
        """Prompt again, at least for the wanted objects, in the groups in which the run prompted them.

        Args:
            sample: The image and its annotations.
            view: The model's view of the image.
            context: A :class:`sambench.core.task.Context`.
            wanted: Ids of objects.
            clicks: Number of clicks after which masks are returned; a box takes none.
        """

    def stored(self, sample: Sample, instance: Instance, answer: Any) -> Mask:
        """Return an object's mask from stored predictions, as :attr:`sambench.core.task.Predictions.read` returns them.

        Raises:
            DataError: There is none.
        """
        raise NotImplementedError

    def first_click(self, sample: Sample, instance: Instance, context: Any) -> Click | None:
        """Return the first click that an object gets; None where the prompt is a box."""
        return None
