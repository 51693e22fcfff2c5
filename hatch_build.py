"""Build hook: a distribution holds what git tracks, and nothing that merely lies about.

The plugin folders stay outside the package in a checkout (see ``sambench/suite/__init__.py``) and move to
``sambench/suite/`` in the wheel. hatchling's own ``force-include`` would carry every file in them, ignored or not, so
that a data file left in ``datasets/`` would ship; its selection by ``.gitignore`` would carry whatever nobody thought
of ignoring. This hook lists the wheel's files itself.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "sambench"
PLUGIN_FOLDERS = ("tasks", "datasets", "reports")
SDIST_ONLY = ("tests", "benchmarks", "docs")


def git_files(root: Path, folders: tuple[str, ...], *options: str) -> list[str]:
    """Paths relative to ``root`` that ``git ls-files`` answers for the folders."""
    answer = subprocess.run(
        ["git", "ls-files", "-z", *options, "--", *folders], cwd=root, check=True, capture_output=True, text=True
    )
    return sorted(path for path in answer.stdout.split("\0") if path)


def packed_files(root: Path, folders: tuple[str, ...]) -> list[str]:
    """The files to pack. In a checkout: what git tracks. In an unpacked sdist, which was made that way: all of them.

    Raises RuntimeError if a folder of the checkout holds a file that git neither tracks nor ignores: it is either a
    forgotten ``git add`` or a stray, and neither should pass in silence.
    """
    if not (root / ".git").exists():
        return sorted(
            path.relative_to(root).as_posix()
            for folder in folders
            for path in (root / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
    strays = git_files(root, folders, "--others", "--exclude-standard")
    if strays:
        raise RuntimeError(
            f"not tracked by git: {', '.join(strays)}; 'git add' them or move them away, then build again"
        )
    return git_files(root, folders)


class TrackedFilesHook(BuildHookInterface):
    """Chooses the wheel's files and refuses to build from a checkout with stray ones."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before each build; ``version`` is ``standard`` or ``editable``."""
        if version == "editable":
            return
        root = Path(self.root)
        if self.target_name == "sdist":
            packed_files(root, (PACKAGE, *PLUGIN_FOLDERS, *SDIST_ONLY))
            return
        for path in packed_files(root, (PACKAGE, *PLUGIN_FOLDERS)):
            inside = path if path.startswith(f"{PACKAGE}/") else f"{PACKAGE}/suite/{path}"
            build_data["force_include"][str(root / path)] = inside
