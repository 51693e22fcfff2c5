"""What ``sambench data stats`` measures of a dataset's masks, and the picture of it. Nothing here prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sambench.core.dataset import Dataset, Instance, Sample
from sambench.core.mask import Mask
from sambench.errors import DataError, UsageError

HEAT_CELLS = 32


@dataclass(frozen=True, eq=False)
class Stats:
    """Counts and distributions of a dataset's masks, crowd regions left out.

    ``masks_per_image``: ``(images,)``. ``relative_size``: ``(masks,)``, sqrt(mask area / image area). ``concavity``:
    ``(masks,)``, 1 - mask area / area of its convex hull. ``centres``: ``(HEAT_CELLS, HEAT_CELLS)`` counts of mask
    centres by row and column, image sizes normalised. Definitions: Segment Anything, section 5, figures 5 and 6.
    """

    dataset: str
    images: int
    masks: int
    crowd: int
    masks_per_image: NDArray[np.int64]
    relative_size: NDArray[np.float64]
    concavity: NDArray[np.float64]
    centres: NDArray[np.int64]
    classes: Mapping[str, int] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    unreadable: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON. What is undefined (no image, no mask) is None."""
        per_image, size, concavity = self.masks_per_image, self.relative_size, self.concavity
        return {
            "dataset": self.dataset,
            "images": self.images,
            "masks": self.masks,
            "crowd": self.crowd,
            "masks_per_image": _summary(per_image),
            "relative_size": {**_summary(size), "histogram": _histogram(size)},
            "concavity": {**_summary(concavity), "histogram": _histogram(concavity)},
            "centres": self.centres.tolist(),
            "classes": dict(self.classes),
            "dropped": dict(self.dropped),
            "unreadable": list(self.unreadable),
        }

    def text(self) -> str:
        """For people: a small table, the ten commonest classes, what was left out."""
        lines = [f"{self.dataset}: {self.images} images, {self.masks} masks, {self.crowd} crowd regions"]
        lines.append(f"{'':<18}{'min':>9}{'median':>9}{'mean':>9}{'max':>9}")
        for name, values, digits in (
            ("masks per image", self.masks_per_image, 1),
            ("relative mask size", self.relative_size, 3),
            ("concavity", self.concavity, 3),
        ):
            cells = ("-" if v is None else f"{v:.{digits}f}" for v in _summary(values).values())
            lines.append(f"{name:<18}" + "".join(f"{cell:>9}" for cell in cells))
        if self.classes:
            common = ", ".join(f"{name} {count}" for name, count in list(self.classes.items())[:10])
            lines.append(f"{len(self.classes)} classes: {common}{', ...' if len(self.classes) > 10 else ''}")
        lines += [f"left out: {count} masks by rule {rule}" for rule, count in self.dropped.items()]
        if self.unreadable:
            lines.append(f"unreadable: {len(self.unreadable)} images; first: {self.unreadable[0]}")
        return "\n".join(lines)


def stats(dataset: Dataset, ids: Sequence[str] | None = None) -> Stats:
    """Measure the masks of the images of these ids, by default of the whole index. No image is decoded.

    Images that cannot be read are named in ``unreadable`` and left out. Raises UsageError if there is no index.
    """
    per_image: list[int] = []
    sizes: list[float] = []
    concavities: list[float] = []
    centres = np.zeros((HEAT_CELLS, HEAT_CELLS), np.int64)
    classes: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    unreadable: list[str] = []
    crowd = 0
    for id in [entry.id for entry in dataset.index()] if ids is None else ids:
        try:
            sample: Sample = dataset.load(id)
            truth = sample.truth
        except DataError as error:
            unreadable.append(str(error))
            continue
        single: list[Instance] = [instance for instance in truth.instances if not instance.crowd]
        crowd += len(truth.instances) - len(single)
        per_image.append(len(single))
        dropped.update(truth.dropped)
        classes.update(instance.class_name for instance in single if instance.class_name is not None)
        height, width = sample.size
        for instance in single:
            if not instance.mask.area:
                continue
            sizes.append((instance.mask.area / (height * width)) ** 0.5)
            concavities.append(concavity(instance.mask))
            y, x = _centre(instance.mask)
            centres[int(y / height * HEAT_CELLS), int(x / width * HEAT_CELLS)] += 1
    return Stats(
        dataset=dataset.card.name,
        images=len(per_image),
        masks=sum(per_image),
        crowd=crowd,
        masks_per_image=np.asarray(per_image, np.int64),
        relative_size=np.asarray(sizes, np.float64),
        concavity=np.asarray(concavities, np.float64),
        centres=centres,
        classes=dict(sorted(classes.items(), key=lambda item: (-item[1], item[0]))),
        dropped=dict(sorted(dropped.items())),
        unreadable=tuple(unreadable),
    )


