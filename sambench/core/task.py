"""What a task is to the suite: it measures one sample, and sums up all records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import Dataset, Sample
from sambench.core.model import View


@dataclass(frozen=True)
class Context:
    """What a task may know besides sample and view: whose records these are, and what the model can do.

    ``helpers``: threads that a task may spread its own work over, without any effect on the records. ``device`` and
    ``threads``: what the model computes on and with, for a task that computes something with torch itself.
    """

    dataset: str
    seed: int
    capabilities: frozenset[str] = frozenset()
    helpers: int = 1
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class SampleResult:
    """What a task makes of one sample: records by its schema, and the instances it left out, counted by rule.

    ``files``: what is to lie in the run directory besides, by relative name (``edge_maps/2018.png``).
    """

    rows: Sequence[Mapping[str, Any]]
    excluded: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """What was predicted elsewhere, for :meth:`Task.score`.

    ``ids``: the images that are answered. ``digest``: sha256 (hex) of all of it. ``read``: the answer for an image, in
    the form that the task's ``score`` takes, also for one that is not answered; raises
    :class:`sambench.errors.DataError` if it is not usable. ``whole_images``: an answer is about an image as a whole, so
    that nothing is scored unless there is one for each.
    """

    ids: Sequence[str]
    digest: str
    read: Callable[[str], Any]
    whole_images: bool = False


DeferredResult = Callable[[], SampleResult]
"""The part of measuring that needs no model any more, to be called once, on any thread, while the model goes on."""


@dataclass(frozen=True)
class MetricValue:
    """One number. ``value``: None if undefined. ``ci95``: ``(low, high)``. ``n``: how many values it is made of."""

    value: float | None
    n: int
    ci95: tuple[float, float] | None = None
    ci95_bootstrap: tuple[float, float] | None = None
    unit: str = "fraction"


@dataclass(frozen=True)
class TaskSummary:
    """What a task makes of all records of a run. ``breakdowns``: name of the cut, value of the cut, metric name.

    ``curves``: name of the curve, name of the axis, its values, as many for each axis; None where undefined.
    ``warnings``: what a reader of the scores should know, one sentence each, without a full stop. ``headlines``:
    metrics that get a table of their own, as the primary one does. ``lower_is_better``: metrics of which less is more.
    """

    metrics: Mapping[str, MetricValue]
    breakdowns: Mapping[str, Mapping[str, Mapping[str, MetricValue]]] = field(default_factory=dict)
    n_masks: int = 0
    curves: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    headlines: Sequence[str] = ()
    lower_is_better: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Cases:
    """The single cases that a run's metrics are means of, so that two runs can be paired and cases be looked at.

    ``images``: ``(n,)``, the image of each. ``names``: ``(n,)``, what in the image: the id of an instance, or an empty
    text for the image as a whole; with the image unique. ``values``: by metric, ``(n,)`` float64, NaN where a case
    takes no part in it.
    """

    images: Sequence[str]
    names: Sequence[str]
    values: Mapping[str, NDArray[np.float64]]


@runtime_checkable
class HasCases(Protocol):
    """A task whose records are cases, or hold what each is worth."""

    def cases(self, records: Any) -> Cases:
        """From the records (a ``pyarrow.Table``); the first metric is the one that a comparison is about."""


class Task(Protocol):
    """A task plugin: one file in ``tasks/`` with ``PLUGIN = <the class>``.

    ``version`` rises with any change that changes a number. ``requires``: capabilities without which a model cannot
    do the task; of ``edges|points`` one is enough. ``Options``: frozen dataclass of what ``--set task.KEY=VALUE`` may
    change. ``schema``: a ``pyarrow.Schema`` of the records, with a text column ``image_id``. ``primary``: the metric a
    table shows.

    One that asks fewer prompts of an image at a time than a GPU decodes at once may have ``few_prompts = True``: then
    those of several images are decoded together.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    requires: ClassVar[frozenset[str]]
    primary: ClassVar[str]
    Options: ClassVar[type]

    def __init__(self, options: Any) -> None: ...

    @property
    def schema(self) -> Any: ...

    @property
    def signature(self) -> str:
        """One short string that says prompt rule, mask rule, threshold and version, beside every score."""

    def excludes(self, sample: Sample) -> str:
        """The rule that leaves the whole sample out (no prompt can be made), or the empty string."""

    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult | DeferredResult:
        """The records of one sample: prompt, predict, compare. Comparing may be left for later."""

    def read_predictions(self, path: Path) -> Predictions:
        """What ``sambench score --predictions PATH`` is to score. Raises :class:`sambench.errors.UsageError`."""

    def score(self, sample: Sample, answer: Any, context: Context) -> SampleResult | DeferredResult:
        """The records of one sample from what was predicted elsewhere, as :attr:`Predictions.read` answers it."""

    def summarize(self, records: Any, context: Context) -> TaskSummary:
        """Everything that is reported, from the records (a ``pyarrow.Table``) alone."""


@runtime_checkable
class TakesInputs(Protocol):
    """A task that takes something besides samples and a model, such as a file of boxes.

    ``inputs``: by option, what stands in a run's specification in place of the option's value: name and digest of what
    it names, so that a copy at another path is the same and another content is not.
    """

    @property
    def inputs(self) -> Mapping[str, str]: ...

    def prepare(self, dataset: Dataset, label: str) -> None:
        """Called before the first sample, in every process. ``label``: what messages call the dataset. Raises
        UsageError if the inputs do not fit it."""
