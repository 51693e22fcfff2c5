"""Zero-shot single point valid mask evaluation (Segment Anything, §7.1 and §D.1; protocol §2).

Every mask of a dataset is prompted with a click at its distance-transform centre; the model's most confident mask is
compared with it (``miou``), and so is the best of its candidates (``oracle_miou``). Corrective clicks follow, each at
the pixel farthest from the boundary of the error region.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Predicate
from numpy.typing import NDArray

from sambench.errors import DataError
from sambench.metrics.stats import metrics_by
from sambench.protocols.click_loop import GROUP, IDENTITY, Clicked, ClickTask, Policy, click_through, countable
from sambench.protocols.records import flat, lengths
from sambench.readers.predictions import masks
from sambench.types import Context, Mask, MetricValue, Predictions, Sample, SampleResult, TaskSummary, View

FEW_VALUES = 12
"""An attribute of at most so many different values is a cut of its own accord (COCO has 12 supercategories)."""

ATTRIBUTE_METRICS = ("miou", "miou@3")
"""What is broken down by attributes: 1 and 3 points, as in Tables 2 and 6 of the paper."""


def _rise_from_one(clicks: Sequence[int]) -> bool:
    """rising from 1"""
    return bool(clicks) and list(clicks) == sorted(set(clicks)) and clicks[0] == 1


def _is_trimmed(name: str) -> bool:
    """a name with no spaces around it"""
    return name != "" and name == name.strip()


class SinglePoint(ClickTask):
    name = "single_point"
    version = 1
    primary = "miou"
    broken_down = ("miou", "oracle_miou")

    @dataclass(frozen=True)
    class Options:
        clicks: Annotated[tuple[int, ...], Predicate(_rise_from_one)] = (1, 2, 3, 5, 9)
        """Numbers of clicks to report (§D.1)."""
        first_click: Literal["centre", "random"] = "centre"
        """`random`: the first click is uniform over the mask (Fig. 9d; OQ-11), drawn from seed, dataset, image and
        instance, so that every model gets the same one; later clicks are not random."""
        feed_mask: bool = True
        """Give the previous logits back from the second click on."""
        later_multimask: bool = False
        """Read three masks from the second click on and take the top score, as some later work does (OQ-3)."""
        min_area: Annotated[int, Ge(1)] = 1
        """Leave out masks of fewer pixels (OQ-2)."""
        by: tuple[Annotated[str, Predicate(_is_trimmed)], ...] = ()
        """Attributes of instances to break results down by; empty: those with few different values."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                *IDENTITY,
                ("chosen", pa.int8()),
                ("iou", pa.list_(pa.float64())),
                ("score", pa.list_(pa.float32())),
                ("oracle_iou", pa.float64()),
                ("candidate_iou", pa.list_(pa.float64())),
                ("candidate_score", pa.list_(pa.float32())),
                ("time_ms", pa.float64()),
            ]
        )

    @property
    def signature(self) -> str:
        o = self.options
        first = "point:edt-pad1" if o.first_click == "centre" else "point:random-then-edt-pad1"
        return self.signed(first, f"n:{','.join(map(str, o.clicks))}")

    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult:
        instances, excluded = countable(sample, self.options.min_area)
        clicked = click_through(instances, sample, view, context, self.policy, GROUP)
        return SampleResult([_row(one, sample, context) for one in clicked], excluded)

    @property
    def policy(self) -> Policy:
        o = self.options
        return Policy(o.clicks[-1], o.first_click, o.feed_mask, o.later_multimask)

    def read_predictions(self, path: Path) -> Predictions:
        return masks.read_predictions(path)

    def score(
        self, sample: Sample, answers: Mapping[str, Sequence[tuple[Mask, float]]], context: Context
    ) -> SampleResult:
        instances, excluded = countable(sample, self.options.min_area)
        rows = []
        for instance in instances:
            given = answers.get(instance.id)
            if not given:
                raise DataError(f"no predicted mask for annotation {instance.id} of image {sample.id}")
            for mask, _ in given:
                if mask.size != instance.mask.size:
                    raise DataError(
                        f"the predicted mask for annotation {instance.id} of image {sample.id} is "
                        f"{mask.size[1]}x{mask.size[0]}, the image is {instance.mask.size[1]}x{instance.mask.size[0]}"
                    )
            one = Clicked(instance, instance.mask)
            scores = np.array([s for _, s in given], np.float32)
            one.answered([m for m, _ in given], scores, int(scores.argmax()), sample.truth.void)
            rows.append(_row(one, sample, context))
        return SampleResult(rows, excluded)

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        metrics, breakdowns = self.means(records, context.seed)
        images = records.column("image_id").to_pylist()
        breakdowns |= self._by_attributes(records, images, context)
        return TaskSummary(metrics, breakdowns, len(images), headlines=("oracle_miou",))

    def _by_attributes(
        self, records: pa.Table, images: Sequence[str], context: Context
    ) -> dict[str, dict[str, dict[str, MetricValue]]]:
        """For each attribute two cuts: by its values, and the pairs of values whose 95 % intervals do not overlap."""
        attributes = [dict(pairs) for pairs in records.column("attributes").to_pylist()]
        known = sorted({name for one in attributes for name in one})
        cuts: dict[str, dict[str, dict[str, MetricValue]]] = {}
        for name in self.options.by or [n for n in known if _is_cut({one[n] for one in attributes if n in one})]:
            rows = [row for row, one in enumerate(attributes) if name in one]
            values_of_attribute = [attributes[row][name] for row in rows]
            images_there = [images[row] for row in rows]
            groups: dict[str, dict[str, MetricValue]] = {}
            for metric_name, values, _ in self.values(records):
                if metric_name in ATTRIBUTE_METRICS:
                    by_value = metrics_by(values[rows], values_of_attribute, images_there, context.seed)
                    for value, metric_ in by_value.items():
                        groups.setdefault(value, {})[metric_name] = metric_
            cut = f"{name} (attribute)" if name in ("size", "class") else name
            cuts[cut] = groups
            cuts[f"{cut}: intervals apart"] = _apart(groups)
        return cuts

    def values(self, records: pa.Table) -> Iterator[tuple[str, NDArray[np.float64], str]]:
        """Each metric's value for each record. Masks scored from stored predictions know one answer, not nine."""
        counts, ious = lengths(records, "iou"), flat(records, "iou")
        known = int(counts.min()) if len(counts) else self.options.clicks[-1]
        starts = np.cumsum(counts) - counts
        for n in self.options.clicks:
            if n <= known:
                yield "miou" if n == 1 else f"miou@{n}", ious[starts + n - 1], "fraction"
        yield "oracle_miou", records.column("oracle_iou").to_numpy(), "fraction"


