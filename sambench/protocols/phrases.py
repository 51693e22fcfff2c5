"""Text queries about an image: phrases with their truth (protocol §6.3 leaves them to this suite).

A query is the name of a class in the image, an expression that refers to one object, or the name of a class that is
absent. Its truth is a region, or empty.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sambench.core.dataset import EXPRESSIONS, Dataset, Instance, Sample
from sambench.core.mask import Mask
from sambench.metrics.iou import area_outside
from sambench.text import spaced

Kind = Literal["class", "expression", "absent"]


@dataclass(frozen=True)
class KnownClass:
    """A class of a dataset, identified by its phrase.

    Attributes:
        phrase: Unique in the dataset.
        name: Of the first category with the phrase.
        numbers: Of all categories with the phrase.
    """

    phrase: str
    name: str
    numbers: frozenset[int]


@dataclass(frozen=True)
class Annotated:
    """The annotations of a class in an image.

    Attributes:
        instances: Its objects, crowds included.
        exhaustive: All objects of the class are annotated.
    """

    instances: tuple[Instance, ...]
    exhaustive: bool = True


@dataclass(frozen=True)
class Query:
    """A phrase about an image.

    Attributes:
        id: Unique in the image.
        kind: Of the phrase.
        phrase: Text for the model.
        class_name: Of its objects.
        instances: The objects that the phrase names.
        truth: Their union.
        void: Ignored pixels.
        annotated: For a class, in the first query of its phrase.
    """

    id: str
    kind: Kind
    phrase: str
    class_name: str | None
    instances: tuple[Instance, ...]
    truth: Mask
    void: Mask | None
    annotated: Annotated | None = None

    @property
    def names_one(self) -> bool:
        """Whether the phrase names exactly one object."""
        return len(self.instances) == 1


@dataclass(frozen=True)
class PhraseProtocol:
    """The rules that make queries.

    Attributes:
        phrases: Class names, expressions, or ``auto``: expressions where an image has them, else class names.
        template: Words around the name of a class, with ``{}`` in its place.
        truth: Of a class: the union of its objects (``semantic``), or each of them (``instance``).
    """

    phrases: Literal["auto", "class", "expression"] = "auto"
    template: str = "{}"
    truth: Literal["semantic", "instance"] = "semantic"

    def phrase(self, name: str | None) -> str:
        """Return the phrase of a class name; empty without a name.

        Underscores become spaces; of several names between commas (ADE20K's synonyms) the first is taken.
        """
        plain = spaced((name or "").partition(",")[0].replace("_", " "))
        return self.template.replace("{}", plain) if plain else ""

    def queries(self, sample: Sample) -> tuple[list[Query], Counter[str]]:
        """Make the queries of an image whose truth is not empty.

        Returns:
            The queries, and the number of objects (or texts) left out by rule.
        """
        referred = self.phrases == "expression" or (
            self.phrases == "auto" and any(EXPRESSIONS in instance.attributes for instance in sample.truth.instances)
        )
        left_out = Counter(sample.truth.dropped)
        made = self._of_expressions(sample, left_out) if referred else self._of_classes(sample, left_out)
        return list(made), left_out

    def _of_expressions(self, sample: Sample, left_out: Counter[str]) -> Iterator[Query]:
        void = sample.truth.void
        for instance in sample.truth.instances:
            texts = instance.attributes.get(EXPRESSIONS, ())
            if texts and not area_outside(instance.mask, void):
                left_out["all_void"] += 1
                continue
            for k, text in enumerate(texts):
                if phrase := spaced(text):
                    yield Query(
                        f"{instance.id}/{k}",
                        "expression",
                        phrase,
                        instance.class_name,
                        (instance,),
                        instance.mask,
                        void,
                    )
                else:
                    left_out["no_phrase"] += 1

    def _of_classes(self, sample: Sample, left_out: Counter[str]) -> Iterator[Query]:
        # LVIS: of these classes there may be more in the image than is annotated.
        open_ended = set(sample.attributes.get("not_exhaustive_category_ids", ()))
        classes: dict[str, list[Instance]] = {}
        crowds: dict[str, list[Instance]] = {}
        for instance in sample.truth.instances:
            phrase, rule = self.phrase(instance.class_name), ""
            if not phrase:
                rule = "no_phrase"
            elif instance.crowd:
                rule = "crowd"
                crowds.setdefault(phrase, []).append(instance)
            elif not area_outside(instance.mask, sample.truth.void):
                rule = "all_void"
            elif self.truth == "semantic" and instance.class_id in open_ended:
                rule = "not_exhaustive"
            if rule:
                left_out[rule] += 1
            else:
                classes.setdefault(phrase, []).append(instance)
        for phrase, members in classes.items():
            name, crowd = members[0].class_name, crowds.get(phrase, [])
            exhaustive = not any(instance.class_id in open_ended for instance in members)
            annotated = Annotated((*members, *crowd), exhaustive)
            if self.truth == "semantic":
                whole = union([instance.mask for instance in members], sample.size)
                void = _void(sample, whole, [instance.mask for instance in crowd])
                yield Query(phrase, "class", phrase, name, tuple(members), whole, void, annotated)
                continue
            for instance in members:
                first = annotated if instance is members[0] else None
                yield Query(instance.id, "class", phrase, name, (instance,), instance.mask, sample.truth.void, first)

    def known(self, dataset: Dataset) -> list[KnownClass]:
        """Return the classes of a dataset that have a phrase: of its categories, else of its card."""
        named = dataset.categories or dict(enumerate(dataset.card.classes))
        by_phrase: dict[str, KnownClass] = {}
        for number, name in named.items():
            if phrase := self.phrase(name):
                earlier = by_phrase.get(phrase, KnownClass(phrase, name, frozenset()))
                by_phrase[phrase] = KnownClass(phrase, earlier.name, earlier.numbers | {number})
        return list(by_phrase.values())

    def absent(self, sample: Sample, known: Sequence[KnownClass]) -> list[KnownClass]:
        """Return the known classes that are absent from an image according to its annotations.

        For LVIS these are the classes that annotators searched for and did not find.
        """
        annotated = {self.phrase(instance.class_name) for instance in (*sample.truth.instances, *sample.truth.empty)}
        looked_for = sample.attributes.get("neg_category_ids")
        return [
            known_class
            for known_class in known
            if known_class.phrase not in annotated
            and (looked_for is None or not known_class.numbers.isdisjoint(looked_for))
        ]


def negatives(sample: Sample, absent: Sequence[KnownClass], n: int, seed: int, dataset: str) -> list[Query]:
    """Make queries for classes that are absent from an image.

    The classes of the smallest sha256 of seed, dataset, image and phrase are chosen, so that every model and machine
    gets the same queries, and a larger n adds to them.

    Args:
        sample: The image.
        absent: The classes to choose from.
        n: Number of queries; all classes if there are fewer.
        seed: Of the choice.
        dataset: Name of the dataset.
    """

    def draw(known_class: KnownClass) -> bytes:
        text = "\0".join([str(seed), dataset, sample.id, known_class.phrase])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    nothing = Mask.empty(sample.size)
    return [
        Query(
            f"absent: {known_class.phrase}",
            "absent",
            known_class.phrase,
            known_class.name,
            (),
            nothing,
            None,
            Annotated(()),
        )
        for known_class in sorted(absent, key=draw)[:n]
    ]


def union(parts: Sequence[Mask], size: tuple[int, int]) -> Mask:
    """Return the pixels that are in at least one mask.

    Args:
        parts: Masks of one image.
        size: ``(H, W)`` of the image.
    """
    visible = [part for part in parts if part.area]
    if len(visible) < 2:
        return visible[0] if visible else Mask.empty(size)
    lefts, tops, rights, bottoms = zip(*(part.box for part in visible), strict=True)
    left, top = min(lefts), min(tops)
    window = np.zeros((max(bottoms) - top, max(rights) - left), np.bool_)
    for part in visible:
        x0, y0, x1, y1 = part.box
        window[y0 - top : y1 - top, x0 - left : x1 - left] |= part.window
    return Mask.from_window(size, top, left, window)


def _void(sample: Sample, truth: Mask, crowd: Sequence[Mask]) -> Mask | None:
    """The ignored pixels of a class's region: void pixels, and its crowds outside of single objects."""
    void = sample.truth.void
    if not crowd:
        return void
    many = union(crowd, sample.size)
    x0, y0, x1, y1 = many.box
    outside = Mask.from_window(sample.size, y0, x0, many.window & ~truth.crop(y0, x0, y1, x1))
    return union([outside] if void is None else [outside, void], sample.size)
