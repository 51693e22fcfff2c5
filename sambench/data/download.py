"""Getting a dataset: what its card offers to download is fetched, checked and unpacked, and all of it can be resumed.

Beside the dataset's folder ``AT/NAME`` lies ``AT/.sambench/NAME/``, on the same disk:

- ``downloads.json``: for each archive its digest at first use, and whether it is unpacked; for each dataset what was
  asked for. While something of that is not unpacked, the dataset counts as unfinished and no run takes it for whole.
- ``FILE.part``, ``FILE.part.json``: a download on its way, and what the server said that it is.
- ``FILE``: downloaded, removed once it is unpacked (unless it is to be kept).
- ``unpacking-FILE/``: half unpacked, thrown away by the next call. ``unpacked-FILE/``: unpacked, on its way into the
  dataset's folder.
- ``lock``: held by the process at work.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol
from urllib.parse import urlsplit

from sambench.atomic_files import output_error, write_json
from sambench.core.dataset import Archive, Card
from sambench.data.unpack import DamagedError, can_unpack, unpack
from sambench.errors import SambenchError, UsageError
from sambench.readers.files import candidates

SCHEMA = 1
ATTEMPTS = 5
"""A connection is tried so often without a single new byte before the command gives up."""

PAUSE_SECONDS = 2.0
"""Before the second attempt; doubled before each further one."""

TIMEOUT_SECONDS = (30.0, 60.0)
"""To connect, and for the next bytes to come."""

_CHUNK = 1 << 16
_FOREIGN = (".7z", ".rar")
_NOTICES = ("readme", "license", "licence")


class Meter(Protocol):
    """Shows how far something is, in bytes."""

    def start(self, title: str, done: int, total: int | None) -> None: ...
    def add(self, more: int, /) -> None: ...
    def stop(self) -> None: ...


State = Literal["unpacked", "here", "download", "by hand"]


@dataclass(frozen=True)
class Item:
    """One archive and what is to be done with it. ``here``: it lies at ``path`` and has only to be unpacked."""

    archive: Archive
    state: State
    path: Path | None = None

    @property
    def key(self) -> str:
        return f"{self.archive.into}/{self.archive.file}".strip("/")


@dataclass(frozen=True)
class Plan:
    """What getting a dataset means here. ``folder``: the dataset's own, which may not exist yet."""

    card: Card
    split: str
    data_root: Path
    folder: Path
    items: tuple[Item, ...]

    def todo(self, *states: State) -> list[Item]:
        return [item for item in self.items if item.state in states]

    def into(self, item: Item) -> Path:
        return self.folder / item.archive.into

    def text(self) -> str:
        """A line for each archive."""
        does = {
            "unpacked": "unpacked before",
            "here": "lies at {path}: unpack",
            "download": "download {url}",
            "by hand": "by hand: no public address",
        }
        return "\n".join(
            f"{item.archive.file} ({item.archive.holds}): "
            f"{does[item.state].format(path=item.path, url=item.archive.url)} -> {self.into(item)}"
            for item in self.items
        )


def make_plan(card: Card, split: str, data_root: Path) -> Plan:
    """What a split needs and what of it is there already. Changes nothing."""
    folder = own_folder(card, data_root)
    record = _Record(folder)
    items = [_item(a, folder, data_root, record) for a in card.archives if not a.splits or split in a.splits]
    return Plan(card, split, data_root, folder, tuple(items))


def own_folder(card: Card, data_root: Path) -> Path:
    """The dataset's own folder, there or not: one of its names under the data root, or the root if it has the name."""
    names = {name.casefold() for name in card.folders}
    if Path(os.path.abspath(data_root)).name.casefold() in names:
        return data_root
    named = [at for at in candidates(data_root, card.folders) if at.parent == data_root]
    return named[0] if named else data_root / (card.folders[0] if card.folders else card.name)


def _item(archive: Archive, folder: Path, data_root: Path, record: _Record) -> Item:
    item = Item(archive, "by hand")
    if record.is_unpacked(item.key):
        return Item(archive, "unpacked")
    if (record.home / f"unpacked-{_stored(item)}").is_dir():
        return Item(archive, "here", record.home / _stored(item))
    # Besides what was downloaded: where people leave what they have got by hand.
    places = (
        record.home / _stored(item),
        *(base / archive.file for base in (folder / archive.into, folder, data_root)),
    )
    for at in places:
        if at.is_file():
            return Item(archive, "here", at)
    return Item(archive, "download" if archive.url else "by hand")


