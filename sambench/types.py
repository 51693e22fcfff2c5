"""The types that plugins, models and the engine share, in one place to import them from: plain types, numpy only.

Conventions everywhere: images are ``(H, W, 3)`` uint8 RGB; sizes are ``(height, width)``; points are ``xy`` in pixels
of the original image, where the integer ``(x, y)`` is the centre of the pixel in column x, row y; boxes are ``xyxy``.
"""

from __future__ import annotations

from sambench.core.dataset import (
    EXPRESSIONS,
    Archive,
    Card,
    Dataset,
    GroundTruth,
    IndexEntry,
    Instance,
    PaperUse,
    Sample,
    Semantics,
    Split,
)
from sambench.core.mask import Image, Mask
from sambench.core.model import (
    CAPABILITIES,
    Click,
    Model,
    Prediction,
    Prompts,
    TextPrediction,
    View,
)
from sambench.core.options import NoOptions
from sambench.core.replay import Answer, Recorded, Replay
from sambench.core.task import (
    Artifacts,
    CasePicture,
    Cases,
    Context,
    DeferredResult,
    MetricValue,
    Predictions,
    SampleResult,
    Task,
    TaskSummary,
)

__all__ = [
    "CAPABILITIES",
    "EXPRESSIONS",
    "Answer",
    "Archive",
    "Artifacts",
    "Card",
    "CasePicture",
    "Cases",
    "Click",
    "Context",
    "Dataset",
    "DeferredResult",
    "GroundTruth",
    "Image",
    "IndexEntry",
    "Instance",
    "Mask",
    "MetricValue",
    "Model",
    "NoOptions",
    "PaperUse",
    "Prediction",
    "Predictions",
    "Prompts",
    "Recorded",
    "Replay",
    "Sample",
    "SampleResult",
    "Semantics",
    "Split",
    "Task",
    "TaskSummary",
    "TextPrediction",
    "View",
]

_RENAMED = {
    "Later": DeferredResult,
    "Measured": SampleResult,
    "Metric": MetricValue,
    "Scores": TaskSummary,
}
"""Names of version 0.1.0, for plugins that were written for it."""


def __getattr__(name: str) -> object:
    if name in _RENAMED:
        return _RENAMED[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
