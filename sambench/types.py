"""The words the engine, the plugins and the models share: plain types, numpy only.

Conventions everywhere: images are ``(H, W, 3)`` uint8 RGB; sizes are ``(height, width)``; points are ``xy`` in pixels
of the original image, where the integer ``(x, y)`` is the centre of the pixel in column x, row y; boxes are ``xyxy``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, RGB."""


@dataclass(frozen=True, eq=False, slots=True)
class Mask:
    """A binary mask of an image, stored as the window that tightly holds its foreground.

    ``size``: ``(H, W)`` of the image. ``top``, ``left``: where the window lies (pixels). ``window``: ``(h, w)`` bool,
    tight (every outermost row and column holds a foreground pixel), ``(0, 0)`` if the mask is empty. ``area``:
    foreground pixels. Make one with :meth:`from_dense` or :meth:`from_window`, which trim.
    """

    size: tuple[int, int]
    top: int
    left: int
    window: NDArray[np.bool_]
    area: int

    @classmethod
    def from_dense(cls, dense: NDArray[Any]) -> Mask:
        """From ``(H, W)`` bool or integer, non-zero is foreground."""
        return cls.from_window((dense.shape[0], dense.shape[1]), 0, 0, dense)

    @classmethod
    def from_window(cls, size: tuple[int, int], top: int, left: int, window: NDArray[Any]) -> Mask:
        """From the values of one window of the image, ``(h, w)``, all else background. Trims, copies."""
        window = window if window.dtype == np.bool_ else window != 0
        rows = np.flatnonzero(window.any(axis=1))
        if rows.size == 0:
            return cls(size, 0, 0, np.zeros((0, 0), np.bool_), 0)
        y0, y1 = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(window[y0:y1].any(axis=0))
        x0, x1 = int(columns[0]), int(columns[-1]) + 1
        tight = np.ascontiguousarray(window[y0:y1, x0:x1])
        if tight is window or tight.base is not None:
            tight = tight.copy()
        return cls(size, top + y0, left + x0, tight, int(np.count_nonzero(tight)))

    @classmethod
    def empty(cls, size: tuple[int, int]) -> Mask:
        """The mask of the given ``(H, W)`` without a foreground pixel."""
        return cls(size, 0, 0, np.zeros((0, 0), np.bool_), 0)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """``(x0, y0, x1, y1)`` in pixels, right and bottom exclusive; ``(0, 0, 0, 0)`` if empty."""
        h, w = self.window.shape
        return (self.left, self.top, self.left + w, self.top + h)

    def crop(self, top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
        """Rows ``top:bottom`` and columns ``left:right``, which may reach over the image: ``(h, w)`` bool."""
        out = np.zeros((bottom - top, right - left), np.bool_)
        x0, y0, x1, y1 = self.box
        ya, yb, xa, xb = max(top, y0), min(bottom, y1), max(left, x0), min(right, x1)
        if ya < yb and xa < xb:
            out[ya - top : yb - top, xa - left : xb - left] = self.window[ya - y0 : yb - y0, xa - x0 : xb - x0]
        return out

    def dense(self) -> NDArray[np.bool_]:
        """The whole mask: ``(H, W)`` bool."""
        return self.crop(0, 0, *self.size)

    def __contains__(self, xy: tuple[int, int]) -> bool:
        x, y = xy[0] - self.left, xy[1] - self.top
        h, w = self.window.shape
        return 0 <= x < w and 0 <= y < h and bool(self.window[y, x])


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """One annotated object (or part, or stuff segment) of an image.

    ``id`` is unique within its image. ``annotated_area`` is the dataset's own area field, if it has one (COCO's
    comes from polygons and may differ from the mask's pixel count), ``annotated_box`` its own box: x, y, width and
    height in pixels. ``crowd`` marks regions that stand for many objects: tasks that prompt for one object leave them
    out and count them.
    """

    id: str
    mask: Mask
    class_name: str | None = None
    class_id: int | None = None
    crowd: bool = False
    annotated_area: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    annotated_box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class GroundTruth:
    """All that is annotated in one image.

    ``void``: pixels that count neither in clicks nor in IoU. ``boundaries``: one ``(H, W)`` bool map per annotator.
    ``dropped``: how many annotations the reader left out, by named rule (``{"empty_mask": 2}``). ``empty``: those of
    them whose mask holds no pixel; to the toolkits of COCO and LVIS they are objects that nobody finds.
    """

    instances: tuple[Instance, ...]
    void: Mask | None = None
    boundaries: tuple[NDArray[np.bool_], ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    empty: tuple[Instance, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """One image and its ground truth, each read on first use and then kept.

    ``read_image`` and ``read_truth`` raise :class:`sambench.errors.DataError` if a file is missing or unreadable.
    ``size`` is ``(H, W)``.
    """

    id: str
    size: tuple[int, int]
    read_image: Callable[[], Image]
    read_truth: Callable[[], GroundTruth]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def image(self) -> Image:
        return self.read_image()

    @cached_property
    def truth(self) -> GroundTruth:
        return self.read_truth()


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One image of a split, known without decoding it. ``n_masks``: annotated masks that are not crowd, as the
    annotation declares them (some may rasterise to nothing)."""

    id: str
    n_masks: int


@dataclass(frozen=True)
class Split:
    """One split of a dataset. ``images`` and ``masks``: what a complete copy holds; None where unknown."""

    images: int | None = None
    masks: int | None = None
    note: str = ""


@dataclass(frozen=True)
class PaperUse:
    """What the Segment Anything paper evaluated (Table 7): ``name`` as printed there, sampled images and masks."""

    name: str
    split: str
    images: int
    masks: int


@dataclass(frozen=True)
class Archive:
    """One file that is downloaded for a dataset.

    ``file``: its name. ``holds``: what is in it. ``into``: the folder, relative to the dataset's own folder, in which
    it is unpacked (an empty text: the folder itself). ``url``: a direct public address; empty where a login or a form
    stands before it, or where none is known. ``sha256``: hex, empty where nobody has published one. ``splits``: the
    splits that need it; empty: all.
    """

    file: str
    holds: str
    into: str = ""
    url: str = ""
    sha256: str = ""
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Semantics:
    """What counts as a mask of the dataset, beyond ``Card.kind``; each text is one plain sentence, empty: nothing.

    ``parts``: parts of objects are masks of their own. ``stuff``: amorphous regions (road, sky) are masks. ``void``:
    which pixels count for nothing. ``crowd``: what is marked as a region of many objects. ``components``: how one
    label becomes several masks, or why it does not. ``overlaps``: masks of an image may overlap, and are kept so.
    ``frames``: which frames of a video are images of the index. ``dropped``: classes that are left out.
    """

    parts: bool = False
    stuff: bool = False
    void: str = ""
    crowd: str = ""
    components: str = ""
    overlaps: bool = False
    frames: str = ""
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Card:
    """Who a dataset is. ``access``: how to get it, one step a line. ``layout``: the tree under the dataset's folder.
    ``archives``: what is downloaded, and where it is unpacked. ``semantics``: what counts as a mask.
    ``published_as``: by task, what ``reports/reference/`` calls the dataset, where that is not ``paper.name``.
    ``folders``: names under the data root where the dataset is looked for (besides the root itself).
    ``kind``: instance, panoptic or semantic. ``default_split`` may be overridden for a task in ``task_splits``.
    ``group``: ``sam23`` (the paper's 23), ``reference``, ``ritm5`` (RITM's five), ``demo`` (made on first use),
    ``generic`` (users' own data).
    ``tasks``: the tasks that it is defined on. ``in_training_sets_of``: names models use in ``trained_on``.
    """

    name: str
    title: str
    citation: str
    url: str
    licence: str
    access: str
    layout: str
    kind: str
    splits: Mapping[str, Split]
    default_split: str
    group: str
    tasks: frozenset[str]
    folders: tuple[str, ...] = ()
    paper: PaperUse | None = None
    task_splits: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    gotchas: tuple[str, ...] = ()
    same_images_as: frozenset[str] = frozenset()
    archives: tuple[Archive, ...] = ()
    semantics: Semantics = Semantics()
    published_as: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """A dataset plugin: one file in ``datasets/`` with ``PLUGIN = <the class>``.

    One whose objects have classes by number may also have ``categories``: their names, by number.

    ``Options`` is a frozen dataclass of what ``--set dataset.KEY=VALUE`` may change. ``arguments`` names what a
    generic dataset is called with (``coco_json:ANNOTATIONS,IMAGES``); such values fill the options of the same names.
    """

    card: ClassVar[Card]
    Options: ClassVar[type]
    arguments: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path, split: str, options: Any) -> None:
        """``root``: what :meth:`locate` answered. Opens nothing but what :meth:`index` needs."""

    @classmethod
    def locate(cls, root: Path, split: str, options: Any) -> Path | None:
        """The dataset's own folder at or under the data root, or None if it is not there."""

    def index(self) -> Sequence[IndexEntry]:
        """Every image of the split, ids unique, in any order that does not change, without decoding an image."""

    def load(self, id: str) -> Sample:
        """The sample of an id of the index. Raises :class:`sambench.errors.DataError`."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts for one image; every part that is given has the same N.

    ``points``: ``(N, P, 2)`` float32 xy in pixels of the original image. ``labels``: ``(N, P)`` int64, 1 foreground,
    0 background, -1 padding. ``boxes``: ``(N, 4)`` float32 xyxy. ``mask_logits``: ``(N, h, w)``, what
    :meth:`Prediction.feedback` of the same view answered earlier. ``text``: N phrases, none empty; points that come
    with them say which of several things is meant. A model with the capability ``text`` answers them as
    :class:`TextPrediction` says.
    """

    points: NDArray[np.float32] | None = None
    labels: NDArray[np.int64] | None = None
    boxes: NDArray[np.float32] | None = None
    mask_logits: Any = None
    text: Sequence[str] | None = None

    def __post_init__(self) -> None:
        sizes = {
            len(part)
            for part in (self.points, self.labels, self.boxes, self.mask_logits, self.text)
            if part is not None
        }
        if len(sizes) != 1:
            raise ValueError(f"the parts of Prompts must have one common length, got {sorted(sizes)}")
        if (self.points is None) != (self.labels is None):
            raise ValueError("points and labels are given together or not at all")
        if (
            self.points is not None
            and self.labels is not None
            and (self.points.ndim != 3 or self.points.shape[:2] != self.labels.shape or self.points.shape[2] != 2)
        ):
            raise ValueError(
                f"points must be (N, P, 2) and labels (N, P), got {self.points.shape} and {self.labels.shape}"
            )
        if self.boxes is not None and self.boxes.shape[1:] != (4,):
            raise ValueError(f"boxes must be (N, 4) xyxy, got {self.boxes.shape}")

    def __len__(self) -> int:
        for part in (self.points, self.boxes, self.mask_logits, self.text):
            if part is not None:
                return len(part)
        raise AssertionError("unreachable: __post_init__ requires a part")


class Prediction(Protocol):
    """M candidate masks for each of N prompts.

    ``scores``: ``(N, M)`` float32, the model's own estimate (of the IoU, for SAM's family); higher is better.
    """

    @property
    def scores(self) -> NDArray[np.float32]: ...

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The binary masks of the (prompt, candidate) pairs, at the original image size, made in chunks."""

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> Any:
        """Unthresholded low-resolution logits ``(len(chosen), h, w)`` of the pairs, for ``Prompts.mask_logits``.
        None if the model takes no mask prompts."""


class TextPrediction(Prediction, Protocol):
    """What a model with the capability ``text`` answers to N phrases, with ``multimask=True``; with ``multimask=False``
    it is the same without all candidates but the first of each phrase (M is 1).

    ``scores``: ``(N, M)`` float32, M at least 1, finite, in descending order for each phrase. They rank the candidates;
    what they are (a cosine similarity, a probability) is the model's to say. A phrase with fewer than M candidates has
    empty masks after them, none of them an instance, whose score is 0 or that of the last candidate if that is lower.

    Candidate 0 is the answer to a phrase that is taken to name one thing, also where the model holds that there is no
    such thing. The instances are the answer to a phrase that names all things of a kind; their union is its region.

    ``instances``: ``(N, M)`` bool, the candidates that the model gives out as things that the phrase names. None of
    them: the model holds that the image has no such thing, and rejects the phrase. ``presence``: ``(N,)`` float32,
    finite: how sure the model is that there is such a thing, from phrase and image alone, whatever the points; higher
    is surer, comparable between phrases and images. ``notes``: N texts for the records, empty where there is nothing to
    say about how the phrase was read ("cut to 77 of 90 tokens").

    With points, candidates that hold the foreground ones and none of the background ones come first; candidate 0 is an
    instance if there is a foreground point (and it is not empty), and no other that holds a background point is one.
    """

    @property
    def instances(self) -> NDArray[np.bool_]: ...

    @property
    def presence(self) -> NDArray[np.float32]: ...

    @property
    def notes(self) -> Sequence[str]: ...


class View(Protocol):
    """A model looking at one image: encoded once, prompted many times.

    With the capability ``text``, :meth:`predict` answers prompts with text with a :class:`TextPrediction`.

    With the capability ``edges`` it also has ``edges() -> NDArray[np.float32]``: ``(H, W)`` edge strength in [0, 1],
    and ``edges_are_thin: bool``, whether the map is one that must not be thinned again.

    A view that can look closer has ``crops(boxes: Sequence[tuple[int, int, int, int]]) -> Iterator[View]``: for each
    box, xyxy pixels with right and bottom exclusive, that part of the image as an image of its own, encoded when its
    turn comes.
    """

    def predict(self, prompts: Prompts, *, multimask: bool) -> Prediction:
        """``multimask``: three candidates (whole, part, subpart) for an ambiguous prompt, else one."""


CAPABILITIES = frozenset({"points", "boxes", "masks", "text", "multimask", "edges"})


class Model(Protocol):
    """A promptable model.

    ``capabilities``: subset of :data:`CAPABILITIES`. ``trained_on``: dataset names, empty for a model that was not
    trained, None if nobody has said. ``weights_digest``: sha256 (hex) of what makes the model's answers: the weights
    file, or name and version of an algorithm. ``encode_batch``: images that :meth:`encode` takes at once.
    ``batch_invariant``: an image's view does not depend, to the bit, on how many others were encoded with it.
    """

    name: str
    capabilities: frozenset[str]
    trained_on: frozenset[str] | None
    weights_digest: str
    encode_batch: int
    batch_invariant: bool

    def encode(self, images: Sequence[Image]) -> Sequence[View]: ...


@runtime_checkable
class PreparesImages(Protocol):
    """A model that can take an image as far as the accelerator beforehand, on any thread, while it encodes others."""

    def prepare(self, image: Image) -> Any:
        """What :meth:`encode_prepared` takes of one image."""

    def encode_prepared(self, prepared: Sequence[Any]) -> Sequence[View]:
        """The same as ``encode`` of the images, to the bit."""


@runtime_checkable
class KeepsEncodings(Protocol):
    """A model whose views can be put on disk and made again.

    ``encoding_key``: everything that an encoding depends on besides the image, the weights and what is encoded with
    it: a version of the preprocessing and of the encoder, the dtype.
    """

    encoding_key: str

    def encoding(self, view: View) -> Mapping[str, NDArray[Any]]:
        """All that is needed of a view of this model, float32 arrays by name."""

    def view_of(self, image: Image, encoding: Mapping[str, NDArray[Any]]) -> View:
        """The view of an image that has such an encoding; answers as the first one did, to the bit."""


@runtime_checkable
class DecodesTogether(Protocol):
    """A model that decodes the prompts of several images at once. ``prompt_batch``: how many prompts; where it is 1
    nothing is gained."""

    prompt_batch: int

    def predict_together(
        self, views: Sequence[View], prompts: Sequence[Prompts], *, multimask: bool
    ) -> Sequence[Prediction]:
        """What each view's ``predict`` answers, up to the rounding of another batch."""


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
class Measured:
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


Later = Callable[[], Measured]
"""The part of measuring that needs no model any more, to be called once, on any thread, while the model goes on."""


@dataclass(frozen=True)
class Metric:
    """One number. ``value``: None if undefined. ``ci95``: ``(low, high)``. ``n``: how many values it is made of."""

    value: float | None
    n: int
    ci95: tuple[float, float] | None = None
    ci95_bootstrap: tuple[float, float] | None = None
    unit: str = "fraction"


@dataclass(frozen=True)
class Scores:
    """What a task makes of all records of a run. ``breakdowns``: name of the cut, value of the cut, metric name.

    ``curves``: name of the curve, name of the axis, its values, as many for each axis; None where undefined.
    ``warnings``: what a reader of the scores should know, one sentence each, without a full stop. ``headlines``:
    metrics that get a table of their own, as the primary one does. ``lower_is_better``: metrics of which less is more.
    """

    metrics: Mapping[str, Metric]
    breakdowns: Mapping[str, Mapping[str, Mapping[str, Metric]]] = field(default_factory=dict)
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

    def measure(self, sample: Sample, view: View, context: Context) -> Measured | Later:
        """The records of one sample: prompt, predict, compare. Comparing may be left for later."""

    def read_predictions(self, path: Path) -> Predictions:
        """What ``sambench score --predictions PATH`` is to score. Raises :class:`sambench.errors.UsageError`."""

    def score(self, sample: Sample, answer: Any, context: Context) -> Measured | Later:
        """The records of one sample from what was predicted elsewhere, as :attr:`Predictions.read` answers it."""

    def summarize(self, records: Any, context: Context) -> Scores:
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
