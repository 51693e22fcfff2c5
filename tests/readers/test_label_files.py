"""Counts that only decoding tells, remembered; folders of folders; lists of names; linear colour."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sambench.errors import DataError, UsageError
from sambench.readers.label_files import count_in_files, list_label_files
from sambench.readers.name_lists import read_names
from sambench.readers.tone_mapping import tone_mapped
from sambench.readers.trees import files_below


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SAMBENCH_CACHE", str(folder))
    return folder


class Counter:
    """Counts the bytes of a file, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, path: Path) -> int:
        self.asked.append(path.name)
        content = path.read_bytes()
        if content == b"broken":
            raise DataError(f"{path}: broken")
        return len(content)


def label_files(at: Path) -> dict[str, Path]:
    files = {}
    for id, content in {"a/1": b"xx", "a/2": b"", "b/1": b"broken", "b/2": b"xxx"}.items():
        path = at / f"{id}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        files[id] = path
    return files


def test_counts_are_remembered_until_a_file_or_the_rule_changes(tmp_path: Path) -> None:
    files, counter = label_files(tmp_path), Counter()
    expected = {"a/1": 2, "a/2": 0, "b/1": 1, "b/2": 3}  # what cannot be read counts as one
    assert count_in_files(files, counter, "rule") == expected
    assert sorted(counter.asked) == ["1.png", "1.png", "2.png", "2.png"]
    assert count_in_files(files, counter, "rule") == expected
    assert len(counter.asked) == 4
    assert count_in_files(files, counter, "another rule") == expected
    assert len(counter.asked) == 8
    # Only the folder of the file that changed is read again; the time alone tells it.
    status = files["a/2"].stat()
    os.utime(files["a/2"], ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert count_in_files(files, counter, "rule") == expected
    assert len(counter.asked) == 10
    # A subset is another question.
    assert count_in_files({"b/2": files["b/2"]}, counter, "rule") == {"b/2": 3}


def test_counts_without_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "file"))
    files, counter = label_files(tmp_path), Counter()
    assert count_in_files(files, counter, "rule") == count_in_files(files, counter, "rule")
    assert len(counter.asked) == 8


def test_missing_files_count_as_one(tmp_path: Path) -> None:
    def unreadable(path: Path) -> int:
        raise DataError(f"{path}: no such file")

    assert count_in_files({"a": tmp_path / "gone.png"}, unreadable, "rule") == {"a": 1}


def test_list_label_files(tmp_path: Path) -> None:
    labels, counter = label_files(tmp_path), Counter()

    def index(images: dict[str, Path], labels: dict[str, Path], wanted: list[str] | None = None) -> dict[str, int]:
        listing = list_label_files(
            images, labels, counter, "rule", wanted=wanted, folder=tmp_path, unpack="unzip x.zip"
        )
        return {entry.id: entry.n_masks for entry in listing.entries}

    assert index(labels, labels) == {"a/1": 2, "b/1": 1, "b/2": 3}
    assert index(labels, labels, ["b/2"]) == {"b/2": 3}
    assert counter.asked.count("2.png") <= 3
    with pytest.raises(UsageError, match="images are there, labels are not: unzip"):
        index(labels, {})
    with pytest.raises(UsageError, match="labels are there, images are not"):
        index({}, labels)
    with pytest.raises(UsageError, match=r"1 of 5 images have no label \(first: c\): unzip x\.zip"):
        index({**labels, "c": tmp_path}, labels)
    with pytest.raises(UsageError, match=r"1 of 1 images have no label \(first: c\)"):
        index(labels, labels, ["c"])


def test_files_below(tmp_path: Path) -> None:
    for name in (
        "b/x.JPG",
        "b/x.png",
        "a.b/c d.jpg",
        "top.jpg",
        ".hidden.jpg",
        ".git/x.jpg",
        "__MACOSX/x.jpg",
        "not/y.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink(tmp_path, tmp_path / "b" / "round", target_is_directory=True)
    os.symlink(tmp_path / "a.b", tmp_path / "link", target_is_directory=True)
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    found = files_below(tmp_path, ".jpg", lambda name: name != "not")
    assert list(found) == ["a.b/c d", "b/x", "link/c d", "top"]
    assert found["b/x"] == tmp_path / "b" / "x.JPG"
    with pytest.raises(UsageError, match="cannot list the folder"):
        files_below(tmp_path / "gone", ".jpg")


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system folds letter case and Unicode forms")
def test_files_below_with_names_that_clash(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").touch()
    (tmp_path / "x.JPG").touch()
    with pytest.raises(UsageError, match="would have the same id; keep one of them"):
        files_below(tmp_path, ".jpg")


def test_read_names(tmp_path: Path) -> None:
    path = tmp_path / "T.txt"
    path.write_bytes("\ufeff b 1.PNG \r\n\r\na\\c.d\r\ne\u0301\n".encode())
    assert read_names(path, {".png"}) == ["b 1", "a/c.d", "é"]
    path.write_text("a.png\na\n")
    with pytest.raises(UsageError, match=r"T\.txt: names a twice"):
        read_names(path, {".png"})
    for content, message in ((b"\n \n", "is empty"), (b"\xff\xfe", "not a list of names in UTF-8")):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=message):
            read_names(path, {".png"})
    with pytest.raises(UsageError, match="cannot be read"):
        read_names(tmp_path / "gone.txt", {".png"})


def test_tone_mapping_puts_the_bright_tenth_above_four_fifths() -> None:
    """Grey ramp 0 to 1 in 11 steps: the 90th percentile of the brightness is 0.9, which becomes 0.8."""
    ramp = np.repeat(np.linspace(0, 1, 11, dtype=np.float32).reshape(1, 11, 1), 3, axis=2)
    valid = np.ones((1, 11), bool)
    image = tone_mapped(ramp, valid)
    # (0.9 * 0.8 ** 2.2 / 0.9) ** (1 / 2.2) = 0.8, times 255 = 204; 1.0 gives 0.8 * (1 / 0.9) ** (1 / 2.2) = 0.8392.
    assert image[0, [0, 9, 10], 0].tolist() == [0, 204, 214]
    # A pixel that is not valid has no say in the exposure, and is shown by it.
    blinding = np.concatenate([ramp, np.full((1, 1, 3), 1e4, np.float32)], axis=1)
    image = tone_mapped(blinding, np.append(valid, [[False]], axis=1))
    assert image[0, [9, 11], 0].tolist() == [204, 255]


def test_tone_mapping_of_darkness_and_of_nothing() -> None:
    dark = np.full((2, 2, 3), 5e-5, np.float32)
    assert not tone_mapped(dark, np.ones((2, 2), bool)).any()
    # Nothing valid: the colour as it is, 0.5 ** (1 / 2.2) = 0.7297, times 255 = 186.08.
    assert (tone_mapped(np.full((2, 2, 3), 0.5, np.float32), np.zeros((2, 2), bool)) == 186).all()
    assert tone_mapped(np.full((1, 1, 3), -1.0, np.float32), np.zeros((1, 1), bool)).tolist() == [[[0, 0, 0]]]
