"""The cache of encodings: what comes out is what was put in or nothing, whatever happens to the folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from sambench.engine import encoding_cache
from sambench.engine.encoding_cache import EncodingCache, EncodingsSpec, Precision, key_of, parse_size, rounded
from sambench.errors import UsageError

Arrays = dict[str, NDArray[np.float32]]

KEY = "ab" + "0" * 62
ROOMY = 10**9


def key(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def arrays(number: int = 1, values: int = 50) -> Arrays:
    """Two arrays that follow from the number; all values are exact in float16 too."""
    line = (np.arange(values, dtype=np.float32) + number) % 2048
    return {"embedding": line.reshape(1, -1, 5), "detail": np.float32([number % 2048])}


def same(one: Arrays | None, other: Arrays | None) -> bool:
    """To the bit, NaN and the sign of zero included."""
    if one is None or other is None:
        return one is other
    return one.keys() == other.keys() and all(
        one[n].dtype == other[n].dtype == np.float32
        and one[n].shape == other[n].shape
        and one[n].tobytes() == other[n].tobytes()
        for n in one
    )


class Opened:
    """A cache and what it has said."""

    def __init__(self, folder: Path, limit: int = ROOMY, dtype: Precision = "float32") -> None:
        self.said: list[str] = []
        self.cache = EncodingCache(EncodingsSpec(folder, limit, dtype), self.said.append)
        self.get, self.put = self.cache.get, self.cache.put

    def said_once(self, *words: str) -> bool:
        (line,) = self.said
        return line.startswith("encodings: ") and "\n" not in line and all(word in line for word in words)


def path_of(folder: Path, key: str = KEY) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("??/*"))


def entries(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("??/*.safetensors")}


# --- keys and sizes ---------------------------------------------------------------------------------------------------

IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)


def test_a_key_by_hand() -> None:
    content = b"encoding-1" + b"9:(2, 4, 3)" + b"6:sam\xc3\xa9_" + b"0:" + bytes(range(24))
    assert key_of(IMAGE, "samé_", "") == hashlib.sha256(content).hexdigest()


def test_a_key_tells_everything_apart() -> None:
    changed = IMAGE.copy()
    changed[1, 3, 2] += 1
    keys = [
        key_of(IMAGE),
        key_of(changed),
        key_of(IMAGE.reshape(4, 2, 3)),
        key_of(IMAGE[:1]),
        key_of(IMAGE, ""),
        key_of(IMAGE, "ab"),
        key_of(IMAGE, "a", "b"),
        key_of(IMAGE, "b", "a"),
        key_of(IMAGE, "1:a", "b"),
        key_of(IMAGE, "1:a1:b"),
        key_of(IMAGE, "\udc80"),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(np.asfortranarray(IMAGE)) == key_of(IMAGE[::1]) == keys[0]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50GB", 50 * 10**9),
        ("50gb", 50 * 10**9),
        (" 1.5 TB ", 1_500_000_000_000),
        ("0.1GB", 10**8),
        ("512MiB", 512 * 2**20),
        ("2GiB", 2**31),
        ("3G", 3 * 10**9),
        ("7Ki", 7 * 1024),
        ("250kB", 250_000),
        ("123456789", 123_456_789),
        ("99B", 99),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "0", "0.1", "-5GB", "5XB", "5GBs", "1e9", "nan", "inf", "1,5GB", "5 5GB", "٣GB", "9" * 5000]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--encodings-size '.*': give a number and a unit, as in 50GB"):
        parse_size(text)


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_put_and_get(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    assert opened.get(KEY) is None
    opened.put(KEY, arrays())
    found = opened.get(KEY)
    assert same(found, arrays())
    assert found is not None
    found["embedding"] += 1  # the caller's
    assert same(opened.get(KEY), arrays())
    assert same(Opened(tmp_path).get(KEY), arrays())
    assert opened.said == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["ab", f"{KEY}.safetensors", "lock"]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_file_is_a_safetensors_file(tmp_path: Path, dtype: Precision) -> None:
    Opened(tmp_path, dtype=dtype).put(KEY, arrays())
    with safe_open(path_of(tmp_path), framework="np") as file:
        assert set(file.metadata()) == {"sambench", "key", "crc32"}
        assert file.metadata()["key"] == KEY
        assert {name: file.get_tensor(name).dtype.name for name in file.keys()} == {"embedding": dtype, "detail": dtype}  # noqa: SIM118


def test_arrays_in_any_order_of_memory(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    base = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    views = {"turned": base.T, "part": base[:, ::2, 1:3], "scalar": np.array(3, np.float32), "none": base[:0]}
    opened.put(KEY, views)
    assert same(opened.get(KEY), views)
    opened.put(key(1), {})
    assert opened.get(key(1)) == {}


ANY_ARRAYS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)),
    max_size=4,
)


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encodings")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(max_examples=100, deadline=None)
@given(put=ANY_ARRAYS)
def test_any_arrays_come_out_as_rounded_says(module_folder: Path, dtype: Precision, put: Arrays) -> None:
    opened = Opened(module_folder, dtype=dtype)
    expected = rounded(put, dtype)
    assert dtype == "float16" or same(expected, put)
    opened.put(KEY, put)
    assert same(opened.get(KEY), expected)
    assert same(rounded(expected, dtype), expected), "what was rounded once stays"
    opened.put(KEY, expected)
    assert same(opened.get(KEY), expected)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, 6, elements=st.floats(width=32) | st.sampled_from([65504.0, 65519.99609375, 65520.0])))
def test_an_array_is_rounded_exactly_if_float16_holds_it(values: NDArray[np.float32]) -> None:
    with np.errstate(all="ignore"):
        half = values.astype(np.float16)
    expected = half.astype(np.float32) if np.isfinite(half).all() else values
    assert same(rounded({"a": values}, "float16"), {"a": expected})


def test_float16_by_hand(tmp_path: Path) -> None:
    opened = Opened(tmp_path, dtype="float16")
    # Ten bits after the leading one: 1/3 = 1.0101010101|01...b * 2^-2 is cut there; 65519.996 is nearer to 65504 than
    # to 65536; half of the smallest number, 2^-24, is as near to 0, which is even.
    opened.put(KEY, {"a": np.float32([1 / 3, 65519.996, 2.0**-25, -0.0])})
    assert same(opened.get(KEY), {"a": np.float32([1365 / 4096, 65504, 0, -0.0])})
    assert opened.said == []


@pytest.mark.parametrize("value", [65520.0, -1e30, np.inf, np.nan])
def test_what_float16_cannot_hold_stays_float32(tmp_path: Path, value: float) -> None:
    opened = Opened(tmp_path, dtype="float16")
    put = {"large": np.float32([value, 1 / 3]), "small": np.float32([1 / 3])}
    expected = {"large": put["large"], "small": np.float32([1365 / 4096])}
    for n in range(2):
        opened.put(key(n), put)
        assert same(opened.get(key(n)), expected)
    assert same(rounded(put, "float16"), expected)
    assert opened.said_once("float16 cannot hold")


def test_one_folder_for_both_precisions(tmp_path: Path) -> None:
    exact, half = Opened(tmp_path), Opened(tmp_path, dtype="float16")
    third = {"a": np.float32([1 / 3]), "b": np.float32([1e9])}
    half.put(KEY, third)
    assert exact.get(KEY) is None
    exact.put(KEY, third)
    assert same(exact.get(KEY), third)
    assert same(half.get(KEY), rounded(third, "float16"))
    assert exact.said == []


def test_what_is_no_encoding_or_no_key_is_an_error_of_the_program(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    for wrong in ({"a": np.zeros(3)}, {"a": np.zeros(3, ">f4")}, {"__metadata__": np.zeros(3, np.float32)}):
        with pytest.raises(ValueError, match="float32 arrays by plain names"):
            opened.put(KEY, wrong)
    for wrong_key in ("", "../" * 20, KEY.upper(), KEY + "0", KEY[:-1] + "\n"):
        with pytest.raises(ValueError, match="is not a key"):
            opened.get(wrong_key)
        with pytest.raises(ValueError, match="is not a key"):
            opened.put(wrong_key, arrays())
    assert not list(tmp_path.iterdir())


def test_a_spec_travels() -> None:
    spec = EncodingsSpec(Path("somewhere"), 10**9, "float16")
    assert pickle.loads(pickle.dumps(spec)) == spec


# --- files that are not what they should be ---------------------------------------------------------------------------


def test_any_changed_or_missing_byte_is_found(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.put(KEY, {"a": np.float32([1, 2]), "b": np.float32([[3]])})
    path = path_of(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for change in (0x01, 0x20, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
            assert opened.get(KEY) is None, place
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert opened.get(KEY) is None, length
        path.write_bytes(whole[:length] + bytes(len(whole) - length))  # as a power cut leaves it
        assert opened.get(KEY) is None or bytes(len(whole) - length) == whole[length:], length
    path.write_bytes(whole + b"\0")
    assert opened.get(KEY) is None
    assert opened.said_once(KEY, "damaged")


def _other(content: Arrays | dict[str, NDArray[Any]], **changes: str) -> bytes:
    return save(content, encoding_cache._metadata(KEY, content) | changes)


def _header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(64)


def _padded(whole: bytes, more: int) -> bytes:
    """The same tensors and metadata, with spaces after the header."""
    length = int.from_bytes(whole[:8], "little")
    return (length + more).to_bytes(8, "little") + whole[8 : 8 + length] + b" " * more + whole[8 + length :]


STRANGE = {
    "empty": b"",
    "text": b"hello, this is no encoding",
    "another program's": save(arrays()),
    "another key's": _other(arrays(), key=key(1)),
    "another version's": _other(arrays(), sambench="encoding-0"),
    "more metadata": _other(arrays(), surplus="x"),
    "integers": _other({"a": np.arange(5)}),
    "a header beyond the end": _header(b"{}", 2**63),
    "a header of 99 MB": _header(b" " * 10, 99_000_000),
    "a header of 2 MB": _padded(_other(arrays()), 2_000_000),
    "a deep header": _header(b"[" * 500_000),
    "a list": _header(b"[1, 2]"),
    "long numbers": _header(b'{"__metadata__": ' + b"9" * 10_000 + b"}"),
    "tensors beyond the end": _header(
        json.dumps(
            {"__metadata__": {}, "a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 2**64 - 1]}}
        ).encode()
    ),
    "an unknown dtype": _header(
        json.dumps({"__metadata__": {}, "a": {"dtype": "BF16", "shape": [32], "data_offsets": [0, 64]}}).encode()
    ),
}


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE.keys())
def test_a_strange_file_is_a_miss_and_replaced(tmp_path: Path, content: bytes) -> None:
    opened = Opened(tmp_path)
    for key_here in (KEY, key(1)):
        path_of(tmp_path, key_here).parent.mkdir()
        path_of(tmp_path, key_here).write_bytes(content if key_here == KEY else b"torn")
        assert opened.get(key_here) is None
        opened.put(key_here, arrays())
        assert same(opened.get(key_here), arrays())
    assert opened.said_once(f"{KEY}.safetensors is damaged or not an encoding")


def test_no_waiting_for_a_pipe_and_no_reading_of_what_is_too_large(tmp_path: Path) -> None:
    opened = Opened(tmp_path, limit=10_000)
    path_of(tmp_path).parent.mkdir()
    os.mkfifo(path_of(tmp_path))
    assert opened.get(KEY) is None
    assert opened.said_once("not an encoding")
    large = "ab" + "1" * 62
    with path_of(tmp_path, large).open("wb") as file:
        file.truncate(1 << 43)  # sparse: takes no room
    assert opened.get(large) is None
    opened.put(large, arrays())
    assert same(opened.get(large), arrays())


def test_a_folder_or_a_loop_in_the_place_of_a_file(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    path_of(tmp_path).mkdir(parents=True)
    (path_of(tmp_path) / "something").touch()
    for _ in range(2):
        assert opened.get(KEY) is None
        opened.put(KEY, arrays())
    assert [line.split()[2] for line in opened.said] == ["read", "write"]
    assert not list(tmp_path.rglob("*.tmp"))
    opened, loop = Opened(tmp_path), "cd" + "0" * 62
    path_of(tmp_path, loop).parent.mkdir()
    path_of(tmp_path, loop).symlink_to(path_of(tmp_path, loop))
    assert opened.get(loop) is None
    assert opened.said_once("cannot read", loop)
    opened.put(loop, arrays())
    assert same(Opened(tmp_path).get(loop), arrays())


# --- the limit --------------------------------------------------------------------------------------------------------

SIZE = len(_other(arrays()))
"""Bytes of a file of any of these arrays."""


def filled(folder: Path, count: int, first_date: float = 1e9) -> list[str]:
    """So many entries, each dated a second after the one before."""
    opened = Opened(folder)
    keys = [key(n) for n in range(count)]
    for n, one in enumerate(keys):
        opened.put(one, arrays(n))
        os.utime(path_of(folder, one), (first_date + n, first_date + n))
    return keys


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    keys = filled(tmp_path, 20)
    opened = Opened(tmp_path, limit=20 * SIZE)
    for used in (0, 3):
        assert same(opened.get(keys[used]), arrays(used))
    opened.put(key(20), arrays())
    # 21 entries are more than 20 * SIZE; 18 are 90 % of it: three go, and the ones just used are not among them.
    assert set(keys) - entries(tmp_path) == {keys[1], keys[2], keys[4]}
    assert key(20) in entries(tmp_path)


def test_within_the_limit_nothing_goes(tmp_path: Path) -> None:
    keys = filled(tmp_path, 19)
    Opened(tmp_path, limit=20 * SIZE).put(key(20), arrays())
    assert entries(tmp_path) == {*keys, key(20)}


def test_a_use_is_noted_once_in_a_while(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.put(KEY, arrays())
    now = time.time()
    for age, touched in ((60, False), (3600, True), (-60, False), (-3600, True)):
        os.utime(path_of(tmp_path), (now - age, now - age))
        opened.get(KEY)
        assert (abs(path_of(tmp_path).stat().st_mtime - now) < 50) == touched, age


@pytest.mark.parametrize("dates", ["all in the future", "some in the future", "all equal", "before 1970"])
def test_whatever_the_dates_there_is_room_in_the_end(tmp_path: Path, dates: str) -> None:
    keys = filled(tmp_path, 40)
    for n, one in enumerate(keys):
        date = {
            "all in the future": time.time() + 1e8 + n,
            "some in the future": time.time() + (1e8 if n % 2 else -1e8) + n,
            "all equal": 1e9,
            "before 1970": -1e6 - n,
        }[dates]
        os.utime(path_of(tmp_path, one), (date, date))
    opened = Opened(tmp_path, limit=20 * SIZE)
    opened.put(key(40), arrays())
    assert held(tmp_path) == 18 * SIZE
    assert key(40) in entries(tmp_path), "the newest by the clock as it is now"
    if dates == "some in the future":
        assert {keys[n] for n in range(40) if n % 2 == 0} >= entries(tmp_path) - {key(40)}


def test_only_files_of_the_cache_are_ever_deleted(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    own = key(0)
    foreign = [
        tmp_path / f"{own}.safetensors",
        tmp_path / "photos" / f"{own}.safetensors",
        tmp_path / own[:2] / "notes.txt",
        tmp_path / own[:2] / "model.safetensors",
        tmp_path / own[:2] / f"{own}.safetensors.bak",
        tmp_path / own[:2] / f".{own}.tmp",
        tmp_path / own[:2] / "deeper" / f"{own}.safetensors",
        tmp_path / "AB" / f"{own}.safetensors",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(5000))
        os.utime(path, (1, 1))
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(5000))
    link = tmp_path / own[:2] / ("e" * 64 + ".safetensors")
    link.symlink_to(outside)
    opened = Opened(tmp_path, limit=10 * SIZE)
    opened.put(key(20), arrays())
    assert len(entries(tmp_path) & {key(n) for n in range(1, 21)}) == 9
    assert all(path.read_bytes() == bytes(5000) for path in [*foreign, outside])
    assert link.is_symlink()
    assert opened.said == []


def test_part_written_files_go_when_they_are_old(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    now = time.time()
    ages = {"0": 30, "1": 3000, "2": 4000, "3": 1e7, "4": -1e7}
    for name, age in ages.items():
        path = tmp_path / "ab" / f".{KEY}.{name * 16}.tmp"
        path.write_bytes(bytes(100))
        os.utime(path, (now - age, now - age))
    Opened(tmp_path).put(KEY, arrays())
    assert sorted(path.name[66] for path in tmp_path.glob("ab/.*.tmp")) == ["0", "1", "4"]


def test_an_encoding_that_would_push_out_all_others_is_not_kept(tmp_path: Path) -> None:
    keys = filled(tmp_path, 10)
    opened = Opened(tmp_path, limit=10 * SIZE - 1)
    for n in range(2):
        opened.put(key(100 + n), arrays())
        assert opened.get(key(100 + n)) is None
    assert entries(tmp_path) == set(keys)
    assert opened.said_once(f"{SIZE} bytes is more than {SIZE - 1}", "more --encodings-size")


@pytest.mark.parametrize("processes", [1, 5])
def test_the_bound(tmp_path: Path, processes: int) -> None:
    """Limit, and a fiftieth of it for each process, whatever the order in which they write."""
    rng, limit = random.Random(processes), 200 * SIZE
    opened = [Opened(tmp_path, limit=limit) for _ in range(processes)]
    most = 0
    for n in range(800):
        rng.choice(opened).put(key(n), arrays(n))
        if n % 7 == 0 or n > 780:
            most = max(most, held(tmp_path))
            assert most <= limit + processes * limit // 50
    assert most > 0.95 * limit
    assert held(tmp_path) >= 0.9 * limit - SIZE


def test_who_does_not_get_the_lock_goes_on_and_tries_again(tmp_path: Path) -> None:
    filled(tmp_path, 120)
    opened = Opened(tmp_path, limit=100 * SIZE)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        opened.put(key(120), arrays())
        assert len(entries(tmp_path)) == 121
    opened.put(key(121), arrays())  # not only after another fiftieth, two entries
    assert len(entries(tmp_path)) == 90
    assert opened.said == []


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, 20)

    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    opened = Opened(tmp_path, limit=10 * SIZE)
    for n in range(20, 24):
        opened.put(key(n), arrays())
    assert len(entries(tmp_path)) <= 10
    assert opened.said_once("cannot lock", "No locks available")


def test_a_folder_where_nothing_can_be_deleted_grows_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = filled(tmp_path, 20)

    def stuck(path: Any, **more: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

    opened = Opened(tmp_path, limit=10 * SIZE)
    with monkeypatch.context() as failing:
        failing.setattr(os, "unlink", stuck)
        for n in range(20, 24):
            opened.put(key(n), arrays())
    assert entries(tmp_path) == {*keys, key(20)}
    assert opened.said_once(f"cannot write {path_of(tmp_path, keys[0])}: Operation not permitted", "going on without")
    assert same(opened.get(keys[5]), arrays(5)), "reading goes on"
    Opened(tmp_path, limit=10 * SIZE).put(key(24), arrays())
    assert entries(tmp_path) == {keys[5], *keys[14:], key(20), key(24)}


# --- bad circumstances ------------------------------------------------------------------------------------------------


def spec(folder: Path, limit: int = ROOMY) -> EncodingsSpec:
    return EncodingsSpec(folder, limit, "float32")


def test_a_folder_is_made_and_nothing_left_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        EncodingCache.check(spec(tmp_path / "a" / "b", 100_000_000))
        assert not list((tmp_path / "a" / "b").iterdir())


def test_folders_and_limits_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="99,999,999 bytes are too few for a cache; give at least 100MB"):
        EncodingCache.check(spec(tmp_path, 99_999_999))
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match=r"cannot write .*; choose another --encodings"):
            EncodingCache.check(spec(folder))


@contextmanager
def unwritable() -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder in which this process, root or not, can only read, and what ends that."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Opened(folder).put(KEY, arrays())

        def end() -> None:
            os.seteuid(user)
            folder.chmod(0o755)

        (folder / "ab").chmod(0o755)
        folder.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            if not os.access(folder, os.R_OK, effective_ids=True):
                pytest.skip("the folder of temporary files is closed to others")
            yield folder, end
        finally:
            end()


def test_a_folder_without_permission() -> None:
    with unwritable() as (folder, end):
        with pytest.raises(UsageError, match="Permission denied; choose another --encodings"):
            EncodingCache.check(spec(folder))
        opened = Opened(folder)
        for n in range(3):
            opened.put(key(n), arrays())
            assert same(opened.get(KEY), arrays()), "reading goes on"
        assert opened.said_once("cannot write", "Permission denied", "going on without keeping encodings")
        end()
        opened = Opened(folder)
        opened.put(key(5), arrays())
        assert same(opened.get(key(5)), arrays())


def refuse(monkeypatch: pytest.MonkeyPatch, number: int, only: str = "") -> list[str]:
    """Lets every opening of a file fail with that error; answers a list that grows with each."""
    refused: list[str] = []

    def failing(path: Any, *more: Any, **settings: Any) -> Any:
        if only in str(path):
            refused.append(str(path))
            raise OSError(number, os.strerror(number))
        return open(path, *more, **settings)

    monkeypatch.setattr(encoding_cache, "open", failing, raising=False)
    return refused


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EROFS, errno.EDQUOT, errno.EMFILE, errno.EACCES]
)
def test_after_a_failure_a_process_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    opened = Opened(tmp_path)
    opened.put(KEY, arrays())
    with monkeypatch.context() as failing:
        refused = refuse(failing, number, only=str(tmp_path))
        for n in range(5):
            assert opened.get(KEY) is None
            opened.put(key(n), arrays())
        assert len(refused) == 2, "one reading, one writing: a file system may take minutes over each"
    for n in range(5):
        assert opened.get(KEY) is None
        opened.put(key(n), arrays())
    assert entries(tmp_path) == {KEY}
    assert [line.partition(str(tmp_path))[0] for line in opened.said] == [
        "encodings: cannot read ",
        "encodings: cannot write ",
    ]
    assert all("going on without" in line and "\n" not in line for line in opened.said)
    assert same(Opened(tmp_path).get(KEY), arrays()), "the next process tries again"


def test_a_file_that_cannot_be_read_does_not_end_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(tmp_path)
    opened.put(KEY, arrays())
    refuse(monkeypatch, errno.EACCES, only=f"{KEY}.safetensors")
    for n in range(2):
        assert opened.get(KEY) is None
        opened.put(key(n), arrays(n))
    assert opened.said_once("cannot read", KEY, "Permission denied", "going on without reading encodings")
    assert same(Opened(tmp_path).get(key(1)), arrays(1))


def test_deleted_by_another_machine_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Opened(tmp_path)
    opened.put(KEY, arrays())
    with monkeypatch.context() as failing:
        refuse(failing, errno.ESTALE)
        assert opened.get(KEY) is None
    assert same(opened.get(KEY), arrays())
    assert opened.said == []


def test_a_folder_that_is_removed_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    opened = Opened(folder)
    opened.put(KEY, arrays())
    shutil.rmtree(folder)
    for n in range(3):
        assert opened.get(KEY) is None
        opened.put(key(n), arrays())
    assert opened.said_once("cannot write", "No such file or directory")
    assert not folder.exists()


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_of_file_sizes(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    opened = Opened(tmp_path)
    file_size_limit(400)
    for _ in range(2):
        opened.put(KEY, arrays())
        assert opened.get(KEY) is None
    assert opened.said_once("cannot write", "a file size limit is hit")
    assert not list(tmp_path.glob("ab/*"))
    file_size_limit(10_000)
    opened = Opened(tmp_path)
    opened.put(KEY, arrays())
    assert same(opened.get(KEY), arrays())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_tmpfs(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        opened = Opened(tmp_path)
        for n in range(12):
            opened.put(key(n), arrays(n, values=2000))
        there = [n for n in range(12) if opened.get(key(n)) is not None]
        assert 2 < len(there) < 10
        assert all(same(opened.get(key(n)), arrays(n, values=2000)) for n in there)
        assert opened.said_once("cannot write", "the disk is full")
        assert not list(tmp_path.glob("??/.*"))
        subprocess.run(["mount", "-o", "remount,size=1m", tmp_path], check=True)
        opened = Opened(tmp_path)
        opened.put(key(11), arrays(11))
        assert same(opened.get(key(11)), arrays(11))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# --- many at once -----------------------------------------------------------------------------------------------------

HAMMER = r"""
import os, random, sys, threading
from pathlib import Path
import numpy as np
from sambench.engine.encoding_cache import EncodingCache, EncodingsSpec, key_of

