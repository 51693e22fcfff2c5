"""What the figures of a report share: a canvas whose SVG has the same bytes each time, colours, and short labels."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from sambench import text
from sambench.reporting import formatting

# Okabe and Ito's colours, which colour-blind readers can tell apart, without the yellow that vanishes on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = "osD^vP*"

LONGEST = 40
"""Characters of a label: a dataset of the user's own is named by its paths."""


THEMED = {"line": "#d5dae0", "quiet": "#50575f", "series-1": COLOURS[0], "series-2": COLOURS[1]}
"""Colours of :func:`inline`, by the variables of ``style.css`` that replace them."""

_FOUND_IN_FILES_ALONE = re.compile(r' id="(?!m[0-9a-f]{9,}")[^"]*"|font-(size|family): [^;"]*;? ?')
"""Ids of groups, which a page would have several times, and fonts, which are the page's; of ids those that begin with m
are of markers, and are used."""


def draw(width: float, height: float, fill: Callable[[Any, Any], None]) -> bytes:
    """An SVG of ``width`` x ``height`` inches; ``fill`` draws, given matplotlib's figure and its axes."""
    with _settings("sambench"):
        figure = _figure(figsize=(width, height), layout="constrained")
        fill(figure, figure.subplots())
        return _rendered(figure).encode("utf-8")


def inline(width: float, height: float, fill: Callable[[Any], Any], salt: str) -> tuple[str, Any]:
    """What stands in an ``<svg>`` of ``width`` x ``height`` in a page, in the page's fonts and colours, and the answer
    of ``fill``, which draws with the colours of :data:`THEMED`, given matplotlib's figure. ``salt``: keeps the ids of
    several in a page apart."""
    with _settings(salt):
        figure = _figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)
        answer = fill(figure)
        svg = _rendered(figure)
    svg = _FOUND_IN_FILES_ALONE.sub("", svg[svg.index("<g id") : svg.rindex("</svg>")])
    for name, colour in THEMED.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg, answer


@contextlib.contextmanager
def _settings(salt: str) -> Iterator[None]:
    from matplotlib import rc_context

    # Text as text, for screen readers and search; a dollar sign in a name is no formula; ids from a fixed salt, for
    # equal bytes.
    settings = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "text.parse_math": False,
    }
    with rc_context(settings), warnings.catch_warnings():
        # The reader's fonts count, not those of this machine.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing")
        yield


def _figure(**given: Any) -> Any:
    from matplotlib.figure import Figure

    return Figure(**given)


def _rendered(figure: Any) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return out.getvalue()


def legend(figure: Any) -> None:
    """Above the axes: within, it would lie on lines sooner or later."""
    figure.legend(loc="outside upper left", ncols=2, fontsize=8, frameon=False)


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
