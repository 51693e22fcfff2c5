"""Images that lie in a folder or, still packed, in a zip archive of the folder's name."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sambench.errors import DataError, UsageError
from sambench.readers.files import list_folder, nfc
from sambench.readers.images import SUFFIXES, ImageFile, InMemory

MAX_BYTES = 1 << 29
"""A larger member is refused by its header, before anything is unpacked."""

_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)
"""What zipfile raises on damaged or encrypted archives and on methods that it does not know."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A file in an archive, by its full name there."""

    archive: Path
    name: str


def find_images(places: Iterable[Path], name: str) -> dict[str, Path | Packed]:
    """Images by file name (NFC): those in the folders ``name`` of the places, and those in the first ``name.zip``.

    Where one is found more than once, the earlier place wins, and an unpacked one before one in an archive. Raises
    UsageError: a damaged archive.
    """
    places = list(places)
    archive = next((at / f"{name}.zip" for at in places if (at / f"{name}.zip").is_file()), None)
    found: dict[str, Path | Packed] = {} if archive is None else dict(_members(archive))
    for folder in [at / name for at in reversed(places)]:
        if folder.is_dir():
            found |= {nfc(file): folder / file for file in sorted(list_folder(folder)) if _is_image(file)}
    return found


def opened(file: Path | Packed) -> ImageFile:
    """A file that was found as the functions of :mod:`sambench.readers.images` take it; out of an archive it is read
    whole, its checksum tested. Raises DataError."""
    if isinstance(file, Path):
        return file
    try:
        with zipfile.ZipFile(file.archive) as archive:
            info = archive.getinfo(file.name)
            if info.file_size > MAX_BYTES:
                raise DataError(f"{file.archive}:{file.name}: refused, it unpacks to {info.file_size} bytes")
            return InMemory(f"{file.archive}:{file.name}", archive.read(info))
    except KeyError:
        raise DataError(f"{file.archive}: holds no {file.name}") from None
    except _BROKEN as error:
        raise DataError(f"{file.archive}:{file.name}: cannot be read ({error}); get the archive again") from None


def _members(archive: Path) -> dict[str, Packed]:
    try:
        with zipfile.ZipFile(archive) as file:
            names = sorted(info.filename for info in file.infolist() if not info.is_dir())
    except _BROKEN as error:
        raise UsageError(f"{archive}: not a zip archive that can be read ({error}); get it again") from None
    found: dict[str, Packed] = {}
    for name in names:
        path = PurePosixPath(name)
        if not _is_image(path.name) or "__MACOSX" in path.parts:
            continue
        if nfc(path.name) in found:
            raise UsageError(f"{archive}: holds two files {path.name}, in different folders")
        found[nfc(path.name)] = Packed(archive, name)
    return found


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith(".")
