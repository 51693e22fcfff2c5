"""The options of a plugin that has none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoOptions:
    """For a plugin without options."""
