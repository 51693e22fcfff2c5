"""Referring expressions in the layout of RefCOCO, RefCOCO+ and RefCOCOg (REFER: https://github.com/lichengunc/refer).

A folder holds ``instances.json``, the annotation of all objects in COCO's form, and pickles ``refs(PARTITION).p``: a
list of ``{"ref_id", "ann_id", "image_id", "split", "sentences": [{"sent", "raw"}]}`` that says which of the objects are
referred to, and how. The pictures are COCO's of 2014.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from sambench.core.dataset import EXPRESSIONS, Archive, Card, GroundTruth, Sample, Semantics, Split
from sambench.errors import DataError, UsageError
from sambench.readers.coco_json import CocoDataset, CocoReader, images_in
from sambench.readers.contents import LFS_POINTER, what_is_lacking
from sambench.readers.files import first_place, nfc
from sambench.readers.index_cache import Arrays, cached
from sambench.readers.listing import ListedDataset, Listing, MissingImages, list_images

IMAGES = "train2014"

_INDEX = "refer-1"
"""What index this code makes: another number with every change to :func:`_make_index` that can change it."""

Text = Literal["sent", "raw"]
"""Which form of a sentence is read: cleaned (lower case, without punctuation), or as it was typed."""


@dataclass(frozen=True, slots=True)
class Ref:
    """One object that is referred to. ``annotation``, ``image``: ids in ``instances.json``, as text. ``expressions``:
    in the order of the file."""

    annotation: str
    image: str
    split: str
    expressions: tuple[str, ...]


class _PlainUnpickler(pickle._Unpickler):
    """Builds containers, texts, bytes and numbers. For anything else a pickle names a class or a function, and none is
    looked up.

    Python's own implementation, not the compiled one, which makes room for as much as a damaged byte says.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        raise _ForeignError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _ForeignError(f"the object {pid}")

    def get_extension(self, code: int) -> NoReturn:
        raise _ForeignError(f"extension {code}")


class _ForeignError(Exception):
    """A pickle asks for something that is not in it."""


def load_plain_pickle(content: bytes, path: Path) -> Any:
    """What a pickle of plain containers, texts and numbers holds, whatever Python wrote it. No code in it is run.

    Texts of Python 2 are read as UTF-8, with U+FFFD for what is none. ``path``: for messages. Raises UsageError: it is
    no such pickle.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8", errors="replace").load()
    except _ForeignError as error:
        wanted = ascii(str(error))[1:-1]
        raise UsageError(
            f"{path}: asks for {wanted}; a list of texts and numbers needs nothing of the kind, do not trust this file"
        ) from None
    except Exception as error:  # damaged bytes can ask the unpickler for anything
        raise UsageError(f"{path}: not a pickle, or damaged ({type(error).__name__}); copy it again") from None


def read_refs(path: Path, text: Text = "sent") -> list[Ref]:
    """The objects that are referred to, in file order. Raises UsageError: unreadable, or not such a file, with the
    entry's number."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if content.startswith(LFS_POINTER):
        raise UsageError(f"{path}: {what_is_lacking(content)}")
    # The largest is 30 MB, which takes seconds.
    found = cached(
        f"{_INDEX}-{text}", hashlib.sha256(content).hexdigest(), partial(_make_index, content, path, text), len(content)
    )
    return [
        Ref(annotation, image, split, tuple(expressions))
        for annotation, image, split, expressions in json.loads(found["refs"].tobytes())
    ]


def _make_index(content: bytes, path: Path, text: Text) -> Arrays:
    """``refs``: what :class:`Ref` holds, as a JSON list of lists."""
    entries = load_plain_pickle(content, path)
    if not isinstance(entries, list):
        raise UsageError(f"{path}: expected a list of objects that are referred to, found {type(entries).__name__}")
    refs = [_ref(path, place, entry, text) for place, entry in enumerate(entries)]
    return {"refs": np.frombuffer(json.dumps(refs).encode(), np.uint8)}


def _ref(path: Path, place: int, entry: Any, text: Text) -> tuple[str, str, str, list[str]]:
    where = f"{path}: entry {place}"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is not a dict with ann_id, image_id, split and sentences")
    for key in ("ann_id", "image_id"):
        if type(entry.get(key)) is not int:
            raise UsageError(f"{where} has no whole number {key!r}")
    split, sentences = entry.get("split"), entry.get("sentences")
    if not isinstance(split, str) or not isinstance(sentences, list):
        raise UsageError(f"{where} has no text 'split' or no list 'sentences'")
    expressions: list[str] = []
    for sentence in sentences:
        expression = sentence.get(text) if isinstance(sentence, dict) else None
        if not isinstance(expression, str):
            raise UsageError(f"{where} has a sentence without a text {text!r}")
        expressions.append(expression)
    return str(entry["ann_id"]), str(entry["image_id"]), split, expressions


@dataclass(frozen=True)
class ReferOptions:
    text: Text = "sent"
    """Expressions: `sent`, cleaned (lower case, no punctuation), or `raw`, as typed."""
    missing_images: MissingImages = "error"


