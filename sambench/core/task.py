"""Tasks: measure single samples, and summarise the records of a run."""

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
    """Facts of a run that a task may use besides sample and view.

    Attributes:
        dataset: The dataset's name in records.
        seed: Of all random draws.
        capabilities: Of the model.
        helpers: Number of threads that a task may spread its own work over, without any effect on the records.
        device: Device that the model computes on, for a task that itself computes with torch.
        threads: Number of threads that the model computes with, likewise.
    """

    dataset: str
    seed: int
    capabilities: frozenset[str] = frozenset()
    helpers: int = 1
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class SampleResult:
    """The result of a task on one sample.

    Attributes:
        rows: Records by the task's schema.
        excluded: Number of instances left out, by rule.
        files: Content of further files for the run directory, by relative name (``edge_maps/2018.png``).
    """

    rows: Sequence[Mapping[str, Any]]
    excluded: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """Stored predictions, for :meth:`Task.score`.

    Attributes:
        ids: The images that have an answer.
        digest: sha256 (hex) of all predictions.
        read: Returns the answer for an image id, in the form that the task's ``score`` takes, also for an image without
            one; raises :class:`sambench.errors.DataError` if it is not usable.
        whole_images: Each answer is about a whole image: nothing is scored unless every image has one.
    """

    ids: Sequence[str]
    digest: str
    read: Callable[[str], Any]
    whole_images: bool = False


DeferredResult = Callable[[], SampleResult]
"""The part of measuring that needs no model any more, to be called once, on any thread, while the model goes on."""


@dataclass(frozen=True)
class MetricValue:
    """The value of a metric.

    Attributes:
        value: None if undefined.
        n: Number of values that it is computed from.
        ci95: 95 % interval ``(low, high)``.
        ci95_bootstrap: The same, from the bootstrap over images.
        unit: Of the value, such as ``fraction`` or ``clicks``.
    """

    value: float | None
    n: int
    ci95: tuple[float, float] | None = None
    ci95_bootstrap: tuple[float, float] | None = None
    unit: str = "fraction"


@dataclass(frozen=True)
class TaskSummary:
    """The summary of all records of a run.

    Attributes:
        metrics: By name.
        breakdowns: By name of the cut, value of the cut, and metric name.
        n_masks: Number of masks that were scored (annotators' maps, for edges).
        curves: By name of the curve and name of the axis, values of one length for all axes; None where undefined.
        warnings: Remarks for readers of the scores, one sentence each, without a full stop.
        headlines: Metrics that get a separate table, as the primary one does.
        lower_is_better: Metrics whose lower values are better.
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
    """The content of a case's picture: masks with their prompts, or an edge map beside the annotators' boundaries.

    Attributes:
        about: For the caption, whole sentences.
        truth: Ground truth, of the image's size.
        answer: The model's mask, of the image's size.
        pointed: The answer to the same prompt with a point, and the point.
        boundaries: ``(H, W)`` bool each, one map per annotator.
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
    """The single cases that a run's metrics average, for pairing two runs and for looking at cases.

    Attributes:
        images: ``(n,)``, the image of each case.
        names: ``(n,)``, the id of an instance in the image, or an empty text for the whole image; unique together with
            the image.
        values: By metric, ``(n,)`` float64, NaN where the metric leaves a case out.
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
        """Name and digest of the content of each file that an option names, for the run's specification.

        A copy at another path is the same input; other content is another.
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