def concavity(mask: Mask) -> float:
    """1 - mask area / area of the convex hull, pixels taken as unit squares: a rectangle has exactly 0.

    Raises ValueError for an empty mask.
    """
    if mask.area == 0:
        raise ValueError("an empty mask has no hull")
    # The hull is spanned by the outer corners of each row's first and last foreground pixel.
    left = mask.window.argmax(axis=1)
    right = mask.window.shape[1] - mask.window[:, ::-1].argmax(axis=1)
    rows = np.flatnonzero(mask.window.any(axis=1))
    corners = np.array([(x, y + down) for y in rows for x in (left[y], right[y]) for down in (0, 1)], np.int32)
    return 1.0 - mask.area / cv2.contourArea(cv2.convexHull(corners))


def _centre(mask: Mask) -> tuple[float, float]:
    """Mean (row, column) of the foreground, in continuous coordinates: the middle of pixel 0 is 0.5."""
    rows, columns = mask.window.sum(axis=1), mask.window.sum(axis=0)
    y = mask.top + 0.5 + float(rows @ np.arange(len(rows))) / mask.area
    x = mask.left + 0.5 + float(columns @ np.arange(len(columns))) / mask.area
    return y, x


def _summary(values: NDArray[Any]) -> dict[str, float | None]:
    if not len(values):
        return {"min": None, "median": None, "mean": None, "max": None}
    return {
        "min": values.min().item(),
        "median": float(np.median(values)),
        "mean": float(values.mean()),
        "max": values.max().item(),
    }


def _histogram(values: NDArray[np.float64]) -> dict[str, list[float]]:
    """20 cells from 0 to 1."""
    counts, edges = np.histogram(values, bins=20, range=(0.0, 1.0))
    return {"edges": [round(float(edge), 2) for edge in edges], "counts": counts.tolist()}


def draw(measured: Stats, path: Path) -> Path:
    """The four distributions as a PNG, 1200 x 900 pixels, its folder made if need be; returns the path.

    Raises UsageError if it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{measured.dataset}: {measured.images} images, {measured.masks} masks")
    panels = figure.subplots(2, 2)
    _bars(panels[0, 0], measured.masks_per_image, "masks per image", "images", None)
    _bars(
        panels[0, 1], measured.relative_size, "relative mask size, sqrt(mask area / image area)", "share of masks", 1.0
    )
    _bars(panels[1, 0], measured.concavity, "concavity, 1 - mask area / hull area", "share of masks", 1.0)
    heat = panels[1, 1]
    picture = heat.imshow(measured.centres, cmap="viridis", extent=(0, 1, 1, 0), interpolation="nearest")
    heat.set_xlabel("mask centres: x / image width")
    heat.set_ylabel("y / image height")
    figure.colorbar(picture, ax=heat, label="masks")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise UsageError(f"{path}: the picture cannot be written there ({error.strerror})") from None
    return path


def _bars(panel: Any, values: NDArray[Any], xlabel: str, ylabel: str, top: float | None) -> None:
    if top is None:
        step = int(values.max(initial=0)) // 24 + 1
        edges = np.arange(0, int(values.max(initial=0)) + step + 1, step) - 0.5
        panel.hist(values, bins=edges, color="#4878a8", edgecolor="white")
    else:
        weights = np.full(len(values), 1 / max(1, len(values)))
        panel.hist(values, bins=np.linspace(0, top, 21), weights=weights, color="#4878a8", edgecolor="white")
    panel.set_xlabel(xlabel)
    panel.set_ylabel(ylabel)
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
