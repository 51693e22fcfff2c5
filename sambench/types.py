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
    DecodesTogether,
    KeepsEncodings,
    Model,
    Prediction,
    PreparesImages,
    Prompts,
    TextPrediction,
    View,
)
from sambench.core.task import Cases, Context, HasCases, Later, Measured, Metric, Predictions, Scores, TakesInputs, Task

__all__ = [
    "CAPABILITIES",
    "EXPRESSIONS",
    "Archive",
    "Card",
    "Cases",
    "Context",
    "Dataset",
    "DecodesTogether",
    "GroundTruth",
    "HasCases",
    "Image",
    "IndexEntry",
    "Instance",
    "KeepsEncodings",
    "Later",
    "Mask",
    "Measured",
    "Metric",
    "Model",
    "PaperUse",
    "Prediction",
    "Predictions",
    "PreparesImages",
    "Prompts",
    "Sample",
    "Scores",
    "Semantics",
    "Split",
    "TakesInputs",
    "Task",
    "TextPrediction",
    "View",
]
