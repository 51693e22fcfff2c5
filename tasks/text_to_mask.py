"""Text to mask: phrases in, masks out (Segment Anything, §7.5 and §D.5; protocol §6).

The paper shows four pictures and no number, and its text-aware model was never released: whatever is measured here is
another model, by rules that are this suite's. A query is a phrase about an image: the name of a class that is there, an
expression that refers to one object, or the name of a class that is not there. The regions that the model answers are
compared with what is annotated.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Predicate
from numpy.typing import NDArray
from typing_extensions import override

from sambench import masks
from sambench.clicks import next_click
from sambench.errors import DataError, UsageError
from sambench.metrics import coco, phrases, run_lengths
from sambench.metrics import iou as region
from sambench.metrics.stats import metric_of, metrics_by
from sambench.plugins.options import Finite
from sambench.protocols.phrases import Annotated as AnnotatedObjects
from sambench.protocols.phrases import KnownClass, PhraseProtocol, Query, negatives, union
from sambench.protocols.records import columns, flat, lengths, signature
from sambench.readers.predictions import phrases as phrase_results
from sambench.text import percent
from sambench.types import (
    Artifacts,
    CasePicture,
    Cases,
    Click,
    Context,
    Dataset,
    Mask,
    MetricValue,
    Predictions,
    Prompts,
    Sample,
    SampleResult,
    Task,
    TaskSummary,
    TextPrediction,
    View,
)

FAILS = 0.5
"""A phrase fails, and a point helps, as the answer's IoU is below or reaches this."""

NOT_THE_PAPERS = (
    "not the paper's model: its text-aware SAM (section 7.5) was never released, and the paper gives no number for "
    "this task"
)


@dataclass(frozen=True)
class _Said:
    """What is said to a phrase. ``first``: the best mask, whether or not it is given out. ``given``: masks and scores
    of those that are, best first. ``score``: of ``first``. What is not known is None."""

    first: Mask
    score: float | None
    given: Sequence[tuple[Mask, float | None]]
    presence: float | None
    note: str = ""


@dataclass(frozen=True)
class _Answer:
    """What of it counts: see :meth:`TextToMask._answer`."""

    said: _Said
    rejected: bool
    given: Sequence[tuple[Mask, float | None]]
    mask: Mask


@dataclass(frozen=True)
class _Pointed:
    """The answer to a phrase with a click at ``xy`` (pixels)."""

    xy: tuple[int, int]
    mask: Mask
    score: float


def _has_one_place(template: str) -> bool:
    """with one {} where the name of the class belongs"""
    return template.count("{}") == 1


