"""LabelMe's XML, as its web tool left it on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from sambench.errors import DataError
from sambench.readers.labelme import read_outlines

TRIANGLE = "<polygon><pt><x> 1 </x><y>2.5</y></pt><pt><x>3</x><y>4</y></pt>\r\n<pt><x>-5</x><y>6</y></pt></polygon>"


def written(path: Path, body: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(f"<annotation>{body}</annotation>".encode(encoding))
    return path


def test_outlines_in_file_order(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.xml",
        f"<object><name> Left hand\r\n</name><deleted>0</deleted>{TRIANGLE}</object>"
        f"<object><name>x</name><deleted> 1 </deleted>{TRIANGLE}</object><object>{TRIANGLE}</object><object/>",
    )
    first, second, third, fourth = read_outlines(path)
    assert (first.name, first.deleted, first.vertices.tolist()) == ("Left hand", False, [[1, 2.5], [3, 4], [-5, 6]])
    assert (second.name, second.deleted) == ("x", True)
    assert (third.name, third.deleted) == ("", False)
    assert fourth.vertices.shape == (0, 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("declared", ["", '<?xml version="1.0" encoding="UTF-8"?>\n', '<?xml version="1.0"?>'])
def test_what_is_mended(tmp_path: Path, encoding: str, declared: str) -> None:
    path = tmp_path / "a.xml"
    text = f"{declared}<annotation><object><name>été & thé &amp; \x0b&#233;</name>{TRIANGLE}</object></annotation>"
    path.write_bytes(text.encode(encoding))
    assert read_outlines(path)[0].name == "été & thé &  é"


@pytest.mark.parametrize("value", ["nan", "inf", "", "1,5", "one"])
def test_coordinates_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "a.xml", f"<object/><object>{TRIANGLE.replace('2.5', value)}</object>")
    with pytest.raises(DataError, match=r"a\.xml: object 2 has a coordinate that is not a number"):
        read_outlines(path)


def test_broken_files(tmp_path: Path) -> None:
    for body, message in (("<object>", "not XML that can be read"), ("", "not XML"), ("\0\1", "not XML")):
        path = tmp_path / "a.xml"
        path.write_text(body)
        with pytest.raises(DataError, match=message) as raised:
            read_outlines(path)
        assert "\n" not in str(raised.value)
    (tmp_path / "bomb.xml").write_text('<!DOCTYPE a [<!ENTITY b "bbbb">]><annotation>&b;</annotation>')
    with pytest.raises(DataError, match="refused"):
        read_outlines(tmp_path / "bomb.xml")
    with pytest.raises(DataError, match=r"gone\.xml: no such file"):
        read_outlines(tmp_path / "gone.xml")
    with pytest.raises(DataError, match="cannot be read"):
        read_outlines(tmp_path)
