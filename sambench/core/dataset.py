"""What a dataset is to the suite: its card, its index, its samples and their ground truth."""

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
        """Return the file of an image; None if the image is not there. Left alone if images are not single files."""
        raise NotImplementedError

    @classmethod
    def has_image_files(cls) -> bool:
        """Whether :meth:`image_file` answers."""
        return cls.image_file is not Dataset.image_file
