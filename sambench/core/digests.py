"""Digests that name data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def index_digest(ids: Iterable[str]) -> str:
    """sha256 (hex) of the ordered ids."""
    digest = hashlib.sha256()
    for id in ids:
        digest.update(id.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()
