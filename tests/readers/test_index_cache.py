"""The cache of indexes: used when it is sound, made again when it is not, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sambench.errors import UsageError
from sambench.readers import index_cache
from sambench.readers.index_cache import Arrays, cached, folder

DIGEST = "0" * 64


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    assert folder() == tmp_path / "cache" / "index"
    return folder()


def maker(calls: list[int], value: int = 7) -> Callable[[], Arrays]:
    def make() -> Arrays:
        calls.append(value)
        return {"a": np.full((3, 2), value), "b": np.frombuffer(b"text", np.uint8), "c": np.zeros((0, 2))}

    return make


def is_sevens(found: Arrays) -> bool:
    return (
        set(found) == {"a", "b", "c"}
        and np.array_equal(found["a"], np.full((3, 2), 7))
        and found["b"].tobytes() == b"text"
        and found["c"].shape == (0, 2)
    )


def test_made_once(at: Path) -> None:
    calls: list[int] = []
    for _ in range(3):
        assert is_sevens(cached("kind-1", DIGEST, maker(calls)))
    assert calls == [7]
    assert [path.name for path in at.iterdir()] == [f"kind-1-{DIGEST}.npz"]


def test_other_content_and_other_versions_are_other_entries(at: Path) -> None:
    calls: list[int] = []
    cached("kind-1", DIGEST, maker(calls))
    cached("kind-2", DIGEST, maker(calls))
    cached("kind-1", "1" * 64, maker(calls))
    assert calls == [7, 7, 7]
    assert len(list(at.iterdir())) == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "every byte", "pickle", "folder"])
def test_damaged_entries_are_made_again(at: Path, damage: str) -> None:
    calls: list[int] = []
    cached("kind-1", DIGEST, maker(calls))
    (path,) = at.iterdir()
    whole = path.read_bytes()
    if damage == "every byte":
        # Any of them changed: the checksum says so, or it is one that nobody reads.
        for place in range(0, len(whole), 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
            assert is_sevens(cached("kind-1", DIGEST, maker(calls)))
        return
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "pickle":
        with path.open("wb") as file:
            np.savez(file, a=np.array([{}], dtype=object))
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello"}[damage])
    for _ in range(2):
        assert is_sevens(cached("kind-1", DIGEST, maker(calls)))
    assert calls == [7, 7, 7] if damage == "folder" else [7, 7]


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "file"))
    calls: list[int] = []
    assert is_sevens(cached("kind-1", DIGEST, maker(calls)))
    assert is_sevens(cached("kind-1", DIGEST, maker(calls)))
    assert calls == [7, 7]


def test_errors_of_the_maker_come_through_and_leave_nothing(at: Path) -> None:
    def fail() -> Arrays:
        raise UsageError("not usable")

    with pytest.raises(UsageError, match="not usable"):
        cached("kind-1", DIGEST, fail)
    assert not at.exists()


def test_what_was_not_used_for_longest_goes_first(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    for number in range(3):
        cached("kind-1", str(number) * 64, maker(calls))
        os.utime(at / f"kind-1-{str(number) * 64}.npz", (1000 + number, 1000 + number))
    size = (at / f"kind-1-{'0' * 64}.npz").stat().st_size
    cached("kind-1", "0" * 64, maker(calls))  # used: the newest now
    monkeypatch.setattr(index_cache, "MAX_BYTES", 2 * size)
    cached("kind-1", "3" * 64, maker(calls))
    assert sorted(path.name[7] for path in at.iterdir()) == ["0", "3"]
    monkeypatch.setattr(index_cache, "MAX_BYTES", 0)
    cached("kind-1", "4" * 64, maker(calls))
    assert [path.name[7] for path in at.iterdir()] == ["4"]  # the one just made stays in any case


def test_what_crashed_writers_left_goes(at: Path) -> None:
    at.mkdir(parents=True)
    for name, age in ((".old.tmp", 3 * 24 * 3600), (".new.tmp", 60)):
        (at / name).write_text("part")
        os.utime(at / name, (time.time() - age,) * 2)
    cached("kind-1", DIGEST, maker([]))
    assert sorted(path.name for path in at.iterdir()) == [".new.tmp", f"kind-1-{DIGEST}.npz"]


WRITER = """
import sys, numpy as np
from sambench.readers.index_cache import cached
for k in range(150):
    found = cached("kind-1", str(k % 3) * 64, lambda: {"a": np.full(5000, k % 3)})
    assert (found["a"] == k % 3).all() and len(found["a"]) == 5000, k
    if k % 5 == int(sys.argv[1]):
        from sambench.readers.index_cache import folder
        for path in folder().glob("*.npz"):
            path.unlink(missing_ok=True)
"""


def test_several_writers_at_once() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(k)], stderr=subprocess.PIPE) for k in range(3)]
    errors = [writer.communicate(timeout=300)[1] for writer in writers]
    assert errors == [b"", b"", b""]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert not list(folder().glob("*.tmp"))
