"""What the figures of a report share: a canvas whose SVG has the same bytes each time, colours, and short labels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

from sambench import text
from sambench.reporting import formatting

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that vanishes on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vP*"

LONGEST = 40
"""Characters of a label: a dataset of the user's own is named by its paths."""


def draw(width: float, height: float, fill: Callable[[Any, Any], None]) -> bytes:
    """An SVG of ``width`` x ``height`` inches; ``fill`` draws, given matplotlib's figure and its axes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Text as text, for screen readers and search; a dollar sign in a name is no formula; ids from a fixed salt, for
    # equal bytes.
    settings = {
        "svg.hashsalt": "sambench",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.parse_math": False,
    }
    with rc_context(settings), warnings.catch_warnings():
        # The reader's fonts count, not those of this machine.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        fill(figure, figure.subplots())
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def colour(place: int) -> str:
    """The colour of the line at a place; they come round again after the last."""
    return COLOURS[place % len(COLOURS)]


def marker(place: int) -> str:
    """The marker at a place, likewise."""
    return MARKERS[place % len(MARKERS)]


def label(name: str) -> str:
    """One line of at most :data:`LONGEST` characters; what is too long loses its middle."""
    name = text.one_line(name)
    # An underscore at its start would hide a line from matplotlib's legend.
    return formatting.shortened("\u200b" + name if name.startswith("_") else name, LONGEST)
