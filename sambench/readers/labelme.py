"""Outlines drawn with LabelMe, one XML file an image: ``annotation/object`` with ``name``, ``deleted`` and
``polygon/pt/{x,y}``. Files of the web tool are not always well-formed; they are read leniently."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from sambench.errors import DataError
from sambench.readers.polygons import Ring, ring

_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d+|#x[0-9a-fA-F]+);)")
_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, eq=False, slots=True)
class Outline:
    """One object. ``name``: as it stands, stripped. ``vertices``: ``(P, 2)`` xy in pixels, any number of them."""

    name: str
    deleted: bool
    vertices: Ring


def read_outlines(path: Path) -> list[Outline]:
    """The objects of a file, in its order. UTF-8, else Latin-1; a bare ``&`` and control characters are mended.

    Raises DataError: unreadable, not XML after that, or a coordinate that is not a finite number.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    # A declared encoding would be taken for that of the text, which is decoded already.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: holds a document type, which no LabelMe file has; refused")
    try:
        root = ElementTree.fromstring(_NOT_IN_XML.sub(" ", _BARE_AMPERSAND.sub("&amp;", text)))
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not XML that can be read ({error}); copy it again") from None
    outlines = []
    for number, entry in enumerate(root.iter("object"), start=1):
        try:
            points = [[float(pt.findtext(axis, "")) for axis in "xy"] for pt in entry.iterfind("polygon/pt")]
            vertices = ring(points)
        except ValueError:
            raise DataError(f"{path}: object {number} has a coordinate that is not a number") from None
        deleted = entry.findtext("deleted", "0").strip() == "1"
        outlines.append(Outline(entry.findtext("name", "").strip(), deleted, vertices))
    return outlines