def refer_card(
    name: str,
    title: str,
    *,
    citation: str,
    archive: str,
    folders: tuple[str, ...],
    refs: str,
    splits: Mapping[str, Split],
    default_split: str,
    gotcha: str,
) -> Card:
    """The card of one of the three sets, which differ in little.

    Args:
        archive: Address of the archived zip, which makes a folder of its own name.
        refs: The lines of the layout that name the pickles.
        gotcha: What is to be known of this one only.
    """
    zip_name = archive.rpartition("/")[2]
    folder = zip_name.removesuffix(".zip")
    images = f"http://images.cocodataset.org/zips/{IMAGES}.zip"
    return Card(
        name=name,
        title=title,
        citation=citation,
        url="https://github.com/lichengunc/refer",
        licence="expressions: none stated; annotations CC BY 4.0; each photograph its own Flickr licence",
        access=f"Download {archive} (no login; the authors' server is gone, this is its archived copy)\n"
        f"and {images} (no login).\n"
        f"Unpack both in DATA_ROOT/{folder}/, or the images in DATA_ROOT/coco/.",
        layout=f"{folder}/\n  instances.json\n{refs}"
        "  train2014/COCO_train2014_000000098304.jpg     "
        "(or in coco/, or in images/mscoco/images/, beside this folder)",
        kind="instance",
        splits=splits,
        default_split=default_split,
        group="reference",
        tasks=frozenset({"text_to_mask"}),
        folders=folders,
        gotchas=(
            "Masks are the objects that a split refers to; an image's other annotated objects are read, and not asked "
            "for.",
            gotcha,
            "The folder's name tells the three RefCOCO sets apart, because their files have the same names.",
        ),
        same_images_as=frozenset({"coco", "lvis", "refcoco", "refcocop", "refcocog"}) - {name},
        archives=(
            Archive(zip_name, "annotations and expressions", url=archive),
            Archive(f"{IMAGES}.zip", "images", url=images),
        ),
        semantics=Semantics(
            crowd="Regions of many objects (iscrowd 1), which nothing refers to.",
            components="An object that others cut apart is one mask, in several polygons.",
            overlaps=True,
        ),
    )


class ReferDataset(ListedDataset, CocoDataset):
    """The part of a dataset plugin that the layout answers. Splits are named ``PARTITION_SPLIT`` (``unc_testA``).

    The truth of an image is all that is annotated in it; the objects that the split refers to carry their texts as
    attribute :data:`~sambench.core.dataset.EXPRESSIONS`. The index counts these, and holds the images that have
    one.
    """

    Options = ReferOptions

    @classmethod
    def locate(cls, root: Path, split: str, options: ReferOptions) -> Path | None:
        """The files of the three have the same names, so that the folder's tells them apart."""
        named = {nfc(folder).casefold() for folder in cls.card.folders}
        return first_place(
            root,
            cls.card.folders,
            lambda at: (
                nfc(os.path.basename(os.path.abspath(at))).casefold() in named
                and (at / _refs_name(split.partition("_")[0])).is_file()
            ),
        )

    def __init__(self, root: Path, split: str, options: ReferOptions) -> None:
        self.root, self.options = root, options
        partition, _, self.split = split.partition("_")
        self._refs_file = root / _refs_name(partition)
        annotations = root / "instances.json"
        self._images = _image_folder(root)
        self._reader = self._coco = CocoReader(
            annotations, images_in(self._images, annotations), options.missing_images, f"unpack the archive in {root}"
        )

    def load(self, id: str) -> Sample:
        if id not in self._referred:
            raise DataError(f"{self._refs_file}: refers to nothing in image {id} in split {self.split}")
        sample = self._coco.load(id)
        return replace(sample, read_truth=partial(self._truth, sample))

    def _list(self) -> Listing:
        unlisted = [id for id in self._referred if id not in self._coco.file.ids]
        if unlisted:
            raise UsageError(
                f"{self._refs_file}: refers to {len(unlisted)} images that {self._coco.annotations} does not list, "
                f"e.g. image {unlisted[0]}"
            )
        found = ((id, self.image_file(id)) for id in self._referred)
        return list_images(
            {id: len(objects) for id, objects in self._referred.items()},
            {id for id, path in found if path is not None and path.is_file()},
            labels=self._refs_file,
            unpack=f"unpack COCO's {IMAGES}.zip in {self._images.parent}",
            missing_images=self.options.missing_images,
        )

    def _truth(self, sample: Sample) -> GroundTruth:
        truth, referred = sample.truth, self._referred[sample.id]
        strange = referred.keys() - {one.id for one in (*truth.instances, *truth.empty)}
        if strange:
            raise DataError(
                f"{self._refs_file}: refers to annotation {min(strange)} of image {sample.id}, which "
                f"{self._coco.annotations} does not have"
            )
        instances = tuple(
            replace(one, attributes={**one.attributes, EXPRESSIONS: referred[one.id]}) if one.id in referred else one
            for one in truth.instances
        )
        return replace(truth, instances=instances)

    @cached_property
    def _referred(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """By image and annotation, what refers to it in this split."""
        referred: dict[str, dict[str, tuple[str, ...]]] = {}
        refs = read_refs(self._refs_file, self.options.text)
        for ref in refs:
            if ref.split == self.split:
                objects = referred.setdefault(ref.image, {})
                objects[ref.annotation] = objects.get(ref.annotation, ()) + ref.expressions
        if not referred:
            known = ", ".join(sorted({ref.split for ref in refs})) or "none"
            raise UsageError(f"{self._refs_file}: nothing is of split {self.split} (it has: {known})")
        return referred


def _refs_name(partition: str) -> str:
    return f"refs({partition}).p"


def _image_folder(root: Path) -> Path:
    """COCO's pictures: in the dataset's folder, or beside it as REFER or a copy of COCO has them."""
    beside = root.parent
    bases = (root, beside, beside / "images" / "mscoco", beside / "coco", beside / "COCO")
    places: Sequence[Path] = [at / IMAGES for base in bases for at in (base, base / "images")]
    return next((at for at in places if at.is_dir()), places[0])
