"""``sambench check model``: does an adapter keep its promises on a few demo images?"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sambench.clicks import next_click
from sambench.core.dataset import Instance, Sample
from sambench.core.mask import Mask
from sambench.core.model import CAPABILITIES, Click, Prediction, Prompts, View
from sambench.engine.resources import device_for
from sambench.errors import SambenchError
from sambench.metrics.iou import iou
from sambench.models import zoo
from sambench.planning.settings import SET_OWNERS
from sambench.plugins import options, registry

IMAGES = 3


@dataclass(frozen=True)
class Check:
    """One promise: whether it holds, and what was seen."""

    what: str
    passed: bool
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_model(reference: str, assignments: Sequence[str], device: str) -> list[Check]:
    """Loads the model and tries each capability that it claims on demo images. Raises UsageError if it cannot load."""
    values = options.parse_assignments(assignments, SET_OWNERS)
    located = zoo.locate(reference, values["model"])
    where = device_for(located, device)
    model = located.load(where, located.encode_batch(where))
    samples = _demo()
    checks = [Check("loads", True, f"{model.name}@{model.weights_digest[:8]} on {where}")]
    unknown = sorted(model.capabilities - CAPABILITIES)
    claimed = ", ".join(sorted(model.capabilities)) or "none"
    checks.append(Check("capabilities", not unknown, f"unknown: {', '.join(unknown)}" if unknown else claimed))
    views: list[View] = []

    def attempt(what: str, trial: Callable[[], str]) -> bool:
        try:
            checks.append(Check(what, True, trial()))
        except SambenchError as error:
            checks.append(Check(what, False, str(error)))
        except Exception as error:
            checks.append(Check(what, False, f"{type(error).__name__}: {' '.join(str(error).split())}"))
        return checks[-1].passed

    def encode() -> str:
        for sample in samples:
            views.extend(model.encode([sample.image]))
        if len(views) != len(samples):
            raise SambenchError(f"{len(samples)} images gave {len(views)} views")
        return f"{len(views)} images"

    if not attempt("encode", encode):
        return checks
    pairs = list(zip(samples, views, strict=True))
    trials: list[tuple[str, str, Callable[[], str]]] = [
        ("points", "points", lambda: _points(pairs, 1)),
        ("points", "several points, with negatives", lambda: _points(pairs, 3)),
        ("points", "answers again the same", lambda: _repeatable(pairs)),
        ("multimask", "multimask", lambda: _multimask(pairs)),
        ("masks", "masks", lambda: _masks(pairs)),
        ("boxes", "boxes", lambda: _boxes(pairs)),
        ("edges", "edges", lambda: _edges(pairs)),
        ("text", "text", lambda: _text(pairs)),
    ]
    for capability, what, trial in trials:
        if capability in model.capabilities:
            attempt(what, trial)
    if "points" in model.capabilities and "masks" not in model.capabilities:
        checks.append(Check("previous mask", True, "not taken: at later clicks the model gets all clicks and no mask"))
    return checks


_Pairs = Sequence[tuple[Sample, View]]


def _demo() -> list[Sample]:
    plugin = registry.load("datasets", "demo")
    with tempfile.TemporaryDirectory() as nowhere:
        root = plugin.locate(Path(nowhere), plugin.card.default_split, plugin.Options())
    dataset = plugin(root, plugin.card.default_split, plugin.Options())
    return [dataset.load(entry.id) for entry in list(dataset.index())[:IMAGES]]


def _prompted(sample: Sample, count: int) -> tuple[list[Instance], Prompts]:
    """Up to four instances, each with its centre click and then corrective clicks against an empty mask's opposite."""
    instances = list(sample.truth.instances[:4])
    points, labels = [], []
    everything = Mask.from_dense(np.ones(sample.size, np.bool_))
    for instance in instances:
        clicks: list[Click] = []
        for n in range(count):
            click = next_click(instance.mask, everything if n % 2 else None, clicks)
            assert click is not None
            clicks.append(click)
        points.append([(c.x, c.y) for c in clicks])
        labels.append([int(c.positive) for c in clicks])
    return instances, Prompts(np.array(points, np.float32), np.array(labels, np.int64))


def _points(pairs: _Pairs, count: int) -> str:
    ious = []
    for sample, view in pairs:
        instances, prompts = _prompted(sample, count)
        prediction = view.predict(prompts, multimask=count == 1)
        _well_formed(prediction, len(prompts), sample)
        best = prediction.scores.argmax(axis=1)
        masks = prediction.masks([(i, int(k)) for i, k in enumerate(best)])
        ious += [iou(mask, instance.mask) for mask, instance in zip(masks, instances, strict=True)]
    return f"{len(ious)} prompts, mean IoU {np.mean(ious):.2f}"


