"""Where a dataset is looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sambench.readers.files import candidates

NAMES = ("coco", "COCO", "coco2017")


def looked(root: Path, names: tuple[str, ...] = NAMES) -> list[str]:
    return [os.path.relpath(at, root) for at in candidates(root, names)]


def folders(at: Path, *names: str) -> None:
    for name in names:
        (at / name).mkdir(parents=True)


def test_the_root_then_the_names_in_their_order(tmp_path: Path) -> None:
    assert looked(tmp_path) == ["."]
    folders(tmp_path, "COCO2017", "Coco", "other", "coco/a", "coco/b")
    assert looked(tmp_path) == [".", "Coco", "coco", "COCO2017"]
    (tmp_path / "COCO").write_text("a file of the name is none")
    assert looked(tmp_path) == [".", "Coco", "coco", "COCO2017"]
    assert candidates(tmp_path / "nowhere", NAMES) == [tmp_path / "nowhere"]


def test_what_unzipping_adds(tmp_path: Path) -> None:
    folders(tmp_path, "coco/coco-v2/inner/deeper", "coco/__MACOSX", "coco/.hidden")
    (tmp_path / "coco" / "readme.txt").write_text("files do not count")
    assert looked(tmp_path) == [".", "coco", "coco/coco-v2", "coco/coco-v2/inner"]
    folders(tmp_path, "coco/second")
    assert looked(tmp_path) == [".", "coco"]
    folders(tmp_path, "coco/COCO")
    assert looked(tmp_path) == [".", "coco", "coco/COCO"]


def test_another_split_is_no_wrapper(tmp_path: Path) -> None:
    """A plugin that takes images at top level would take those of stage1_test for those of stage1_train."""
    folders(tmp_path, "coco/stage1_test/x")
    assert looked(tmp_path) == [".", "coco"]


def test_nothing_is_looked_for_in_a_stranger_s_folder(tmp_path: Path) -> None:
    folders(tmp_path, "bbbc038/images")
    assert looked(tmp_path) == ["."]


def test_a_root_that_is_taken_too_deep(tmp_path: Path) -> None:
    folders(tmp_path, "Coco/val2017", "Coco/stuff", "mine/images", "mine/latest")
    assert looked(tmp_path / "Coco") == [".", ".."]
    assert looked(tmp_path / "Coco" / "stuff") == [".", ".."]
    assert looked(tmp_path / "mine" / "images") == [".", ".."]
    assert looked(tmp_path / "mine" / "latest") == ["."]  # holds "test", but not as a word


def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders(tmp_path, "coco/wrapper")
    monkeypatch.chdir(tmp_path / "coco")
    assert candidates(Path("."), NAMES) == [Path("."), Path("wrapper"), tmp_path]


def test_symlinks_in_a_circle(tmp_path: Path) -> None:
    folders(tmp_path, "coco")
    (tmp_path / "coco" / "coco").symlink_to(tmp_path / "coco")
    (tmp_path / "COCO").symlink_to(tmp_path / "COCO")
    (tmp_path / "Coco").symlink_to(tmp_path / "coco")
    assert looked(tmp_path) == [".", "Coco"]


def test_a_huge_folder_is_not_read_to_its_end(tmp_path: Path) -> None:
    folders(tmp_path, "coco/only")
    for number in range(1001):
        (tmp_path / "coco" / f"{number}.txt").touch()
    assert looked(tmp_path) == [".", "coco"]
