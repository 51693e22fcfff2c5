"""FastSAM (arXiv 2306.12156): YOLOv8-seg finds all masks of an image at once, a prompt only chooses among them.

The network and the finding of masks are those of the package ultralytics, which is under AGPL-3.0 and imported when a
model is loaded; choosing is as in the authors' code (FastSAM: fastsam/prompt.py, box_prompt and point_prompt).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sambench.core.mask import Image, Mask
from sambench.core.model import Model, Prompts, View
from sambench.errors import UsageError
from sambench.models.cards import WeightsInfo
from sambench.models.common import checkpoints
from sambench.models.common.checkpoints import Source
from sambench.models.fast_sam import fast_sam_weights

SCALES = {"fast_sam_x": "x", "fast_sam_s": "s"}
"""Of YOLOv8-seg, by model."""
WIDTHS = {"fast_sam_x": 80, "fast_sam_s": 32}
"""Channels of the first convolution, which tell the two apart."""
FILES = {"fast_sam_x": ("FastSAM-x.pt", "FastSAM.pt"), "fast_sam_s": ("FastSAM-s.pt",)}
"""What the authors and ultralytics call the checkpoints."""


@dataclass(frozen=True)
class Options:
    """The defaults are those of the authors' ``Inference.py``."""

    weights: str = ""
    """The authors' file."""
    confidence: float = 0.4
    """Leave out objects below this confidence."""
    iou: float = 0.9
    """Of two boxes that overlap more than this (IoU), leave one out."""
    side: int = 1024
    """Long side of the input, pixels."""


class Everything(Protocol):
    """Finds all masks of an image."""

    def __call__(self, image: Image) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """``image``: ``(H, W, 3)`` uint8 RGB. Masks ``(n, H, W)`` of 0 and 1, and confidences ``(n,)``."""


def locate(name: str | None, options: Options) -> WeightsInfo:
    """Finds the weights and digests them; see :class:`sambench.models.cards.Adapter`. ``name`` is needed: a pickled
    network cannot be told by its file."""
    _require_ultralytics()
    source = _find(name, options)
    held = _architecture(fast_sam_weights.read(source), source)
    checkpoints.refuse_other(source.path, held, name)
    return _found(held, source)


def load(name: str, options: Options, device: str, encode_batch: int = 0) -> FastSamModel:
    """FastSAM on a device. Images are taken one at a time, whatever ``encode_batch`` says."""
    _require_ultralytics()
    source = _find(name, options)
    return FastSamModel(_Ultralytics(name, source, options, device), _found(name, source))


class FastSamModel(Model):
    """A FastSAM, satisfying :class:`sambench.core.model.Model`. ``everything``: what finds the masks."""

    capabilities = frozenset({"points", "boxes"})
    encode_batch = 1
    batch_invariant = True

    def __init__(self, everything: Everything, found: WeightsInfo) -> None:
        self.everything = everything
        self.name, self.weights_digest, self.trained_on = found.name, found.weights_digest, found.trained_on

    def encode(self, images: Sequence[Image]) -> list[FastSamView]:
        """All masks of every image, found here and once."""
        return [FastSamView(image.shape[:2], *self.everything(image)) for image in images]


class FastSamView(View):
    """An image of ``size`` ``(H, W)``, with its ``(n, H, W)`` masks and ``(n,)`` confidences."""

    def __init__(self, size: tuple[int, int], masks: NDArray[np.uint8], confidences: NDArray[np.float32]) -> None:
        self.size = size
        self.found = [Mask.from_dense(mask.astype(np.bool_)) for mask in masks]
        self.confidences = confidences.astype(np.float32)
        # Larger masks first; the first of several of one size stays the first.
        self.falling = sorted(range(len(self.found)), key=lambda i: -self.found[i].area)

    def predict(self, prompts: Prompts, *, multimask: bool) -> FastSamPrediction:
        """One mask for each prompt, whatever ``multimask`` says.

        A box takes the found mask of the highest IoU with it. Points build a mask: in the order of falling area, every
        found mask is drawn that the last of the points in it, in the order of clicks, is a foreground point of, and
        erased if that is a background point. The score is the confidence of the mask, or the highest of those drawn;
        0 if there is none. Raises ValueError for text, masks, and points together with boxes.
        """
        if prompts.text is not None or prompts.mask_logits is not None:
            raise ValueError("FastSAM takes points or boxes, neither text nor masks")
        if prompts.boxes is not None:
            if prompts.points is not None:
                raise ValueError("FastSAM takes points or a box, not both at once")
            return FastSamPrediction([self._in_box(box) for box in prompts.boxes])
        assert prompts.points is not None
        assert prompts.labels is not None
        return FastSamPrediction([self._at(*pair) for pair in zip(prompts.points, prompts.labels, strict=True)])

    def _in_box(self, box: NDArray[np.float32]) -> tuple[Mask, float]:
        if not self.found:
            return Mask.empty(self.size), 0.0
        height, width = self.size
        left, top = (max(0, round(float(side))) for side in box[:2])
        right, bottom = (min(limit, round(float(side))) for side, limit in zip(box[2:], (width, height), strict=True))
        inside = np.array([_within(mask, left, top, right, bottom) for mask in self.found])
        union = (bottom - top) * (right - left) + np.array([mask.area for mask in self.found]) - inside
        best = int(np.argmax(inside.astype(np.float32) / union.astype(np.float32)))
        return self.found[best], float(self.confidences[best])

    def _at(self, points: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[Mask, float]:
        height, width = self.size
        real = [
            (min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1), label)
            for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True)
            if label >= 0
        ]
        drawn, score = np.zeros(self.size, np.bool_), 0.0
        for i in self.falling:
            mask = self.found[i]
            hits = [label for x, y, label in real if (x, y) in mask]
            if hits:
                height, width = mask.window.shape
                part = drawn[mask.top : mask.top + height, mask.left : mask.left + width]
                part[mask.window] = hits[-1] == 1
                score = max(score, float(self.confidences[i])) if hits[-1] == 1 else score
        return Mask.from_dense(drawn), score


