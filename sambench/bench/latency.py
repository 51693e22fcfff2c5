"""``sambench bench latency``: seconds per encoding and milliseconds per prompt of a model, on the device at hand.

What an annotator waits for: one image, one prompt at a time, everything warm, the device idle before the clock starts
and done when it stops. Every prompt is another one, so that no answer can come from a store of answers.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sambench import text
from sambench.atomic_files import output_error, write_json
from sambench.core.mask import Image
from sambench.core.model import Model, Prediction, Prompts, View
from sambench.demo import cache
from sambench.engine.resources import device_for, processors
from sambench.errors import DataError, UsageError
from sambench.models import zoo
from sambench.plugins import options
from sambench.readers.images import read_image
from sambench.reporting.latencies import FIGURES, Latency, Quantiles, Setting
from sambench.reporting.table import Table
from sambench.reporting.tradeoffs import CLAIM_MS, FIGURE_HEADINGS, PLOTTED, figure_texts
from sambench.runs import provenance
from sambench.runs.directory import now

DEMO = "demo-01"
"""The scene of the demo that is shown where no image is given."""

_SEED = 0
_SHIFT = 16
"""Columns by which each image that is encoded is turned against the one before."""
_NEEDS = {
    "point": frozenset({"points"}),
    "box": frozenset({"boxes"}),
    "next_point": frozenset({"points", "masks"}),
}
"""Kinds of prompts, and the capabilities without which a model does not take them."""

Clock = Callable[[], float]
"""Seconds, as :func:`time.perf_counter` counts them."""


@dataclass(frozen=True)
class Plan:
    """How often. ``repeats``: prompts of each kind under the clock. ``images``: encoded under it. ``warmup``: of each,
    before it starts."""

    repeats: int = 50
    warmup: int = 5
    images: int = 10


def bench(
    references: Sequence[str],
    plan: Plan,
    out: Path,
    *,
    device: str = "auto",
    image: Path | None = None,
    size: int = 1024,
    threads: int = 0,
    assignments: Sequence[str] = (),
    say: Callable[[str], None],
) -> list[Latency]:
    """Measures one model after the other and writes each one's file below ``out`` as soon as it is known.

    ``image``: a file, or None for a scene of the demo; its longer side is brought to ``size`` pixels. ``threads``: 0
    for one on each processor. ``say``: is told what is being done. Raises UsageError: no such model or image, an
    option that does not fit, a model that takes neither points nor boxes, ``out`` cannot be written.
    """
    values = options.parse_assignments(assignments, ("model",))["model"]
    located = [zoo.locate(reference, values) for reference in references]
    devices = [device_for(one, device) for one in located]
    name, pixels = picture(image, size)
    threads = threads or processors()
    load = os.getloadavg()[0]
    if load > processors() / 2:
        say(f"this machine has other work (load {load:.1f} on {processors()} processors): expect longer times")
    found = []
    for one, where in zip(located, devices, strict=True):
        _set_threads(threads, one.uses_torch)
        say(f"{one.name} on {where}: {plan.warmup} + {plan.images} encodings, then prompts")
        figures = measure(one.load(where, 1), pixels, plan, _settler(where))
        setting = Setting(where, device_name(where), threads, name, pixels.shape[0], pixels.shape[1])
        told = {key: value for key, value in options.as_dict(one.options).items() if key != "weights"}
        found.append(Latency(one.name, one.weights_digest, told, setting, figures))
        _write(found[-1], plan, load, out)
    return found


def picture(file: Path | None, size: int) -> tuple[str, Image]:
    """A name and the image, its longer side of ``size`` pixels. Raises UsageError if it cannot be read."""
    path = file
    if path is None:
        cache.ensure(cache.folder())
        path = cache.folder() / "images" / f"{DEMO}.png"
    try:
        pixels = read_image(path)
    except DataError as error:
        raise UsageError(str(error)) from error
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(pixels, target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return path.stem, np.asarray(resized, np.uint8)


def measure(
    model: Model, image: Image, plan: Plan, settle: Callable[[], None], clock: Clock = time.perf_counter
) -> dict[str, Quantiles | None]:
    """The figures of :data:`sambench.reporting.latencies.FIGURES`. ``settle``: waits until the device is idle.

    An encoding lasts until the first answer is there, less the median of later answers: a model may put off work until
    it is asked. Raises UsageError if the model takes neither points nor boxes, or says that it takes masks and gives
    none to be fed back.
    """
    sitting = _Sitting(model, image.shape[:2], settle, clock)
    asks = {"point": sitting.point, "box": sitting.box, "next_point": sitting.next_point}
    kinds = [kind for kind in asks if _NEEDS[kind] <= model.capabilities]
    if not kinds:
        raise UsageError(f"{model.name} takes neither points nor boxes: there is no prompt to measure")
    firsts = []
    for n in range(plan.warmup + plan.images):
        # Another image each time, made before the clock starts.
        pixels = np.ascontiguousarray(np.roll(image, _SHIFT * (n + 1), axis=1))
        firsts.append(sitting.first_answer(pixels, kinds[0]))
    figures: dict[str, Quantiles | None] = dict.fromkeys(FIGURES)
    later = 0.0
    for kind in kinds:
        took = [asks[kind]() for _ in range(plan.warmup + plan.repeats)][plan.warmup :]
        figures[kind] = quantiles([1000 * one.scored for one in took])
        figures[f"{kind}_mask"] = quantiles([1000 * one.shown for one in took])
        if kind == kinds[0]:
            later = quantiles([one.scored for one in took]).p50
    figures["encode"] = quantiles([max(0.0, seconds - later) for seconds in firsts[plan.warmup :]])
    return figures


def quantiles(values: Sequence[float]) -> Quantiles:
    """The 50 and 95 % quantiles, interpolated linearly between neighbours (type 7 of Hyndman and Fan 1996)."""
    p50, p95 = np.quantile(np.array(values, np.float64), (0.5, 0.95))
    return Quantiles(len(values), float(p50), float(p95))


@dataclass(frozen=True)
class _Took:
    """Seconds from a prompt to the scores of its candidates, and to the best mask at the size of the image."""

    scored: float
    shown: float


class _Sitting:
    """One model and images of one size: prompts, each at a place of its own, and how long their answers take."""

    def __init__(self, model: Model, size: tuple[int, int], settle: Callable[[], None], clock: Clock) -> None:
        self.model, self.size, self.settle, self.clock = model, size, settle, clock
        self.several = "multimask" in model.capabilities
        self.rng = np.random.default_rng(_SEED)
        self.places = itertools.cycle(self.rng.permutation(size[0] * size[1]).tolist())
        self.view: View | None = None

    def first_answer(self, image: Image, kind: str) -> float:
        """Seconds from an image to the scores of its first prompt. What is asked next is asked about this image."""
        prompts = self._box_prompt() if kind == "box" else self._point_prompt()
        began = self._now()
        (self.view,) = self.model.encode([image])
        _ = self.view.predict(prompts, multimask=self.several and kind != "box").scores
        return self._now() - began

    def point(self) -> _Took:
        """A first click."""
        return self._answer(self._point_prompt(), self.several)[0]

    def box(self) -> _Took:
        return self._answer(self._box_prompt(), False)[0]

    def next_point(self) -> _Took:
        """A second click with what the first one answered fed back; the first is not part of the time."""
        first = self._point_prompt()
        _, prediction, best = self._answer(first, self.several)
        fed = prediction.feedback([(0, best)])
        if fed is None:
            raise UsageError(f"{self.model.name} says that it takes masks, but feedback() gives none")
        points = np.concatenate([first.points, self._point_prompt().points], axis=1)
        labels = np.array([[1, int(self.rng.integers(2))]], np.int64)
        return self._answer(Prompts(points, labels, mask_logits=fed), False)[0]

    def _answer(self, prompts: Prompts, multimask: bool) -> tuple[_Took, Prediction, int]:
        """What it took, the answer, and its best candidate."""
        assert self.view is not None
        began = self._now()
        prediction = self.view.predict(prompts, multimask=multimask)
        best = int(prediction.scores[0].argmax())
        scored = self._now() - began
        prediction.masks([(0, best)])
        return _Took(scored, self._now() - began), prediction, best

    def _now(self) -> float:
        self.settle()
        return self.clock()

    def _place(self) -> tuple[int, int]:
        """x and y of a pixel that no other prompt had, as long as there are any."""
        y, x = divmod(next(self.places), self.size[1])
        return x, y

    def _point_prompt(self) -> Prompts:
        return Prompts(np.array([[self._place()]], np.float32), np.ones((1, 1), np.int64))

    def _box_prompt(self) -> Prompts:
        """Around a pixel, a tenth to a half as wide and high as the image, as far as it lies inside."""
        (height, width), (x, y) = self.size, self._place()
        w, h = self.rng.uniform(0.05, 0.25, 2) * (width, height)
        box = (max(0.0, x - w), max(0.0, y - h), min(float(width), x + w), min(float(height), y + h))
        return Prompts(boxes=np.array([box], np.float32))


def device_name(device: str) -> str:
    """As its maker calls it."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def console(latencies: Sequence[Latency]) -> str:
    """A table, what it was measured on, and how it compares with the paper's claim; no newline at the end."""
    table = Table.of_texts(["model", *FIGURE_HEADINGS], ([one.name, *figure_texts(one)] for one in latencies))
    lines = [*table.console(), "", "p50 (p95); + mask: until the best mask is there at the image's size."]
    lines += [text.one_line(f"{one.name}: {one.setting}; {_counts(one.figures)}") for one in latencies]
    return "\n".join([*lines, *_beside_the_claim(latencies)])


