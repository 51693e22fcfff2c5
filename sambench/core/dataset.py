"""Dataset plugins: their card, index, samples and ground truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sambench.core.mask import Image, Mask
from sambench.core.options import NoOptions

EXPRESSIONS = "expressions"
"""The attribute of an instance with the texts that refer to it and to nothing else in the image."""


@dataclass(frozen=True, eq=False, slots=True)
class Instance:
    """An annotated object (or part, or stuff segment) of an image.

    Attributes:
        id: Unique within the image.
        mask: Its pixels.
        class_name: Name of its class; None if it has none.
        class_id: Number of its class in the dataset; None if classes have no numbers.
        crowd: Region of many objects: tasks that prompt for single objects exclude and count it.
        annotated_area: The dataset's own area field, in pixels, if it has one (COCO's comes from polygons and may
            differ from the mask's pixel count).
        attributes: Further annotations by name, such as :data:`EXPRESSIONS`.
        annotated_box: The dataset's own box, xywh in pixels.
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
    """All annotations of an image.

    Attributes:
        instances: In the order of the annotation.
        void: Pixels that count neither in clicks nor in IoU.
        boundaries: ``(H, W)`` bool each, one map per annotator.
        dropped: Number of annotations that the reader left out, by named rule (``{"empty_mask": 2}``).
        empty: The dropped annotations whose mask has no pixel; COCO's and LVIS's toolkits count them as missed objects.
    """

    instances: tuple[Instance, ...]
    void: Mask | None = None
    boundaries: tuple[NDArray[np.bool_], ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    empty: tuple[Instance, ...] = ()


@dataclass(frozen=True, eq=False)
class Sample:
    """An image and its ground truth, each read on first use and then kept.

    Attributes:
        id: Unique within the split.
        size: ``(H, W)`` of the image.
        read_image: Returns ``(H, W, 3)`` uint8 RGB; raises :class:`sambench.errors.DataError` if the file is missing or
            unreadable.
        read_truth: Returns the annotations; raises as ``read_image`` does.
        attributes: Facts about the image by name.
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
    """An image of a split, known without decoding it.

    Attributes:
        id: Unique within the split.
        n_masks: Number of annotated masks that are not crowds, as the annotation declares them (some may rasterise to
            nothing).
    """

    id: str
    n_masks: int


@dataclass(frozen=True)
class Split:
    """A split of a dataset.

    Attributes:
        images: Number of images in a complete copy; None if unknown.
        masks: Number of masks in a complete copy; None if unknown.
        note: Remark for the dataset's page.
    """

    images: int | None = None
    masks: int | None = None
    note: str = ""


@dataclass(frozen=True)
class PaperUse:
    """The part of a dataset that the Segment Anything paper evaluated (Table 7).

    Attributes:
        name: As printed there.
        split: The split it was sampled from.
        images: Number of sampled images.
        masks: Number of sampled masks.
    """

    name: str
    split: str
    images: int
    masks: int


@dataclass(frozen=True)
class Archive:
    """A file to download for a dataset.

    Attributes:
        file: Its name.
        holds: Its content, in words.
        into: Folder to unpack it in, relative to the dataset's own folder (empty: that folder itself).
        url: Direct public address; empty where it needs a login or a form, or where none is known.
        sha256: Hex; empty where nobody has published one.
        splits: The splits that need it; empty: all.
    """

    file: str
    holds: str
    into: str = ""
    url: str = ""
    sha256: str = ""
    splits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Semantics:
    """Rules for what counts as a mask of the dataset, beyond ``Card.kind``.

    Each text is one plain sentence; an empty one means that there is no such rule.

    Attributes:
        parts: Parts of objects are separate masks.
        stuff: Amorphous regions (road, sky) are masks.
        void: Which pixels are ignored.
        crowd: Which annotations are regions of many objects.
        components: How one label becomes several masks, or why it does not.
        overlaps: Masks of an image may overlap, and are kept so.
        frames: Which frames of a video are images of the index.
        dropped: Classes that are left out.
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
    """Metadata of a dataset.

    Attributes:
        name: Name on the command line.
        title: Name in prose.
        citation: The publication.
        url: Home page.
        licence: Terms of use.
        access: How to get it, one step a line.
        layout: The tree under the dataset's folder.
        kind: ``instance``, ``panoptic`` or ``semantic``.
        splits: Splits by name.
        default_split: The split of a run that names none; ``task_splits`` overrides it.
        group: ``sam23`` (the paper's 23), ``reference``, ``ritm5`` (RITM's five), ``demo`` (made on first use) or
            ``generic`` (users' own data).
        tasks: Names of the tasks that support it.
        folders: Names of the folders under the data root to look in (besides the root itself).
        paper: Its part in the Segment Anything paper; None if it has none.
        task_splits: Default split by task.
        classes: Class names in order of their numbers, for a dataset without :attr:`Dataset.categories`.
        gotchas: Pitfalls, one each.
        same_images_as: Names with which models list the same images in ``trained_on``.
        archives: Files to download, and where to unpack them.
        semantics: Rules for what counts as a mask.
        published_as: By task, the dataset's name in ``reports/reference/`` where that is not ``paper.name``.
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


class Dataset(ABC):
    """A dataset plugin: one file in ``datasets/`` with ``PLUGIN = <the class>``.

    Attributes:
        card: Metadata of the dataset.
        Options: Frozen dataclass of the options that ``--set dataset.KEY=VALUE`` may change.
        arguments: Names of the arguments of a generic dataset (``coco_json:ANNOTATIONS,IMAGES``); each fills the option
            of the same name.
    """

    card: ClassVar[Card]
    Options: ClassVar[type] = NoOptions
    arguments: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __init__(self, root: Path, split: str, options: Any) -> None:
        """Open nothing but what :meth:`index` needs.

        Args:
            root: The answer of :meth:`locate`.
            split: One of ``card.splits``.
            options: An instance of :attr:`Options`.
        """

    @classmethod
    @abstractmethod
    def locate(cls, root: Path, split: str, options: Any) -> Path | None:
        """Return the dataset's own folder at or under the data root, or None if it is not there."""

    @abstractmethod
    def index(self) -> Sequence[IndexEntry]:
        """Return every image of the split without decoding one: ids unique, in an order that does not change."""

    @abstractmethod
    def load(self, id: str) -> Sample:
        """Return the sample of an id of the index.

        Raises:
            DataError: The image or its annotation cannot be read.
        """

    if TYPE_CHECKING:  # At run time plain attributes, so that a plugin may also assign them.

        @property
        def categories(self) -> Mapping[int, str] | None:
            """Names of the classes by number; None if objects have no numbered classes."""

        @property
        def excluded(self) -> Mapping[str, int]:
            """Images left out of the index, by rule."""
    else:
        categories = None
        excluded = MappingProxyType({})

    def image_file(self, id: str) -> Path | None:
        """Return the file of an image, None if it is missing. Do not override if images are not single files."""
        raise NotImplementedError

    @classmethod
    def has_image_files(cls) -> bool:
        """Return whether :meth:`image_file` is implemented."""
        return cls.image_file is not Dataset.image_file