def steps(plan: Plan) -> list[str]:
    """What a person has to do for the archives that cannot be had without a login or a form, one step a line."""
    access = [line.strip().replace("DATA_ROOT", str(plan.data_root)) for line in plan.card.access.splitlines()]
    names = [item.archive.file for item in plan.todo("by hand") if can_unpack(item.archive.file)]
    again = f"sambench data get {plan.card.name} --split {plan.split} --data-root {plan.data_root}"
    rest = [f"See whether it is whole: {check_command(plan)}"]
    if names:
        rest.insert(0, f"Or unpack nothing: put {', '.join(names)} as they are in {plan.folder} and say: {again}")
    return [line for line in access if line] + rest


def check_command(plan: Plan) -> str:
    """What to type to have the dataset verified."""
    return f"sambench data check {plan.card.name} --split {plan.split} --data-root {plan.data_root}"


def unfinished(name: str, root: Path) -> tuple[Path, list[str]] | None:
    """Whether getting the dataset was begun and not ended: the record that says so, and the archives still to come.

    ``root``: where the dataset was found, the folder that it was unpacked in or one below.
    """
    full = Path(os.path.realpath(root))
    for at in (full, *full.parents[:3]):
        record = _Record(at)
        missing = [key for key in record.wanted(name) if not record.is_unpacked(key)]
        if missing:
            return record.path, missing
    return None


def carry_out(plan: Plan, meter: Meter, say: Callable[[str], object], *, keep_archives: bool = False) -> None:
    """Downloads and unpacks all that needs no person; what was finished before is not done again.

    Raises UsageError (refused: another digest than the card's or than at first use, a hostile archive, a web page in
    the place of a file, no room), SambenchError (the network, a damaged file). The same call goes on from there.
    """
    todo = plan.todo("here", "download")
    if not todo:
        return
    record = _Record(plan.folder)
    with _locked(record.home):
        record.want(plan.card.name, [item.key for item in plan.items if item.state != "by hand"])
        for item in todo:
            if item.state == "download":
                _download(plan, item, record, meter, say)
            _install(plan, item, record, meter, say, keep_archives)


# --- the record -------------------------------------------------------------------------------------------------------