def _row(one: Clicked, sample: Sample, context: Context) -> dict[str, Any]:
    return {
        **one.identity(sample, context),
        "chosen": one.chosen,
        "iou": one.ious,
        "score": one.scores,
        "oracle_iou": max(one.candidate_ious),
        "candidate_iou": one.candidate_ious,
        "candidate_score": one.candidate_scores,
        "time_ms": one.time_ms,
    }


def _is_cut(values: set[str]) -> bool:
    """Whether an attribute of these values is broken down by unasked: few, and names rather than numbers."""
    return 1 < len(values) <= FEW_VALUES and not all(_is_number(value) for value in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _apart(groups: Mapping[str, Mapping[str, MetricValue]]) -> dict[str, dict[str, MetricValue]]:
    """Pairs of groups with the metrics whose normal 95 % intervals do not overlap, which the paper takes for a
    difference (§6, §C; protocol §8.3): how much the first lies above the second."""
    pairs: dict[str, dict[str, MetricValue]] = {}
    for (first, ours), (second, theirs) in itertools.combinations(sorted(groups.items()), 2):
        for name, a in ours.items():
            b = theirs[name]
            if a.value is None or b.value is None or a.ci95 is None or b.ci95 is None:
                continue
            if a.ci95[1] < b.ci95[0] or b.ci95[1] < a.ci95[0]:
                pairs.setdefault(f"{first} vs {second}", {})[name] = MetricValue(a.value - b.value, a.n + b.n)
    return pairs


PLUGIN = SinglePoint
