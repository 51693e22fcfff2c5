"""Unpacks archives of strangers: into one folder and nowhere else, with limits, all or nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, NoReturn, Protocol

from sambench.atomic_files import output_error
from sambench.errors import SambenchError, UsageError

ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
"""What can be unpacked, by the end of its name in lower case."""

_CHUNK = 1 << 20
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, NotImplementedError)
"""What the standard library raises on damaged archives. ValueError and NotImplementedError: nonsense in headers, and
methods that it does not know. gzip and bz2 raise OSErrors without a number, see :func:`_one_line`."""


class DamagedError(SambenchError):
    """The archive cannot be read to its end: cut off or damaged on its way."""


@dataclass(frozen=True)
class Limits:
    """Beyond these an archive is refused as a bomb. ``entries``: names in it. ``ratio``: bytes out for each byte in,
    looked at from ``ratio_from`` bytes out (small archives of flat masks shrink a lot and harm nobody). ``total``:
    bytes out; the free space of the disk limits them besides."""

    entries: int = 3_000_000
    ratio: int = 200
    ratio_from: int = 1 << 30
    total: int = 4 << 40


class Progress(Protocol):
    """Told how many more bytes have been written."""

    def __call__(self, more: int, /) -> object: ...


@dataclass(frozen=True)
class _Entry:
    """``name``: as the archive says it. ``size``: bytes when unpacked. ``target``: of a link, as text."""

    name: str
    kind: Literal["file", "folder", "symlink", "hardlink"]
    size: int = 0
    target: str = ""
    read: Callable[[], IO[bytes] | None] | None = None


def can_unpack(name: str) -> bool:
    """Whether a file of this name is an archive of a kind that :func:`unpack` reads."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, into: Path, limits: Limits = Limits(), progress: Progress | None = None) -> int:
    """Unpacks a zip or tar file into a new folder; answers how many files it wrote.

    Refused, each with its name: paths that are absolute or lead out, links that do, devices, two names that some file
    systems hold for one, encryption, more than the limits or the disk allow. Owners and permissions are not restored.
    Raises UsageError (refused, or ``into`` exists), DamagedError, OutputError; ``into`` does not exist then.
    """
    if into.exists():
        raise UsageError(f"{into} exists already: remove it")
    with _one_line(archive, into):
        into.mkdir(parents=True)
        try:
            writer = _Writer(archive, into, limits, progress)
            if archive.name.lower().endswith(".zip"):
                with zipfile.ZipFile(archive) as zipped:
                    writer.check_size(sum(info.file_size for info in zipped.infolist()))
                    writer.write(_zip_entries(zipped, archive))
            else:
                writer.check_size(writer.packed)
                with _decompressed(archive) as stream:
                    tail: Any = _Tail(stream)  # tarfile needs no more of a file than read
                    # "r|": read once from the beginning, never back.
                    with tarfile.open(fileobj=tail, mode="r|") as tarred:
                        writer.write(_tar_entries(tarred, archive))
                    tail.check_end()
            if not writer.files:
                raise EOFError("it holds no file")
            return len(writer.files)
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise


@contextmanager
def _one_line(archive: Path, into: Path) -> Iterator[None]:
    try:
        yield
    except SambenchError:
        raise
    except _BROKEN as error:
        raise DamagedError(f"{archive} is damaged or cut off ({_first_line(error)})") from error
    except OSError as error:
        # gzip and bz2 raise OSError without a number for bad data; one with a number is the file system's.
        if error.errno is None:
            raise DamagedError(f"{archive} is damaged or cut off ({_first_line(error)})") from error
        raise output_error(into, error) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