assert "torch" not in sys.modules
folder, seed, rounds, limit = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cache = EncodingCache(EncodingsSpec(Path(folder), limit, "float32"), lambda line: sys.exit(line))
wrong, found_any = [], []

def content(n):
    return {"a": np.full(1000 + n, n, np.float32), "b": np.arange(n, dtype=np.float32)}

def work(seed):
    rng = random.Random(seed)
    for _ in range(rounds):
        n = rng.randrange(60)
        key, expected = key_of(np.full((1, 1, 3), n, np.uint8)), content(n)
        found = cache.get(key)
        if found is None:
            cache.put(key, expected)
            os.write(1, b"put\n")  # print is not atomic among threads
        elif any(not np.array_equal(found[name], expected[name]) for name in ("a", "b")) or len(found) != 2:
            wrong.append(n)
        else:
            found_any.append(n)

threads = [threading.Thread(target=work, args=(10 * seed + k,)) for k in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong, wrong
assert 0 < len(found_any) < 2 * rounds
"""


def hammer(folder: Path, seed: int, rounds: int, limit: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HAMMER, str(folder), str(seed), str(rounds), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


HAMMERED = 40 * 4300
"""Bytes: about forty of the sixty entries, so that all the time some are deleted while others are read."""


def all_sound(folder: Path) -> bool:
    """Whether every entry is what belongs to its key."""
    reader = Opened(folder)
    for n in range(60):
        found = reader.get(key_of(np.full((1, 1, 3), n, np.uint8)))
        if found is not None and not same(
            found, {"a": np.full(1000 + n, n, np.float32), "b": np.arange(n, dtype=np.float32)}
        ):
            return False
    return reader.said == []


def test_several_processes_on_one_small_cache(tmp_path: Path) -> None:
    hammers = [hammer(tmp_path, seed, 700, HAMMERED) for seed in range(3)]
    errors = [one.communicate(timeout=300)[1] for one in hammers]
    assert errors == [b"", b"", b""]
    assert [one.returncode for one in hammers] == [0, 0, 0]
    assert all_sound(tmp_path)
    Opened(tmp_path, limit=HAMMERED).put(KEY, arrays())
    assert 0.85 * HAMMERED < held(tmp_path) <= HAMMERED
    assert not list(tmp_path.glob("??/.*"))


def test_killed_writers_leave_nothing_wrong(tmp_path: Path) -> None:
    rng = random.Random(3)
    for seed in range(5):
        writer = hammer(tmp_path, seed, 10**9, HAMMERED)
        assert writer.stdout is not None
        for _ in range(rng.randrange(1, 200)):
            assert writer.stdout.readline() == b"put\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.communicate(timeout=60)[1] == b""
        assert all_sound(tmp_path)
    # What they left goes in an hour, and the lock of a dead process is no lock.
    for path in tmp_path.glob("??/.*"):
        os.utime(path, (1, 1))
    Opened(tmp_path, limit=HAMMERED).put(KEY, arrays())
    assert not list(tmp_path.glob("??/.*"))
    assert held(tmp_path) <= HAMMERED


def test_threads_of_one_cache(tmp_path: Path) -> None:
    """One line said, whoever meets the trouble first."""
    shutil.rmtree(tmp_path)
    opened = Opened(tmp_path)

    def work(first: int) -> None:
        for n in range(first, first + 50):
            opened.put(key(n), arrays(n))
            assert opened.get(key(n)) is None

    threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened.said_once("cannot write")