class TextToMask(Task):
    name = "text_to_mask"
    version = 1
    requires = frozenset({"text"})
    primary = "miou"
    artifacts = Artifacts("save_masks", coco_results=True)
    case_noun = "phrase"

    @dataclass(frozen=True)
    class Options:
        phrases: Literal["auto", "class", "expression"] = "auto"
        """`class`: the names of classes; `expression`: the texts that refer to single objects; `auto`: these where an
        image has them."""
        template: Annotated[str, Predicate(_has_one_place)] = "{}"
        """Text around the name of a class, for example `a photo of a {}`."""
        truth: Literal["semantic", "instance"] = "semantic"
        """For a class's name: `semantic`, the union of its objects; `instance`, each object is a query."""
        negatives: Annotated[int, Ge(0)] = 0
        """Absent classes to ask for in each image."""
        presence: Finite | None = None
        """Reject a phrase whose presence is below this; none: the model decides."""
        with_point: bool = False
        """Ask again with a click on the truth (Fig. 12)."""
        save_masks: bool = False
        """Keep the answers with the run: `files/masks/ID.json`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        if options.with_point:
            self.requires = frozenset({"text", "points"})
        self.asking = PhraseProtocol(options.phrases, options.template, options.truth)
        self._known: Sequence[KnownClass] = ()
        self._given = False

    # --- what a run is made of ---------------------------------------------------------------------------------------

    @override
    def prepare(self, dataset: Dataset, label: str) -> None:
        if not self.options.negatives:
            return
        self._known = self.asking.known(dataset)
        if not self._known:
            raise UsageError(
                f"dataset {label} does not name its classes, so none of them can be told to be absent: leave "
                "task.negatives at 0"
            )

    @property
    def signature(self) -> str:
        o = self.options
        return signature(
            "masks:given" if self._given else "masks:text",
            f"phrases:{o.phrases}",
            o.template != "{}" and f"template:{o.template}",
            f"truth:{o.truth}",
            f"answer:{'union' if o.truth == 'semantic' else 'first'}",
            f"presence:{'model' if o.presence is None else f'>={o.presence}'}",
            f"negatives:{o.negatives}",
            o.with_point and "point:edt-pad1-first",
            f"v:{self.version}",
        )

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                *columns(pa.string(), "dataset", "image_id", "query_id", "kind", "phrase", "class", "instance_id"),
                *columns(pa.int32(), "instances", "height", "width"),
                ("area", pa.int64()),
                ("note", pa.string()),
                *columns(pa.float64(), "presence", "score"),
                ("given", pa.int32()),
                ("rejected", pa.bool_()),
                *columns(pa.int64(), "answer_area", "intersection", "union"),
                ("iou", pa.float64()),
                ("click", pa.struct([("x", pa.int32()), ("y", pa.int32())])),
                ("point_score", pa.float64()),
                *columns(pa.int64(), "point_intersection", "point_union"),
                ("point_iou", pa.float64()),
                ("detection_score", pa.list_(pa.float64())),
                ("detection_rank", pa.list_(pa.int32())),
                *columns(pa.list_(pa.uint16()), "detection_matched", "detection_ignored"),
                ("truth_ignored", pa.list_(pa.bool_())),
                ("time_ms", pa.float64()),
            ]
        )

    def excludes(self, sample: Sample) -> str:
        there = self.asking.queries(sample)[0] or self.asking.absent(sample, self._known)
        return "" if there else "no_phrase"

    def _queries(self, sample: Sample, context: Context) -> tuple[list[Query], Counter[str]]:
        """What is asked for, and how many objects are left out, by rule."""
        there, left_out = self.asking.queries(sample)
        absent = self.asking.absent(sample, self._known)
        return there + negatives(sample, absent, self.options.negatives, context.seed, context.dataset), left_out

    # --- one image ---------------------------------------------------------------------------------------------------

    def measure(self, sample: Sample, view: View, context: Context) -> SampleResult:
        began = time.perf_counter()
        queries, left_out = self._queries(sample, context)
        said = _ask(view, list(dict.fromkeys(query.phrase for query in queries)))
        pointed = self._ask_with_points(sample, view, queries) if self.options.with_point else {}
        return self._measured(sample, context.dataset, queries, said, pointed, left_out, began)

    def _measured(
        self,
        sample: Sample,
        dataset: str,
        queries: Sequence[Query],
        said: Mapping[str, _Said],
        pointed: Mapping[str, _Pointed],
        left_out: Counter[str],
        began: float,
    ) -> SampleResult:
        """``said``: by phrase. ``pointed``: by query."""
        rows, entries = [], []
        for query in queries:
            answer, more = self._answer(query, said[query.phrase], sample.size), pointed.get(query.id)
            row = self._row(sample, dataset, query, answer)
            rows.append(row if more is None else row | _pointed_columns(query, more))
            if self.options.save_masks:
                entries.append(_entry(sample.id, query, answer, more))
        each = (time.perf_counter() - began) * 1000 / len(rows)
        for row in rows:
            row["time_ms"] = each
        content = json.dumps(entries, ensure_ascii=False).encode("utf-8", "surrogateescape")
        files = {f"masks/{sample.id}.json": content} if self.options.save_masks else {}
        return SampleResult(rows, dict(+left_out), files)

    def _answer(self, query: Query, said: _Said, size: tuple[int, int]) -> _Answer:
        """What counts as the answer to a query, of what was said to its phrase."""
        least = self.options.presence
        rejected = not said.given if least is None else said.presence is None or said.presence < least
        given = [] if rejected else said.given or ([(said.first, said.score)] if said.first.area else [])
        one_thing = query.kind == "expression" or (query.kind == "class" and self.options.truth == "instance")
        mask = said.first if one_thing else union([one for one, _ in given], size)
        return _Answer(said, rejected, given, mask)

    def _ask_with_points(self, sample: Sample, view: View, queries: Sequence[Query]) -> dict[str, _Pointed]:
        """By query, the answer to its phrase with the centre click of its truth, where that is one object: a point on
        one of several would mean that one."""
        clicks = {
            query.id: click
            for query in queries
            if query.names_one and (click := next_click(query.truth, void=sample.truth.void))
        }
        if not clicks:
            return {}
        points = np.array([[(click.x, click.y)] for click in clicks.values()], np.float32)
        labels = np.ones((len(clicks), 1), np.int64)
        texts = [query.phrase for query in queries if query.id in clicks]
        prediction = view.predict(Prompts(points, labels, text=texts), multimask=False)
        first = prediction.masks([(i, 0) for i in range(len(clicks))])
        return {
            id: _Pointed((click.x, click.y), mask, float(score))
            for (id, click), mask, score in zip(clicks.items(), first, prediction.scores[:, 0], strict=True)
        }

    def _row(self, sample: Sample, dataset: str, query: Query, answer: _Answer) -> dict[str, Any]:
        there = query.kind != "absent"
        inter, whole = region.counts(answer.mask, query.truth, query.void)
        return {
            "dataset": dataset,
            "image_id": sample.id,
            "query_id": query.id,
            "kind": query.kind,
            "phrase": query.phrase,
            "class": query.class_name,
            "instance_id": query.instances[0].id if query.names_one else None,
            "instances": len(query.instances),
            "height": sample.size[0],
            "width": sample.size[1],
            "area": query.truth.area,
            "note": answer.said.note or None,
            "presence": answer.said.presence,
            "score": answer.said.score,
            "given": len(answer.given),
            "rejected": answer.rejected,
            "answer_area": answer.mask.area,
            "intersection": inter if there else None,
            "union": whole if there else None,
            "iou": (inter / whole if whole else 0.0) if there else None,
            **(_detections(sample, query.annotated, answer.given) if query.annotated else {}),
        }

    # --- masks made elsewhere ----------------------------------------------------------------------------------------

    def read_predictions(self, path: Path) -> Predictions:
        if self.options.with_point:
            raise UsageError("task.with_point asks a model again; masks made elsewhere are answers to phrases alone")
        self._given = True
        return phrase_results.read_predictions(path, need_scores=self.options.presence is not None)

    def score(
        self, sample: Sample, answer: Mapping[str, phrase_results.PhraseAnswer], context: Context
    ) -> SampleResult:
        began = time.perf_counter()
        queries, left_out = self._queries(sample, context)
        for query in queries:
            if query.phrase not in answer:
                raise DataError(
                    f"image {sample.id}: there is no entry for phrase {query.phrase!r}; where nothing was found, its "
                    "segmentation is null"
                )
        asked = {query.phrase for query in queries}
        left_out["not_asked"] = len(answer.keys() - asked)
        said = {phrase: _said(answer[phrase], sample, phrase) for phrase in asked}
        return self._measured(sample, context.dataset, queries, said, {}, left_out, began)

    # --- all images --------------------------------------------------------------------------------------------------

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        kinds = np.array(records.column("kind").to_pylist(), dtype=object)
        there, absent = np.flatnonzero(kinds != "absent"), np.flatnonzero(kinds == "absent")
        images = np.array(records.column("image_id").to_pylist(), dtype=object)
        classes = np.array([name or "" for name in records.column("class").to_pylist()], dtype=object)
        rejected = records.column("rejected").to_numpy(zero_copy_only=False).astype(np.float64)
        metrics: dict[str, MetricValue] = {}
        by_class: dict[str, dict[str, MetricValue]] = {}

        inter, whole = _column(records, "intersection", there), _column(records, "union", there)
        metrics |= phrases.region_metrics(inter, whole, images[there].tolist(), context.seed)
        for name, found in phrases.region_metrics_by(classes[there].tolist(), inter, whole).items():
            by_class.setdefault(name, {}).update(found)
        for name, rows, right in (
            ("acceptance", there, 1 - rejected),
            ("rejection_accuracy", absent, rejected),
        ):
            if len(rows):
                metrics[name] = metric_of(right[rows], images[rows].tolist(), context.seed)
                for group, metric in metrics_by(right[rows], classes[rows].tolist(), None, context.seed).items():
                    by_class.setdefault(group, {})[name] = metric
        for name, group, metric in _average_precision(records):
            if group is None:
                metrics[name] = metric
            else:
                by_class.setdefault(group, {})[name] = metric
        if self.options.with_point:
            metrics |= self._with_point(records, images, context.seed)
        by_class.pop("", None)
        headlines = [name for name in ("ciou", "p@0.5", "rejection_accuracy", "ap", "miou_point") if name in metrics]
        return TaskSummary(
            metrics,
            {"class": dict(sorted(by_class.items()))} if by_class else {},
            len(there),
            warnings=self._warnings(records, len(there)),
            headlines=headlines,
        )

    def _with_point(self, records: pa.Table, images: NDArray[Any], seed: int) -> dict[str, MetricValue]:
        """Of the queries that were asked with a point too: with and without it, and what it changed."""
        rows = _pointed_rows(records)
        where = images[rows].tolist()
        alone = phrases.iou(_column(records, "intersection", rows), _column(records, "union", rows))
        inter, whole = _column(records, "point_intersection", rows), _column(records, "point_union", rows)
        found = phrases.region_metrics(inter, whole, where, seed)
        pointed = phrases.iou(inter, whole)
        failed = alone < FAILS
        return {
            **{f"{name}_point": metric for name, metric in found.items()},
            "miou_of_pointed": metric_of(alone, where, seed),
            "gain_point": metric_of(pointed - alone, where, seed),
            "helped_point": metric_of(phrases.reached(pointed[failed], FAILS), images[rows][failed].tolist(), seed),
        }

    def _warnings(self, records: pa.Table, n: int) -> list[str]:
        warnings = [NOT_THE_PAPERS]
        notes = [note for note in records.column("note").to_pylist() if note]
        if notes:
            warnings.append(f"{len(notes)} of {records.num_rows} phrases were not taken as they stand, e.g. {notes[0]}")
        if self.options.with_point and (pointed := len(_pointed_rows(records))) < n:
            warnings.append(
                f"a point was added to {pointed} of {n} phrases: where the truth is several objects, it would mean one "
                "of them (task.truth=instance asks for each)"
            )
        if self.options.negatives == 0 and any(_average_precision(records)):
            warnings.append("AP sees false alarms only where a class is: task.negatives asks for absent ones too")
        return warnings

    @override
    def picture(self, sample: Sample, artifact: bytes, name: str) -> CasePicture:
        query = next((query for query in self.asking.queries(sample)[0] if query.id == name), None)
        entry = next((entry for entry in json.loads(artifact) if entry["query_id"] == name), None)
        if query is None or entry is None or query.phrase != entry["phrase"]:
            raise DataError(f"the annotations of image {sample.id} are not those of the run: it has no phrase {name!r}")
        code = entry["segmentation"]
        answer = Mask.empty(sample.size) if code is None else masks.from_rle(code)
        value = region.iou(answer, query.truth, query.void)
        about = f"Phrase “{query.phrase}”. IoU {percent(value)}{'' if code else ', rejected'}."
        pointed = None
        if "point" in entry:
            x, y = entry["point"]
            with_point = masks.from_rle(entry["point_segmentation"])
            pointed = (with_point, Click(x, y, True))
            about += f" With a point at ({x}, {y}): {percent(region.iou(with_point, query.truth, query.void))}."
        return CasePicture(about, query.truth, answer, pointed, iou=value, prompts={"phrase": query.phrase})

    @override
    def cases(self, records: pa.Table) -> Cases:
        """Each query; what :meth:`summarize` takes the means of."""
        values = {"miou": _floats(records, "iou")}
        kinds = np.array(records.column("kind").to_pylist(), dtype=object)
        rejected = records.column("rejected").to_numpy(zero_copy_only=False).astype(np.float64)
        values["acceptance"] = np.where(kinds != "absent", 1 - rejected, np.nan)
        if (kinds == "absent").any():
            values["rejection_accuracy"] = np.where(kinds == "absent", rejected, np.nan)
        if self.options.with_point:
            values["miou_point"] = _floats(records, "point_iou")
            values["gain_point"] = values["miou_point"] - values["miou"]
        return Cases(records.column("image_id").to_pylist(), records.column("query_id").to_pylist(), values)


def _ask(view: View, texts: Sequence[str]) -> dict[str, _Said]:
    """What the model says to each phrase, all of them asked at once."""
    if not texts:
        return {}
    answered = cast("TextPrediction", view.predict(Prompts(text=texts), multimask=True))
    said = {}
    for i, text in enumerate(texts):
        which = np.flatnonzero(answered.instances[i]).tolist()
        first, *found = answered.masks([(i, 0), *((i, m) for m in which)])
        given = [(mask, float(answered.scores[i, m])) for mask, m in zip(found, which, strict=True)]
        said[text] = _Said(first, float(answered.scores[i, 0]), given, float(answered.presence[i]), answered.notes[i])
    return said


def _said(found: phrase_results.PhraseAnswer, sample: Sample, phrase: str) -> _Said:
    """What a file says to a phrase."""
    for mask, _ in found:
        if mask.size != sample.size:
            raise DataError(
                f"the mask for phrase {phrase!r} of image {sample.id} is {mask.size[1]}x{mask.size[0]}, the image is "
                f"{sample.size[1]}x{sample.size[0]}"
            )
    first, score = found[0] if found else (Mask.empty(sample.size), None)
    return _Said(first, score, found, score)


def _pointed_columns(query: Query, pointed: _Pointed) -> dict[str, Any]:
    inter, whole = region.counts(pointed.mask, query.truth, query.void)
    return {
        "click": {"x": pointed.xy[0], "y": pointed.xy[1]},
        "point_score": pointed.score,
        "point_intersection": inter,
        "point_union": whole,
        "point_iou": inter / whole if whole else 0.0,
    }


def _detections(
    sample: Sample, annotated: AnnotatedObjects, given: Sequence[tuple[Mask, float | None]]
) -> dict[str, list[Any]]:
    """Which of the truths of a class the masks that are given out take; nothing if one of them has no score."""
    scores = [score for _, score in given if score is not None]
    if len(scores) < len(given):
        return {}
    found = run_lengths.from_masks([mask for mask, _ in given], sample.size)
    truths = run_lengths.from_masks([one.mask for one in annotated.instances], sample.size)
    crowd = np.array([one.crowd for one in annotated.instances], np.bool_)
    matches = coco.match(
        coco.mask_ious(found, truths, crowd),
        np.array(scores, np.float64),
        found.area.astype(np.float64),
        truths.area.astype(np.float64),
        crowd,
        rules="coco" if annotated.exhaustive else "lvis",
        unexhaustive=None if annotated.exhaustive else np.ones(len(given), np.bool_),
    )
    return {
        "detection_score": scores,
        "detection_rank": matches.rank.tolist(),
        "detection_matched": matches.matched.ravel().tolist(),
        "detection_ignored": matches.ignored.ravel().tolist(),
        "truth_ignored": matches.truth_ignored.ravel().tolist(),
    }


def _average_precision(records: pa.Table) -> Iterator[tuple[str, str | None, MetricValue]]:
    """``ap`` and ``ap50``: name, class or None for all, metric. Nothing where a phrase's masks have no scores, and of
    expressions, which name one object each."""
    kinds = records.column("kind").to_pylist()
    if "class" not in kinds:
        return
    rows = [row for row, kind in enumerate(kinds) if kind != "expression"]
    asked = records.select(["image_id", "phrase", "class", "detection_score"]).take(pa.array(rows, pa.int64()))
    of_phrases = set(zip(asked.column("image_id").to_pylist(), asked.column("phrase").to_pylist(), strict=True))
    whole = records.take(pa.array(rows, pa.int64())).filter(asked.column("detection_score").is_valid())
    if whole.num_rows < len(of_phrases):
        return
    texts = whole.column("phrase").to_pylist()
    number = {phrase: k for k, phrase in enumerate(sorted(set(texts)))}
    categories = np.array([number[text] for text in texts], np.int64)
    found, truths = lengths(whole, "detection_score"), lengths(whole, "truth_ignored") // len(coco.AREAS)
    detected = coco.Detected(
        np.repeat(coco.image_places(whole.column("image_id").to_pylist()), found),
        np.repeat(categories, found),
        flat(whole, "detection_score"),
        flat(whole, "detection_rank"),
        flat(whole, "detection_matched").reshape(-1, len(coco.AREAS)),
        flat(whole, "detection_ignored").reshape(-1, len(coco.AREAS)),
    )
    to_find = coco.Annotated(np.repeat(categories, truths), flat(whole, "truth_ignored").reshape(-1, len(coco.AREAS)))
    curves = coco.accumulate(detected, to_find, list(number.values()))
    counted = np.bincount(to_find.category[~to_find.ignored[:, 0]], minlength=len(number))
    names = dict(zip(texts, whole.column("class").to_pylist(), strict=True))
    for metric, least in (("ap", None), ("ap50", 0.5)):
        yield metric, None, MetricValue(curves.average_precision(iou=least), int(counted.sum()))
        for phrase, k in number.items():
            if counted[k]:
                one = curves.average_precision(iou=least, categories=[k])
                yield metric, names[phrase], MetricValue(one, int(counted[k]))


def _entry(image: str, query: Query, answer: _Answer, pointed: _Pointed | None) -> dict[str, Any]:
    """The mask of a query as :mod:`sambench.readers.predictions.phrases` reads it, and besides: whose it is, and what
    came with the point. Numbers as image ids are numbers again."""
    entry: dict[str, Any] = {
        "image_id": int(image) if image.isdecimal() and str(int(image)) == image else image,
        "phrase": query.phrase,
        "segmentation": masks.to_rle(answer.mask) if answer.mask.area else None,
        "score": answer.said.score,
        "query_id": query.id,
    }
    if pointed is not None:
        entry |= {
            "point": list(pointed.xy),
            "point_segmentation": masks.to_rle(pointed.mask),
            "point_score": pointed.score,
        }
    return entry


def _pointed_rows(records: pa.Table) -> NDArray[np.int64]:
    return np.flatnonzero(records.column("point_union").is_valid().to_numpy())


def _column(records: pa.Table, name: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers of some records, in which none is missing."""
    values: NDArray[np.int64] = records.column(name).take(pa.array(rows)).to_numpy().astype(np.int64)
    return values


def _floats(records: pa.Table, name: str) -> NDArray[np.float64]:
    """NaN where there is none."""
    return np.array([np.nan if value is None else value for value in records.column(name).to_pylist()], np.float64)


PLUGIN = TextToMask