class _Writer:
    """Writes the entries of one archive, files first and links last, so that nothing is written through a link."""

    def __init__(self, archive: Path, into: Path, limits: Limits, progress: Progress | None) -> None:
        self.archive, self.into, self.limits, self.progress = archive, into, limits, progress
        self.packed = archive.stat().st_size
        self.written = 0
        self.files: dict[str, str] = {}

    def write(self, entries: Iterator[_Entry]) -> None:
        later: list[tuple[PurePosixPath, _Entry]] = []
        announced = 0
        for count, entry in enumerate(entries, 1):
            if count > self.limits.entries:
                self.refuse(f"more than {self.limits.entries} entries")
            announced += entry.size
            self.check_size(announced)
            path = self.safe(entry.name)
            if path is None:
                continue
            if entry.kind == "folder":
                self.make_folder(path)
                continue
            self.check_name(path)
            self.make_folder(path.parent)
            if entry.kind == "file":
                self.write_file(path, entry)
            else:
                later.append((path, entry))
        for path, entry in later:
            self.link(path, entry)

    def refuse(self, what: str) -> NoReturn:
        raise UsageError(f"{self.archive}: refused, {what}; nothing of it was kept")

    def check_size(self, total: int) -> None:
        """``total``: bytes written, or that the entries so far announce."""
        if total > self.limits.total:
            self.refuse(f"it unpacks to more than {self.limits.total} bytes")
        if total > self.limits.ratio_from and total > self.limits.ratio * self.packed:
            self.refuse(f"it unpacks to more than {self.limits.ratio} times its size, as a bomb does")
        # What is written has gone from the free space already.
        if total - self.written > shutil.disk_usage(self.into).free:
            raise UsageError(f"{self.archive}: not enough free disk space at {self.into.parent} to unpack it")

    def safe(self, name: str) -> PurePosixPath | None:
        """The path within the folder; None for the folder itself."""
        if "\0" in name or name.startswith("/") or name[1:2] == ":":
            self.refuse(f"entry {name!r} has an absolute or impossible path")
        path = PurePosixPath(name)
        if ".." in path.parts:
            self.refuse(f"entry {name!r} leads out of its folder")
        return path if path.parts else None

    def check_name(self, path: PurePosixPath) -> None:
        """No two names that a file system which ignores letter case or Unicode's forms would hold for one."""
        key = unicodedata.normalize("NFC", str(path)).casefold()
        if key in self.files:
            twin = self.files[key]
            what = "is in it twice" if twin == str(path) else f"and {twin!r} differ in letter case only"
            self.refuse(f"entry {str(path)!r} {what}")
        self.files[key] = str(path)

    def make_folder(self, path: PurePosixPath) -> None:
        try:
            (self.into / path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            self.refuse(f"entry {str(path)!r} is a file and a folder")

    def write_file(self, path: PurePosixPath, entry: _Entry) -> None:
        source = entry.read() if entry.read is not None else None
        assert source is not None  # every entry of this kind can be read
        announced = self.written + entry.size
        try:
            out = (self.into / path).open("xb")
        except (FileExistsError, IsADirectoryError):
            self.refuse(f"entry {str(path)!r} is a file and a folder")
        with source, out:
            while chunk := source.read(_CHUNK):
                self.written += len(chunk)
                if self.written > announced:
                    self.refuse(f"entry {str(path)!r} is longer than it says")
                self.check_size(self.written)
                out.write(chunk)
                if self.progress is not None:
                    self.progress(len(chunk))
        if self.written != announced:
            raise EOFError(f"entry {str(path)!r} is shorter than it says")

    def link(self, path: PurePosixPath, entry: _Entry) -> None:
        """Within the folder only: what the link leads to is looked up on disk, through the links made before it."""
        at = self.into / path
        root = os.path.realpath(self.into)
        base = at.parent if entry.kind == "symlink" else self.into
        leads_to = os.path.realpath(base / entry.target)
        parent = os.path.realpath(at.parent)
        if entry.target.startswith("/") or not all(_within(one, root) for one in (leads_to, parent)):
            self.refuse(f"the link {entry.name!r} leads out of its folder")
        if os.path.lexists(at):
            self.refuse(f"entry {str(path)!r} is a link and a folder")
        if entry.kind == "symlink":
            at.symlink_to(entry.target)
        elif os.path.isfile(leads_to):
            shutil.copyfile(leads_to, at)
        else:
            self.refuse(f"the link {entry.name!r} leads to no file of the archive")


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)


def _zip_entries(opened: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for info in opened.infolist():
        # Archives made on Windows against the standard part folders with backslashes.
        name, mode = info.filename.replace("\\", "/"), info.external_attr >> 16
        if info.flag_bits & 1:
            raise UsageError(f"{archive}: refused, {name!r} is encrypted; unpack it by hand")
        if name.endswith("/"):
            yield _Entry(name, "folder")
        elif stat.S_ISLNK(mode):
            # A path has at most 4096 bytes on Linux; what says more is no link.
            target = opened.read(info) if info.file_size <= 4096 else b"/"
            yield _Entry(name, "symlink", target=os.fsdecode(target))
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise UsageError(f"{archive}: refused, entry {name!r} is a device or a pipe")
        else:
            yield _Entry(name, "file", info.file_size, read=partial(opened.open, info))


def _tar_entries(opened: tarfile.TarFile, archive: Path) -> Iterator[_Entry]:
    for info in opened:
        if info.isdir():
            yield _Entry(info.name, "folder")
        elif info.issym() or info.islnk():
            yield _Entry(info.name, "symlink" if info.issym() else "hardlink", target=info.linkname)
        elif info.isreg():
            yield _Entry(info.name, "file", info.size, read=partial(opened.extractfile, info))
        else:
            raise UsageError(f"{archive}: refused, entry {info.name!r} is a device or a pipe")
        # The module keeps every header it has read; archives of millions of files would fill the memory.
        opened.members.clear()  # type: ignore[attr-defined]


class _Tail:
    """A stream that remembers its last block. tarfile takes a tar file that is cut between two entries for whole;
    the block of zeros at the end tells."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.last = source, b""

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        self.last = (self.last + data)[-tarfile.BLOCKSIZE :]
        return data

    def check_end(self) -> None:
        """Reads what is left, so that a checksum at the end is looked at too. Raises EOFError if there is no end."""
        while self.read(_CHUNK):
            pass
        if self.last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("it has no end")


def _decompressed(archive: Path) -> IO[bytes]:
    with archive.open("rb") as file:
        start = file.read(6)
    opener: Any = next((o for magic, o in _COMPRESSIONS.items() if start.startswith(magic)), open)
    stream: IO[bytes] = opener(archive, "rb")
    return stream


_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
