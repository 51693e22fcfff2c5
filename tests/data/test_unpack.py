"""Archives of strangers: what is written lies in the folder that was named, or nothing is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sambench.data.unpack import DamagedError, Limits, can_unpack, unpack
from sambench.errors import UsageError


def zipped(at: Path, entries: list[tuple[str, bytes]], **how: int) -> Path:
    with zipfile.ZipFile(at, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = how.get("mode", 0) << 16
            archive.writestr(info, data)
    return at


def tarred(at: Path, entries: list[tuple[str, bytes | tarfile.TarInfo]], mode: str = "w") -> Path:
    with tarfile.open(at, mode) as archive:  # type: ignore[call-overload]
        for name, data in entries:
            info = data if isinstance(data, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(data, bytes):
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if isinstance(data, bytes) else None)
    return at


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, target
    return info


def tree(at: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(at)): p.read_bytes() if p.is_file() else None for p in sorted(at.rglob("*"))}


GOOD = [("a/", b""), ("a/one.txt", b"1"), ("b/c/two.txt", b"22"), ("three.txt", b"")]
UNPACKED = {"a": None, "a/one.txt": b"1", "b": None, "b/c": None, "b/c/two.txt": b"22", "three.txt": b""}


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".ZIP"])
def test_every_kind(tmp_path: Path, ending: str) -> None:
    archive = tmp_path / f"x{ending}"
    assert can_unpack(archive.name)
    if ending.lower() == ".zip":
        zipped(archive, GOOD)
    else:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        how = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(archive.suffix, "w")
        tarred(archive, [("a", folder), *GOOD[1:]], how)
    seen: list[int] = []
    assert unpack(archive, tmp_path / "out", progress=seen.append) == 3
    assert tree(tmp_path / "out") == UNPACKED
    assert sum(seen) == 3


@pytest.mark.parametrize("name", ["x.7z", "x.rar", "x.json", "x.gz", "zip"])
def test_no_archive(name: str) -> None:
    assert not can_unpack(name)


def refused(archive: Path, match: str, error: type[Exception] = UsageError, **how: Limits) -> None:
    """Nothing is left, within the folder or beside it."""
    (archive.parent / "deep").mkdir(exist_ok=True)
    before = tree(archive.parent)
    with pytest.raises(error, match=match) as caught:
        unpack(archive, archive.parent / "deep" / "out", **how)
    assert "\n" not in str(caught.value)
    assert str(archive) in str(caught.value)
    assert tree(archive.parent) == before


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "C:\\evil", "..\\..\\evil", "a/b/../../../evil"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_paths_that_lead_out(tmp_path: Path, name: str, kind: str) -> None:
    if kind == "tar" and "\\" in name and ":" not in name:
        # In a tar file a backslash is a letter like any other: one file, oddly named.
        archive = tarred(tmp_path / "x.tar", [(name, b"!")])
        unpack(archive, tmp_path / "out")
        assert os.listdir(tmp_path / "out") == [name]
        return
    make: Callable[..., Path] = zipped if kind == "zip" else tarred
    archive = make(tmp_path / f"x.{kind}", [("good", b"1"), (name, b"!")])
    refused(archive, "leads out of its folder" if "C:" not in name and name[0] != "/" else "absolute")


def test_backslashes_of_windows_part_folders(tmp_path: Path) -> None:
    unpack(zipped(tmp_path / "x.zip", [("a\\b.txt", b"1")]), tmp_path / "out")
    assert tree(tmp_path / "out") == {"a": None, "a/b.txt": b"1"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "a/../../secret", "inner/../.."])
def test_links_that_lead_out(tmp_path: Path, target: str) -> None:
    (tmp_path / "secret").write_text("mine")
    files = [("a/good", b"1"), ("inner/good", b"1")]
    refused(tarred(tmp_path / "s.tar", [*files, ("link", special(tarfile.SYMTYPE, target))]), "'link' leads out")
    refused(tarred(tmp_path / "h.tar", [*files, ("link", special(tarfile.LNKTYPE, target))]), "'link' leads out")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
        for name, data in files:
            archive.writestr(name, data)
    refused(tmp_path / "z.zip", "'link' leads out")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    entries: list[tuple[str, bytes | tarfile.TarInfo]] = [
        ("d", special(tarfile.SYMTYPE, str(tmp_path / "outside"))),
        ("d/evil", b"!"),
    ]
    refused(tarred(tmp_path / "x.tar", entries), "'d' leads out|a link and a folder")
    # A chain: each link on its own stays within, both together lead out.
    entries = [
        ("deep/deeper/good", b"1"),
        ("hop", special(tarfile.SYMTYPE, "deep/deeper")),
        ("hop/out", special(tarfile.SYMTYPE, "../../..")),
    ]
    refused(tarred(tmp_path / "y.tar", entries), "leads out|a link and a folder")
    assert os.listdir(tmp_path / "outside") == []


def test_links_within(tmp_path: Path) -> None:
    archive = tarred(
        tmp_path / "x.tar",
        [
            ("images/1.png", b"one"),
            ("copies/1.png", special(tarfile.SYMTYPE, "../images/1.png")),
            ("copies/2.png", special(tarfile.LNKTYPE, "images/1.png")),
        ],
    )
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/copies/1.png").is_symlink()
    assert (tmp_path / "out/copies/1.png").read_bytes() == (tmp_path / "out/copies/2.png").read_bytes() == b"one"
    refused(tarred(tmp_path / "y.tar", [("link", special(tarfile.LNKTYPE, "nothing"))]), "leads to no file")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices(tmp_path: Path, kind: bytes) -> None:
    refused(tarred(tmp_path / "x.tar", [("good", b"1"), ("dev", special(kind))]), "'dev' is a device or a pipe")


def test_a_device_in_a_zip(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "x.zip", [("dev", b"")], mode=stat.S_IFCHR | 0o666), "'dev' is a device or a pipe")


def test_encrypted(tmp_path: Path) -> None:
    data = bytearray(zipped(tmp_path / "x.zip", [("a", b"1")]).read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    refused(tmp_path / "x.zip", "'a' is encrypted")


def test_bombs(tmp_path: Path) -> None:
    zeros = [("zeros", bytes(1 << 20))]  # deflate makes about 1 KB of it: a ratio of about 1000
    for archive in (zipped(tmp_path / "x.zip", zeros), tarred(tmp_path / "y.tar.gz", zeros, "w:gz")):
        refused(archive, "200 times its size, as a bomb does", limits=Limits(ratio_from=1 << 19))
        refused(archive, "more than 1000 bytes", limits=Limits(total=1000))
        assert unpack(archive, tmp_path / f"{archive.name}.out") == 1
    refused(zipped(tmp_path / "z.zip", GOOD), "more than 2 entries", limits=Limits(entries=2))


def test_a_size_that_lies(tmp_path: Path) -> None:
    """The directory of the zip says 10 bytes where 100,000 come."""
    archive = zipped(tmp_path / "x.zip", [("zeros", bytes(100_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    refused(archive, "damaged", DamagedError)


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda at: SimpleNamespace(free=5))
    refused(zipped(tmp_path / "x.zip", [("a", b"123456")]), "not enough free disk space")


def test_names_that_some_file_systems_hold_for_one(tmp_path: Path) -> None:
    refused(zipped(tmp_path / "x.zip", [("A.png", b"1"), ("a.PNG", b"2")]), "'a.PNG' and 'A.png' differ in letter case")
    refused(zipped(tmp_path / "y.zip", [("\u00e9", b"1"), ("e\u0301", b"2")]), "letter case")
    refused(tarred(tmp_path / "z.tar", [("a", b"1"), ("a", b"2")]), "'a' is in it twice")
    refused(tarred(tmp_path / "w.tar", [("a", b"1"), ("a/b", b"2")]), "a file and a folder")
    refused(tarred(tmp_path / "v.tar", [("a/b", b"1"), ("a", b"2")]), "a file and a folder")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_cut_off_anywhere(tmp_path: Path, ending: str) -> None:
    entries = [(f"{n}.bin", os.urandom(700)) for n in range(4)]
    whole = tmp_path / f"x{ending}"
    if ending == ".zip":
        zipped(whole, entries)
    else:
        tarred(whole, list(entries), {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(whole.suffix, "w"))
    data = whole.read_bytes()
    # A tar file ends in blocks of zeros, of which the last may be cut without loss: 4 files fill 4 * 3 blocks.
    end = 4 * 3 * 512 if ending == ".tar" else len(data) - 1
    for length in (0, 10, 512, len(data) // 3, end // 2 // 512 * 512, end):
        whole.write_bytes(data[:length])
        refused(whole, "damaged", DamagedError)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_flipped_bit(tmp_path: Path, ending: str) -> None:
    packed = os.urandom(5000)
    archive = tmp_path / f"x{ending}"
    if ending == ".zip":
        zipped(archive, [("a", packed)])
    else:
        tarred(archive, [("a", packed)], {".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[archive.suffix])
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 4
    archive.write_bytes(data)
    refused(archive, "damaged", DamagedError)


@pytest.mark.parametrize("content", [b"<html>log in</html>", b"", b"\0" * 3000, b"PK\3\4 nothing"])
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_no_archive_at_all(tmp_path: Path, content: bytes, ending: str) -> None:
    (tmp_path / f"x{ending}").write_bytes(content)
    refused(tmp_path / f"x{ending}", "damaged", DamagedError)


def test_compression_is_told_by_content(tmp_path: Path) -> None:
    plain = tarred(tmp_path / "p.tar", [("a", b"1")]).read_bytes()
    for packer in (gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "x.tar").write_bytes(packer(plain))
        assert unpack(tmp_path / "x.tar", tmp_path / packer.__module__) == 1


def test_a_folder_that_is_there(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", GOOD)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out").is_dir()
