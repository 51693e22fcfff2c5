"""Which images of a split are evaluated (protocol §2.2, OQ-1).

All images are put into one order, by a hash of their id, the same on every machine; a subset is the beginning of that
order. So the paper's subset, ``--subset 500`` and ``--limit 5`` are nested, and a limited run can go on to a full one.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence

from sambench.core.dataset import IndexEntry
from sambench.errors import UsageError

SAMPLED_ABOVE = 15_000
"""A dataset with more masks than this is subsampled (paper §D.1)."""

SAMPLED_MASKS = 10_000
"""Whole images are drawn until their masks number at least this (paper §D.1)."""


def order(entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    """By sha256 of the id, then by the id. Raises UsageError on an id that occurs twice."""
    ordered = sorted(entries, key=lambda e: (hashlib.sha256(e.id.encode("utf-8", "surrogatepass")).digest(), e.id))
    for a, b in itertools.pairwise(ordered):
        if a.id == b.id:
            raise UsageError(f"the dataset lists image {a.id!r} twice")
    return ordered


def draw(entries: Sequence[IndexEntry], subset: str) -> list[IndexEntry]:
    """The evaluated images, in order. ``subset``: ``paper`` (the rule of §D.1: images without masks are left out; a
    dataset of at most 15k masks is used whole), ``full``, or a number of images. Raises UsageError."""
    ordered = order(entries)
    if subset == "full":
        return ordered
    if subset == "paper":
        annotated = [e for e in ordered if e.n_masks > 0]
        if sum(e.n_masks for e in annotated) <= SAMPLED_ABOVE:
            return annotated
        drawn, masks = [], 0
        for entry in annotated:
            if masks >= SAMPLED_MASKS:
                break
            drawn.append(entry)
            masks += entry.n_masks
        return drawn
    if not subset.isdecimal() or int(subset) == 0:
        raise UsageError(f"--subset {subset}: it is paper, full, or a number of images")
    return ordered[: int(subset)]
