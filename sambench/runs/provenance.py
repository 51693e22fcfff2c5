"""What made a number: versions, revision, host. Gathered without importing what the facts are about."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sambench

_PACKAGES = ("torch", "transformers", "numpy", "scipy", "opencv-python", "pycocotools", "pillow", "pyarrow", "numba")


def facts() -> dict[str, Any]:
    """Versions, git revision (None outside a checkout) and whether it was dirty, host, platform, processors."""
    versions = {"sambench": sambench.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    revision, dirty = _git()
    return {
        "versions": versions,
        "git_revision": revision,
        "git_dirty": dirty,
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "command": sys.argv,
    }


def _git() -> tuple[str | None, bool | None]:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        revision = _ask(root, "rev-parse", "HEAD")
        return revision, bool(_ask(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _ask(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
