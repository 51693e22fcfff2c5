"""What a task is to the suite: it measures one sample, and sums up all records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import Dataset, Sample
from sambench.core.mask import Mask
from sambench.core.model import Click, View
from sambench.core.options import NoOptions
from sambench.core.replay import Replay
from sambench.errors import UsageError


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


@dataclass(frozen=True)
class Artifacts:
    """Files that a task keeps of each image, as ``files/FOLDER/ID.SUFFIX``.

    Attributes:
        option: The option that keeps them in the run directory.
        coco_results: Each is a JSON list of masks in COCO's results form.
    """

    option: str
    coco_results: bool = False


@dataclass(frozen=True, eq=False)
class CasePicture:
    """What one case looks like: masks with their prompts, or an edge map beside the annotators' boundaries.

    Attributes:
        about: For the caption, whole sentences.
        truth, answer: Masks of the image's size.
        pointed: The answer to the same prompt with a point, and the point.
        boundaries: One ``(H, W)`` bool map per annotator.
        strength: ``(H, W)`` uint8 edge strength.
        iou: Of the mask that is shown; None without one.
        prompts: For the gallery's index, plain JSON values.
    """

    about: str
    truth: Mask | None = None
    answer: Mask | None = None
    pointed: tuple[Mask, Click] | None = None
    boundaries: Sequence[NDArray[np.bool_]] = ()
    strength: NDArray[np.uint8] | None = None
    iou: float | None = None
    prompts: Mapping[str, Any] = field(default_factory=dict)


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


class Task(ABC):
    """A task plugin: one file in ``tasks/`` with ``PLUGIN = <the class>``.

    Attributes:
        name: Name on the command line and in run directories.
        version: Rises with any change that changes a number.
        requires: Capabilities without which a model cannot do the task; of ``edges|points`` one is enough.
        primary: The metric that a table shows.
        Options: Frozen dataclass of the options that ``--set task.KEY=VALUE`` may change.
        decode_jointly: Asks fewer prompts of an image at a time than a GPU decodes at once, so that the prompts of
            several images are decoded together.
        artifacts: Files that the task can keep of each image.
        case_noun: What a single case is called in a caption.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    requires: frozenset[str]
    primary: ClassVar[str]
    Options: ClassVar[type] = NoOptions
    decode_jointly: ClassVar[bool] = False
    artifacts: ClassVar[Artifacts | None] = None
    case_noun: ClassVar[str] = "object"

    @abstractmethod
    def __init__(self, options: Any) -> None:
        """Take an instance of :attr:`Options`."""

    @property
    @abstractmethod
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` of the records; one column is ``image_id``, a text."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """One short string that says prompt rule, mask rule, threshold and version, beside every score."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """For each option that names a file: name and digest of its content, for the run's specification.

        A copy at another path then is the same input, and another content is not.
        """
        return {}

    def prepare(self, dataset: Dataset, label: str) -> None:  # noqa: B027
        """Check the inputs, before the first sample, in every process.

        Args:
            dataset: The dataset of the run.
            label: What messages call it.

        Raises:
            UsageError: The inputs do not fit the dataset.
        """

    def excludes(self, sample: Sample) -> str:
        """Return the rule that leaves the whole sample out (no prompt can be made), or an empty text."""
        return ""

    @abstractmethod
    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult | DeferredResult:
        """Prompt the model for one sample and compare its answers, or return a function that compares them later."""

    def read_predictions(self, path: Path) -> Predictions:
        """Read the file or folder that ``sambench score --predictions PATH`` names.

        Raises:
            UsageError: It cannot be used, or the task scores no stored predictions.
        """
        raise UsageError(f"{path}: task {self.name} cannot score stored predictions; name a model in `sambench run`")

    def score(self, sample: Sample, answer: Any, context: Context) -> SampleResult | DeferredResult:
        """Compare one sample with its stored answer, as :attr:`Predictions.read` returns it."""
        raise NotImplementedError

    @abstractmethod
    def summarize(self, records: Any, context: Context) -> TaskSummary:
        """Compute everything that is reported, from all records (a ``pyarrow.Table``) and nothing else."""

    def cases(self, records: Any) -> Cases | None:
        """Return the value of each single case, None if the metrics are not means over cases.

        The first metric is the one that comparisons are about.
        """
        return None

    def replay(self) -> Replay | None:
        """Return how the answers to single objects are made again; None if the task has no such answers.

        Raises:
            UsageError: Not with these options.
        """
        return None

    def picture(self, sample: Sample, artifact: bytes, name: str) -> CasePicture:
        """Return what a case looks like, from the image's artifact, for a task without :meth:`replay`.

        Args:
            sample: The image and its annotations.
            artifact: Content of the file that the task keeps of the image.
            name: Of the case, as in :class:`Cases`.

        Raises:
            DataError: The annotations are not those of the run.
        """
        raise UsageError(f"task {self.name} does not say what its cases look like")
