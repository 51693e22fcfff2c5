"""Zero-shot edge detection (Segment Anything, §7.2 and §D.2; protocol §3).

A model that draws edges itself is asked for them; of a promptable one the masks of a grid of points become an edge map.
It is compared with the boundaries that several people drew, as the benchmark of BSDS500 does: F at the best threshold
for all images (``ods``) and for each (``ois``), average precision (``ap``), and recall at precision 0.5 (``r50``).
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le
from numpy.typing import NDArray
from PIL import Image as Pillow
from typing_extensions import override

from sambench.errors import DataError
from sambench.metrics import edges as metric
from sambench.metrics.edge_bootstrap import bootstrap_intervals
from sambench.models.edges.edge_map import EdgeMap, EdgeMapOptions, finish, strength_from_view, to_8bit
from sambench.protocols.records import columns, flat, signature
from sambench.readers.predictions import edge_maps
from sambench.types import (
    Artifacts,
    CasePicture,
    Cases,
    Context,
    DeferredResult,
    MetricValue,
    Predictions,
    Sample,
    SampleResult,
    Task,
    TaskSummary,
    View,
)

COUNTS = ("sum_r", "cnt_r", "sum_p", "cnt_p")
"""Columns of the benchmark's counts: one number for each threshold."""


class Edges(Task):
    name = "edges"
    version = 1
    requires = frozenset({"edges|points"})
    primary = "ods"
    artifacts = Artifacts("save_maps")

    @dataclass(frozen=True)
    class Options(EdgeMapOptions):
        thresholds: Annotated[int, Ge(1), Le(9999)] = 99
        """Number of thresholds, evenly spaced within 0 and 1: k / 100 for 99."""
        tolerance: Annotated[float, Gt(0), Le(1)] = metric.TOLERANCE
        """Greatest distance of a matched pair of pixels, as a share of the image's diagonal."""
        thin: bool = True
        """Thin the map at each threshold before it is compared."""
        save_maps: bool = False
        """Keep the finished maps with the run: `files/edge_maps/ID.png`."""

    def __init__(self, options: Options) -> None:
        self.options = options

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        return metric.thresholds(self.options.thresholds)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                *columns(pa.string(), "dataset", "image_id"),
                *columns(pa.int32(), "height", "width", "annotators", "prompts", "masks", "survivors"),
                ("map_sha256", pa.string()),
                *columns(pa.list_(pa.int64()), *COUNTS),
                *columns(pa.float64(), "best_threshold", "best_recall", "best_precision", "best_f"),
                ("time_ms", pa.float64()),
            ]
        )

    @property
    def signature(self) -> str:
        o = self.options
        nms = f"se-o{o.orientation_radius}-r{o.nms_radius}-m{o.nms_multiplier}-b{o.nms_border}"
        return signature(
            f"grid:{o.grid}x{o.grid}",
            f"boxnms:{o.box_nms}{f'+per{o.box_nms_batch}' if o.box_nms_batch else ''}",
            f"ring:{o.boundary}{'' if o.holes else '-noholes'}",
            f"sobel:{o.padding}",
            o.blur_radius and f"blur:{o.blur_radius}",
            f"nms:{nms if o.edge_nms else 'none'}",
            f"t:{o.thresholds}",
            f"tol:{o.tolerance}",
            not o.thin and "nothin",
            f"v:{self.version}",
        )

    def excludes(self, sample: Sample) -> str:
        return "" if sample.truth.boundaries else "no_boundaries"

    def measure(self, sample: Sample, view: View, context: Context) -> DeferredResult:
        began = time.perf_counter()
        edges = strength_from_view(view, sample.size, self.options, context.capabilities)
        return partial(self._finish, sample, edges, context.dataset, time.perf_counter() - began)

    def _finish(self, sample: Sample, edges: EdgeMap, dataset: str, spent: float) -> SampleResult:
        began = time.perf_counter() - spent
        about = {"prompts": edges.prompts, "masks": edges.masks, "survivors": edges.survivors} if edges.prompts else {}
        return self._compare(sample, finish(edges, self.options), dataset, began, about)

    def read_predictions(self, path: Path) -> Predictions:
        return edge_maps.read_predictions(path)

    def score(self, sample: Sample, answer: NDArray[Any], context: Context) -> DeferredResult:
        if answer.shape != sample.size:
            raise DataError(
                f"the edge map of image {sample.id} is {answer.shape[0]} x {answer.shape[1]} pixels, the image "
                f"{sample.size[0]} x {sample.size[1]} (height x width)"
            )
        return partial(self._score, sample, answer, context.dataset)

    def _score(self, sample: Sample, answer: NDArray[Any], dataset: str) -> SampleResult:
        began = time.perf_counter()
        if self.options.edge_nms:
            largest = 1 if answer.dtype.kind == "f" else np.iinfo(answer.dtype).max
            answer = finish(EdgeMap((answer / largest).astype(np.float32)), self.options)
        return self._compare(sample, answer, dataset, began, {})

    def _compare(
        self, sample: Sample, edges: NDArray[Any], dataset: str, began: float, about: Mapping[str, int]
    ) -> SampleResult:
        """``edges``: as :func:`sambench.metrics.edges.evaluate_image` takes it. ``about``: columns of the map's
        making."""
        o, boundaries = self.options, sample.truth.boundaries
        counts = metric.evaluate_image(edges, boundaries, self.levels, thin=o.thin, tolerance=o.tolerance)
        compared = {name: getattr(counts, name) for name in COUNTS}
        best = metric.aggregate(self.levels, **{name: values[None] for name, values in compared.items()})
        row = {
            "dataset": dataset,
            "image_id": sample.id,
            "height": sample.size[0],
            "width": sample.size[1],
            "annotators": len(boundaries),
            **about,
            "map_sha256": hashlib.sha256(edges.astype(edges.dtype.newbyteorder("<")).tobytes()).hexdigest(),
            **{name: values.tolist() for name, values in compared.items()},
            "best_threshold": float(best.image_threshold[0]),
            "best_recall": float(best.image_recall[0]),
            "best_precision": float(best.image_precision[0]),
            "best_f": float(best.image_f[0]),
            "time_ms": (time.perf_counter() - began) * 1000,
        }
        return SampleResult([row], files={f"edge_maps/{sample.id}.png": _png(edges)} if o.save_maps else {})

    def summarize(self, records: pa.Table, context: Context) -> TaskSummary:
        shape = (records.num_rows, len(self.levels))
        counts: dict[str, Any] = {name: flat(records, name).reshape(shape) for name in COUNTS}
        scores = metric.aggregate(self.levels, **counts)
        intervals = bootstrap_intervals(**counts, rng=np.random.default_rng(context.seed))
        metrics = {
            name: MetricValue(getattr(scores, name), records.num_rows, ci95_bootstrap=intervals.get(name))
            for name in ("ods", "ois", "ap", "r50")
        }
        curves: dict[str, dict[str, list[float | None]]] = {}
        warnings = []
        if scores.ods is not None and scores.ois is not None:
            curves["precision_recall"] = {
                "threshold": self.levels.tolist(),
                "recall": scores.recall.tolist(),
                "precision": scores.precision.tolist(),
                "f": scores.f.tolist(),
            }
            curves["best_threshold"] = {
                "threshold": [scores.ods_threshold],
                "recall": [scores.ods_recall],
                "precision": [scores.ods_precision],
                "f": [scores.ods],
            }
            if scores.ois < scores.ods:
                warnings.append(
                    f"OIS ({scores.ois:.4f}) is below ODS ({scores.ods:.4f}): a threshold for each image did worse "
                    "than one for all, which few thresholds or very uneven maps explain; see best_f in the records"
                )
        annotators = sum(records.column("annotators").to_pylist())
        return TaskSummary(
            metrics, n_masks=annotators, curves=curves, warnings=warnings, headlines=("ois", "ap", "r50")
        )

    @override
    def picture(self, sample: Sample, artifact: bytes, name: str) -> CasePicture:
        with Pillow.open(io.BytesIO(artifact)) as edges:
            strength = np.asarray(edges.convert("L"))
        boundaries = sample.truth.boundaries
        if not boundaries or strength.shape != sample.size:
            raise DataError(f"the annotations of image {sample.id} are not those of the run")
        return CasePicture(f"Drawn by {len(boundaries)} people.", boundaries=boundaries, strength=strength)

    @override
    def cases(self, records: pa.Table) -> Cases:
        """Each image by its own best F. ODS and OIS are of counts over all images, not means; this is the mean that is
        nearest to OIS."""
        ids = records.column("image_id").to_pylist()
        best: NDArray[np.float64] = records.column("best_f").to_numpy(zero_copy_only=False).astype(np.float64)
        return Cases(ids, [""] * len(ids), {"best_f": best})


def _png(edges: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(to_8bit(edges) if edges.dtype.kind == "f" else edges).save(file, format="png")
    return file.getvalue()


PLUGIN = Edges
