"""JSON files read in parts: the same values as a parser of the whole, and one line for each thing that can be wrong."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER
from hypothesis import given, settings
from hypothesis import strategies as st

from sambench.errors import DataError, UsageError
from sambench.readers.json import spans as json_spans
from sambench.readers.json.spans import JsonFile, open_json, within

TEXTS = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "[", "}", "],", '{"a":1', "é\u2028", "\U0001f600"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=8)
OBJECTS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=5)


def value_of(file: JsonFile) -> Any:
    """The whole content, put together from its parts."""
    top, inner = file.members()
    if not isinstance(top, dict):
        return top
    content = {}
    for key, part in top.items():
        if not isinstance(part, np.ndarray):
            content[key] = part
        elif file.is_array(part):
            content[key] = [entry for some in file.elements(part, within(part, inner)) for entry in some]
        else:
            (content[key],) = file.values(part[None])
    return content


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@given(
    st.dictionaries(TEXTS, SCALARS | st.dictionaries(TEXTS, VALUES, max_size=3) | OBJECTS, max_size=4),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 40),
)
@settings(max_examples=150)
def test_parts_make_the_whole(content: Any, indent: int | None, ascii: bool, block: int, chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_spans, "_BLOCK", block)
        patch.setattr(json_spans, "_CHUNK", chunk)
        text = json.dumps(content, indent=indent, ensure_ascii=ascii)
        file = open_json(written(Path(folder) / "a.json", text.encode("utf-8", "surrogatepass")))
        assert value_of(file) == json.loads(text)
        assert file.whole() == json.loads(text)


def test_more_parts_than_fit_at_once(tmp_path: Path) -> None:
    content = {"a": [{"k": [k], "s": "]" * (k % 3)} for k in range(70_000)], "b": {"c": []}, "d": []}
    file = open_json(written(tmp_path / "a.json", json.dumps(content).encode()))
    assert value_of(file) == content
    top, inner = file.members()
    spans = within(top["a"], inner)
    assert file.values(spans[[69_999, 4]]) == [content["a"][69_999], content["a"][4]]


def test_not_a_number_and_half_a_pair_are_read(tmp_path: Path) -> None:
    data = b'{"a": [{"x": NaN}, {"x": -Infinity}, {"x": "\\ud83d"}], "b": {"y": NaN}}'
    file = open_json(written(tmp_path / "a.json", data))
    found = value_of(file)
    assert np.isnan(found["a"][0]["x"])
    assert found["a"][1:] == [{"x": float("-inf")}, {"x": "\ud83d"}]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    content = {"a": [{"name": "屋顶 é"}], "b": 7}
    file = open_json(written(tmp_path / "a.json", json.dumps(content, ensure_ascii=False).encode(encoding)))
    assert value_of(file) == content


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (LFS_POINTER, "Git LFS pointer"),
        (b'{"a": [1,\n 2', r"not JSON \(it ends in the middle: the file is truncated, line 2 column 3\)"),
        (b'{"a": "\n\nx', r"truncated, line 3 column 2\)"),
        (b'{"a": 1}]', r"not JSON \(a bracket closes what was never opened, line 1 column 9\)"),
        (b'{"a": [{"b": 1}\n{"b": 2}]}', r"not JSON \(Expecting ',' delimiter, line 2 column 1\)"),
        (b'{"a": [{"b": 1},\n {"b": 2x}]}', r"line 2 column 9\)"),
        (b'{"a": [{"b": 1},]}', "not JSON"),
        (b'{"a": [{"b": 1],}}', "not JSON"),
        (b'{"a": [{"b": 1}, 7]}', "a list of objects holds something else as well"),
        (b'{"a": [7, {"b": 1}]}', "a list of objects holds something else as well"),
        (b'{"a": [{}]} {"a": [{}]}', "not JSON"),
        (b'{"a" [{}]}', "not JSON"),
        (b"hello", r"not JSON \(Expecting value, at its top level\)"),
        (b"\xff\xfe\x00", "not JSON"),
        (b'{"a": "\xff\xff"}', "not JSON"),
        (b'{"a": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "not JSON"),
    ],
)
def test_what_is_not_json(tmp_path: Path, data: bytes, message: str) -> None:
    path = written(tmp_path / "a.json", data)
    with pytest.raises(UsageError, match=message) as raised:
        value_of(open_json(path))
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json: no such file"):
        open_json(tmp_path / "gone.json")
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        open_json(tmp_path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", b'{"a": [{"b": 1}]}')
    file = open_json(path)
    top, inner = file.members()
    spans = within(top["a"], inner)
    written(path, b'{"a": [{"b": 2}]}')
    os.utime(path, ns=(0, file.stamp[1] + 1))
    with pytest.raises(DataError, match=r"a\.json: the file was changed while it was in use"):
        file.values(spans)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        file.values(spans)
