"""Text from files, made safe to show on one line."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


_UNSHOWABLE = re.compile("[\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    """Without line breaks, control characters, characters that turn the text's direction, and lone surrogates."""
    return cleaned(text).strip()


def cleaned(text: str) -> str:
    """The same, with the spaces at its ends."""
    return _CONTROL.sub(" ", _UNSHOWABLE.sub("\ufffd", text))


def spaced(text: str) -> str:
    """The text with single spaces, and none around it."""
    return " ".join(text.split())


def percent(fraction: float) -> str:
    """Return a fraction in percent with one decimal: ``83.0 %``."""
    return f"{round(100 * fraction, 1) + 0.0:.1f} %"
