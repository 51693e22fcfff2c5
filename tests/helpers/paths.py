"""Folders of the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
STORED = TESTS / "stored"
"""Answers of other programs, kept to be compared with."""