def _repeatable(pairs: _Pairs) -> str:
    for sample, view in reversed(pairs):
        _, prompts = _prompted(sample, 1)
        first, second = (view.predict(prompts, multimask=True) for _ in range(2))
        if not np.array_equal(first.scores, second.scores):
            raise SambenchError(f"the scores for image {sample.id} changed between two equal calls")
    return "bit-identical scores"


def _multimask(pairs: _Pairs) -> str:
    sample, view = pairs[0]
    _, prompts = _prompted(sample, 1)
    several = view.predict(prompts, multimask=True).scores.shape[1]
    one = view.predict(prompts, multimask=False).scores.shape[1]
    if several < 2 or one != 1:
        raise SambenchError(f"multimask answers {several} masks and otherwise {one}; expected several and 1")
    return f"{several} masks, or 1"


def _masks(pairs: _Pairs) -> str:
    """As the click loop does it: the second click with what the first answered, which may be any sequence."""
    sample, view = pairs[0]
    (_, first), (_, both) = _prompted(sample, 1), _prompted(sample, 2)
    answer = view.predict(first, multimask=True)
    fed = answer.feedback([(i, int(k)) for i, k in enumerate(answer.scores.argmax(axis=1))])
    if fed is None:
        raise SambenchError("claims masks, but feedback() gives nothing")
    if len(fed) != len(first):
        raise SambenchError(f"feedback() for {len(first)} prompts gives {len(fed)} answers")
    again = view.predict(Prompts(both.points, both.labels, mask_logits=fed), multimask=False)
    _well_formed(again, len(both), sample)
    return f"the previous answer fed back, {f'logits {tuple(fed.shape)}' if hasattr(fed, 'shape') else 'opaque'}"


def _boxes(pairs: _Pairs) -> str:
    ious = []
    for sample, view in pairs:
        instances, _ = _prompted(sample, 1)
        prediction = view.predict(Prompts(boxes=np.array([i.mask.box for i in instances], np.float32)), multimask=True)
        _well_formed(prediction, len(instances), sample)
        best = prediction.scores.argmax(axis=1)
        masks = prediction.masks([(i, int(k)) for i, k in enumerate(best)])
        ious += [iou(mask, instance.mask) for mask, instance in zip(masks, instances, strict=True)]
    return f"{len(ious)} boxes, mean IoU {np.mean(ious):.2f}"


def _edges(pairs: _Pairs) -> str:
    strengths = []
    for sample, view in pairs:
        try:
            first, second = view.edges(), view.edges()
        except NotImplementedError:
            raise SambenchError("claims edges, but its view has no edges()") from None
        if first.shape != sample.size or not np.issubdtype(first.dtype, np.floating):
            raise SambenchError(f"edges of image {sample.id} are {first.dtype} {first.shape}, expected {sample.size}")
        # A value that is not a number is in no interval either.
        if not ((first >= 0) & (first <= 1)).all():
            raise SambenchError(f"edges of image {sample.id} are not all between 0 and 1")
        if not np.array_equal(first, second):
            raise SambenchError(f"the edges of image {sample.id} changed between two equal calls")
        strengths.append(float(first.mean()))
    thin = pairs[0][1].edges_are_thin
    return f"{len(pairs)} maps{', thin already' if thin else ''}, mean strength {np.mean(strengths):.3f}"


def _text(pairs: _Pairs) -> str:
    sample, view = pairs[0]
    names = list(dict.fromkeys(i.class_name for i in sample.truth.instances if i.class_name))[:2] or ["thing"]
    _well_formed(view.predict(Prompts(text=names), multimask=True), len(names), sample)
    return f"{len(names)} phrases: {', '.join(names)}"


def _well_formed(prediction: Prediction, prompts: int, sample: Sample) -> None:
    scores = prediction.scores
    if scores.ndim != 2 or scores.shape[0] != prompts or scores.dtype != np.float32:
        raise SambenchError(f"scores are {scores.dtype} {scores.shape}, expected float32 ({prompts}, M)")
    if not np.isfinite(scores).all():
        raise SambenchError(f"a score for image {sample.id} is not finite")
    for mask in prediction.masks([(n, m) for n in range(prompts) for m in range(scores.shape[1])]):
        if mask.size != sample.size:
            raise SambenchError(f"a mask is {mask.size}, the image {sample.id} is {sample.size}")