def _counts(figures: Mapping[str, Quantiles | None]) -> str:
    encoded = figures["encode"]
    prompts = next(q for name, q in figures.items() if q is not None and name != "encode")
    return f"{encoded.n if encoded else 0} encodings, {prompts.n} prompts of each kind"


def _beside_the_claim(latencies: Sequence[Latency]) -> list[str]:
    """Only of a CPU, as the claim is."""
    of = [(one.name, took) for one in latencies if (took := one.figures[PLOTTED]) and one.setting.device == "cpu"]
    said = [f"{text.one_line(name)} {took.p50 / CLAIM_MS:.2g} times as long" for name, took in of]
    head = f"Segment Anything (§3) says about {CLAIM_MS:g} ms for a prompt in a web browser on a CPU"
    return [f"{head}; from a point to its mask here: {', '.join(said)}."] if said else []


def _set_threads(threads: int, uses_torch: bool) -> None:
    cv2.setNumThreads(threads)
    if uses_torch:
        import torch

        torch.set_num_threads(threads)


def _settler(device: str) -> Callable[[], None]:
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def _write(latency: Latency, plan: Plan, load: float, out: Path) -> None:
    file = latency.file(out)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output_error(file, error)}; choose another --out") from error
    content: dict[str, Any] = {**latency.as_dict(), "warmup": plan.warmup, "load_before": load}
    write_json(file, {**content, "measured": now(), "machine": provenance.facts()})