class FastSamPrediction:
    """``answers``: a mask and a score for each prompt."""

    def __init__(self, answers: Sequence[tuple[Mask, float]]) -> None:
        self.answers = [mask for mask, _ in answers]
        self.scores = np.array([score for _, score in answers], np.float32).reshape(-1, 1)

    def masks(self, which: Sequence[tuple[int, int]]) -> list[Mask]:
        """The masks of (prompt, candidate) pairs; every candidate is 0."""
        return [self.answers[prompt] for prompt, _ in which]

    def feedback(self, chosen: Sequence[tuple[int, int]]) -> None:
        """None: no masks are taken as prompts."""


class _Ultralytics:
    """YOLOv8-seg with one class, as FastSAM's predictor in ultralytics runs it."""

    def __init__(self, name: str, source: Source, options: Options, device: str) -> None:
        tasks: Any = import_module("ultralytics.nn.tasks")
        prediction: Any = import_module("ultralytics.models.fastsam")
        state = fast_sam_weights.read(source)
        # The released weights have more bins for the side of a box than YOLOv8's own.
        bins = next((len(value[0]) for key, value in state.items() if key.endswith(".dfl.conv.weight")), 16)
        config = {**tasks.yaml_model_load(f"yolov8{SCALES[name]}-seg.yaml"), "reg_max": bins}
        network = tasks.SegmentationModel(config, nc=1, verbose=False)
        checkpoints.fill(network, state, source.path, name)
        network.names = {0: "object"}
        self.predictor = prediction.FastSAMPredictor(
            overrides={
                "task": "segment",
                "mode": "predict",
                "imgsz": options.side,
                "rect": True,  # the short side is padded to a multiple of 32 only
                "conf": options.confidence,
                "iou": options.iou,
                "retina_masks": True,
                "device": device,
                "save": False,
                "verbose": False,
            }
        )
        self.predictor.setup_model(network, verbose=False)

    def __call__(self, image: Image) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        [result] = self.predictor([np.ascontiguousarray(image[..., ::-1])])  # it takes BGR
        return of_result(result, image.shape[:2])


def of_result(result: Any, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Masks ``(n, H, W)`` and confidences ``(n,)`` of an ``ultralytics.engine.results.Results`` with masks at the
    image's size ``(H, W)``, which has no masks at all where nothing was found."""
    if result.masks is None:
        return np.zeros((0, *size), np.uint8), np.zeros(0, np.float32)
    return result.masks.data.cpu().numpy().astype(np.uint8), result.boxes.conf.cpu().numpy()


def _within(mask: Mask, left: int, top: int, right: int, bottom: int) -> int:
    """Foreground pixels of a mask in a box, right and bottom exclusive."""
    rows = slice(max(0, top - mask.top), max(0, bottom - mask.top))
    columns = slice(max(0, left - mask.left), max(0, right - mask.left))
    return int(mask.window[rows, columns].sum())


def _require_ultralytics() -> None:
    if find_spec("ultralytics") is None:
        raise UsageError(
            "FastSAM needs the package ultralytics, which is under AGPL-3.0: pip install 'sambench[fastsam]'"
        )


def _find(name: str | None, options: Options) -> Source:
    file = FILES.get(name or "", FILES["fast_sam_x"])[0]
    return checkpoints.find(
        options.weights, "", f"{name or 'FastSAM'} has no weights on the hub: pass {file} with --set model.weights=FILE"
    )


def _architecture(state: dict[str, Tensor], source: Source) -> str:
    """The name of the model of these tensors."""
    first, bins = state.get("model.0.conv.weight"), [key for key in state if key.endswith(".dfl.conv.weight")]
    classes = state.get("model.22.cv3.0.2.weight")
    width = None if first is None else len(first)
    held = next((name for name, value in WIDTHS.items() if value == width), None)
    if held is None or not bins or classes is None or len(classes) != 1:
        raise UsageError(f"{source.path} is no FastSAM: it holds {checkpoints.some(state)}")
    return held


def _found(name: str, source: Source) -> WeightsInfo:
    """Trained on SA-1B if the file is called as the released ones are; else nobody has said."""
    released = source.path.name in (file for files in FILES.values() for file in files)
    return WeightsInfo(name, str(source.path), source.digest(), frozenset({"sa1b"}) if released else None)