class _Record:
    """``downloads.json`` of a dataset's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = full = Path(os.path.realpath(folder))
        self.home = full.parent / ".sambench" / full.name
        self.path = self.home / "downloads.json"
        self._content: dict[str, Any] = {"schema": SCHEMA, "wanted": {}, "archives": {}}
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                self._content = json.loads(self.path.read_text("utf-8"))
                if self._content["schema"] != SCHEMA:
                    raise ValueError(f"schema {self._content['schema']}")
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{self.path} is not a record of downloads ({error}): delete it") from error

    def entry(self, key: str) -> Mapping[str, Any]:
        entry: Mapping[str, Any] = self._content["archives"].get(key, {})
        return entry

    def is_unpacked(self, key: str) -> bool:
        """And what it brought has not been taken away since."""
        into = self.folder / Path(key).parent
        entry = self.entry(key)
        return bool(entry.get("unpacked")) and all(os.path.lexists(into / name) for name in entry["brings"])

    def wanted(self, name: str) -> Sequence[str]:
        wanted: Sequence[str] = self._content["wanted"].get(name, ())
        return wanted

    def want(self, name: str, keys: Sequence[str]) -> None:
        self._content["wanted"][name] = sorted({*self.wanted(name), *keys})
        self._write()

    def set(self, key: str, **values: Any) -> None:
        self._content["archives"][key] = {**self.entry(key), **values}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self._content)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise output_error(home, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"{home} is in use: another process is getting this dataset") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _stored(item: Item) -> str:
    return item.key.replace("/", "__")


# --- from the server --------------------------------------------------------------------------------------------------


def _download(plan: Plan, item: Item, record: _Record, meter: Meter, say: Callable[[str], object]) -> None:
    to = record.home / _stored(item)
    say(f"{item.archive.url} -> {to}")
    try:
        fetch(item.archive.url, to, meter, item.archive.file)
    except _Gone as error:
        raise SambenchError(f"{error}; look at {plan.card.url} for where it has gone") from error
    except OSError as error:
        raise SambenchError(
            f"{item.archive.url}: {_cause(error)}; what has come so far is kept, the same command goes on from there"
        ) from error


class _Gone(Exception):
    """The server answers that it does not have, or does not give, the file."""


class _Restart(OSError):
    """What is there does not fit what the server has: from the beginning."""


def fetch(url: str, to: Path, meter: Meter, title: str) -> None:
    """Downloads a file, going on with ``TO.part`` if the server can and still has the same file.

    Raises UsageError (a web page instead of a file, no room on the disk), _Gone, and OSError if the network fails
    :data:`ATTEMPTS` times without a new byte.
    """
    part = to.with_name(f"{to.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _transfer(url, part, meter, title)
            break
        except OSError as error:
            if error.errno is not None and not hasattr(error, "request"):
                # Not one of requests' errors: the disk's.
                raise output_error(part, error) from error
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS * 2 ** (failures - 1))
        finally:
            meter.stop()
    part.rename(to)
    _facts(part).unlink(missing_ok=True)


def _transfer(url: str, part: Path, meter: Meter, title: str) -> None:
    """One connection. Raises OSError (also requests' errors are that) if it ends before the file does."""
    from pooch import HTTPDownloader

    have = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator := _validator(part, url):
            headers["If-Range"] = validator
    with part.open("ab") as file:
        answer = _Answer(url, part, file, have, meter, title)
        downloader = HTTPDownloader(
            chunk_size=_CHUNK, timeout=TIMEOUT_SECONDS, headers=headers, hooks={"response": answer.look}
        )
        try:
            downloader(url, answer, None)
        except _Whole:
            return
        if answer.total is not None and _size(part) != answer.total:
            raise OSError(f"{_size(part)} of {answer.total} bytes came")


class _Whole(Exception):
    """All of the file is there already."""


class _Answer:
    """Looks at the server's answer before its bytes are written, and then is the file that they are written to."""

    def __init__(self, url: str, part: Path, file: BinaryIO, have: int, meter: Meter, title: str) -> None:
        self.url, self.part, self.file, self.have, self.meter, self.title = url, part, file, have, meter, title
        self.total: int | None = None

    def look(self, response: Any, *_: Any, **__: Any) -> None:
        """requests calls this with every response; redirects are followed."""
        status, headers = response.status_code, response.headers
        if response.is_redirect:
            return
        if status == 416:
            # Asked for bytes beyond the end: all is there, or what is there is of another file.
            if headers.get("Content-Range", "").endswith(f"/{self.have}"):
                raise _Whole
            self.restart()
            raise _Restart("the file on the server has changed")
        if status in (429, 500, 502, 503, 504):
            raise OSError(f"the server answers {status} {response.reason}")
        if status not in (200, 206):
            raise _Gone(f"{self.url}: the server answers {status} {response.reason}")
        if headers.get("Content-Type", "").startswith("text/html") and not urlsplit(self.url).path.endswith(".html"):
            raise UsageError(f"{self.url}: the server answers with a web page, not the file: get it in a browser")
        if status == 200 and self.have:
            self.restart()
        elif status == 206 and not headers.get("Content-Range", "").startswith(f"bytes {self.have}-"):
            self.restart()
            raise _Restart("the server sends another part than was asked for")
        length = headers.get("Content-Length", "")
        if length.isdecimal():
            self.total = self.have + int(length)
            if int(length) > shutil.disk_usage(self.part.parent).free:
                raise UsageError(f"{self.part.parent}: no room for {self.url}, {int(length)} bytes")
        etag = headers.get("ETag", "")
        validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
        write_json(_facts(self.part), {"url": self.url, "validator": validator})
        self.meter.start(self.title, self.have, self.total)

    def restart(self) -> None:
        self.file.truncate(0)
        self.have = 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.meter.add(len(data))

    def flush(self) -> None:
        self.file.flush()


def _facts(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(part: Path, url: str) -> str:
    """What the server said that the file is when the first bytes came; empty if it did not say."""
    try:
        facts = json.loads(_facts(part).read_text("utf-8"))
        return str(facts["validator"]) if facts["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _cause(error: OSError) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


# --- what has come ----------------------------------------------------------------------------------------------------


def _check_digest(item: Item, record: _Record) -> str:
    """sha256 (hex) of what came, held against the card and against what came the first time."""
    import pooch

    path = item.path or record.home / _stored(item)
    digest = str(pooch.file_hash(str(path), alg="sha256"))
    published, earlier = item.archive.sha256, record.entry(item.key).get("sha256")
    if digest in (published, earlier) or not (published or earlier):
        return digest
    own = path.parent == record.home
    if own:
        path.unlink()
    was, mend = f"the card says {published}", "damaged, or replaced by its authors"
    if not published:
        was, mend = f"at first use it was {earlier}", f"delete {record.path} to accept the new one"
    raise UsageError(f"{path}: sha256 is {digest}, {was}; {'removed' if own else 'not unpacked'}: {mend}")


def _install(
    plan: Plan, item: Item, record: _Record, meter: Meter, say: Callable[[str], object], keep_archives: bool
) -> None:
    """Brings an archive's content, or a file that is none, to where it belongs, and writes down that it is there."""
    name, path, into = item.archive.file, item.path or record.home / _stored(item), plan.into(item)
    unpacking, unpacked = (record.home / f"{state}-{_stored(item)}" for state in ("unpacking", "unpacked"))
    own = path.parent == record.home
    if not unpacked.is_dir():
        digest, size = _check_digest(item, record), path.stat().st_size
        if can_unpack(name):
            say(f"{path}: unpacking into {into}")
            shutil.rmtree(unpacking, ignore_errors=True)
            meter.start(f"{name} unpacked", 0, None)
            try:
                unpack(path, unpacking, progress=meter.add)
            except DamagedError as error:
                if own:
                    path.unlink()
                remedy = "removed; the same command downloads it again" if own else "download it again"
                raise SambenchError(f"{error}: {remedy}") from error
            finally:
                meter.stop()
        else:
            with _writing(unpacking):
                unpacking.mkdir(exist_ok=True)
                if own:
                    path.rename(unpacking / name)
                elif path != into / name:
                    shutil.copyfile(path, unpacking / name)
        brings = sorted(os.listdir(unpacking)) or [name]
        record.set(item.key, url=item.archive.url, sha256=digest, bytes=size, brings=brings, unpacked=False)
        unpacking.rename(unpacked)
    with _writing(into):
        clash = next(_clashes(unpacked, into), None)
        if clash is not None:
            raise UsageError(f"{clash} is there already and is not what {name} holds: move it away, then go on")
        _move(unpacked, into)
    record.set(item.key, unpacked=True)
    if own and not keep_archives:
        path.unlink(missing_ok=True)
    if name.lower().endswith(_FOREIGN):
        say(f"{into / name}: sambench cannot unpack this kind; unpack it there by hand (7z x)")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def _clashes(source: Path, target: Path) -> Iterator[Path]:
    """What lies in the way of a move: everything but folders in the place of folders and the very same files.
    Archives of one dataset bring a README or a licence each; the first one stays."""
    for name in sorted(os.listdir(source)):
        new, old = source / name, target / name
        if not os.path.lexists(old):
            continue
        if _is_folder(new) and old.is_dir():
            yield from _clashes(new, old)
        elif not (old.is_file() and not _is_folder(new) and _same(new, old)):
            yield old


def _same(new: Path, old: Path) -> bool:
    if new.is_symlink():
        return old.is_symlink() and os.readlink(new) == os.readlink(old)
    return old.name.lower().startswith(_NOTICES) or filecmp.cmp(new, old, shallow=False)


def _move(source: Path, target: Path) -> None:
    """Moves the content of a folder into another, folder by folder where both have one; can be begun anew."""
    target.mkdir(parents=True, exist_ok=True)
    for name in sorted(os.listdir(source)):
        new, old = source / name, target / name
        if not os.path.lexists(old):
            new.rename(old)
        elif _is_folder(new):
            _move(new, old)
        else:
            new.unlink()
    source.rmdir()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
