"""Shared fixtures. Real data: ``SAMBENCH_TEST_DATA``, else ``../shared/data`` beside the checkout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real datasets. Absent on a stranger's machine: skip. Absent in CI: fail."""
    folder = Path(os.environ.get("SAMBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "SHA256SUMS").is_file():
        message = f"no real test data at {folder}: set SAMBENCH_TEST_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return folder
