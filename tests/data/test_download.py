"""``data get`` against a server that does all that servers do."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sambench.data import download
from sambench.data.download import carry_out, make_plan, steps, unfinished
from sambench.errors import SambenchError, UsageError
from sambench.types import Archive, Card, Split


def zip_of(**files: bytes) -> bytes:
    """Stored, not compressed; ``a__b`` is the path a/b."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("__", "/") + ".bin"), data)
    return packed.getvalue()


class Server:
    """Files by path. ``faults``: by path, what to do to an answer, one a request, then none."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.ranges = True
        self.lengths = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.released = threading.Event()
        self.waited_in_vain = False

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, asked = request.path, request.headers.get("Range", "")
        self.asked.append((path, asked))
        fault = self.faults[path].pop(0) if self.faults.get(path) else ""
        if fault.startswith("->"):
            request.send_response(302)
            request.send_header("Location", fault.removeprefix("->"))
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if fault.isdecimal() or path not in self.files:
            request.send_error(int(fault or 404))
            return
        data = self.files[path]
        etag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        start = 0
        if asked and self.ranges and request.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(data)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.lengths:
            request.send_header("Content-Length", str(len(data) - start))
        request.send_header("ETag", etag)
        request.send_header("Content-Type", "text/html" if fault == "html" else "application/zip")
        request.send_header("Connection", "close")
        request.end_headers()
        rest = data[start:]
        if fault in ("cut", "stall"):
            request.wfile.write(rest[: len(rest) // 2])
            request.wfile.flush()
            if fault == "stall":
                self.waited_in_vain = not self.released.wait(60)
        else:
            request.wfile.write(rest)
        request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", (30.0, 30.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    one = Server()
    thread = threading.Thread(target=one.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield one
    one.released.set()
    one.http.shutdown()
    one.http.server_close()


class Silent:
    def start(self, title: str, done: int, total: int | None) -> None:
        self.began = (title, done, total)

    def add(self, more: int) -> None: ...
    def stop(self) -> None: ...


def card(*archives: Archive) -> Card:
    return Card(
        name="beans",
        title="Beans",
        citation="Bean, 2024",
        url="https://example.org/beans",
        licence="CC0",
        access="Fill the form at https://example.org/form.\nPut it in DATA_ROOT/beans/.",
        layout="beans/",
        kind="instance",
        splits={"val": Split(), "train": Split()},
        default_split="val",
        group="reference",
        tasks=frozenset({"single_point"}),
        folders=("beans", "Beans"),
        archives=archives,
    )


def get(which: Card, root: Path, split: str = "val", **how: bool) -> list[str]:
    said: list[str] = []
    carry_out(make_plan(which, split, root), Silent(), said.append, **how)
    return said


def states(which: Card, root: Path, split: str = "val") -> list[str]:
    return [item.state for item in make_plan(which, split, root).items]


def visible(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".sambench" not in p.parts
    }


def kept(root: Path) -> set[str]:
    return {p.name for p in (root / ".sambench" / "beans").iterdir()} - {"lock", "downloads.json"}


BIG = bytes(range(256)) * 2000


def images(server: Server, **how: Any) -> Archive:
    server.files["/images.zip"] = zip_of(images__a=BIG, images__b=BIG[::-1])
    return Archive("images.zip", "images", url=f"{server.url}/images.zip", **how)


def test_downloads_checks_unpacks_and_tidies(server: Server, tmp_path: Path) -> None:
    digest = hashlib.sha256(zip_of(labels__a=b"1")).hexdigest()
    server.files["/l.zip"] = zip_of(labels__a=b"1")
    both = card(images(server), Archive("labels.zip", "labels", "deep", f"{server.url}/l.zip", digest, ("val",)))
    assert states(both, tmp_path) == ["download", "download"]
    assert states(both, tmp_path, "train") == ["download"]
    assert "labels.zip (labels): download" in make_plan(both, "val", tmp_path).text()
    get(both, tmp_path)
    assert visible(tmp_path) == {
        "beans/images/a.bin": BIG,
        "beans/images/b.bin": BIG[::-1],
        "beans/deep/labels/a.bin": b"1",
    }
    assert kept(tmp_path) == set()
    record = json.loads((tmp_path / ".sambench/beans/downloads.json").read_text())["archives"]
    assert record["deep/labels.zip"]["sha256"] == digest
    assert record["images.zip"]["bytes"] == len(server.files["/images.zip"])
    # Again: nothing is asked for.
    asked = len(server.asked)
    assert get(both, tmp_path) == []
    assert len(server.asked) == asked
    assert states(both, tmp_path) == ["unpacked", "unpacked"]


def test_archives_can_be_kept(server: Server, tmp_path: Path) -> None:
    get(card(images(server)), tmp_path, keep_archives=True)
    assert kept(tmp_path) == {"images.zip"}


def test_a_file_that_is_no_archive_and_one_that_we_cannot_unpack(server: Server, tmp_path: Path) -> None:
    server.files |= {"/list.json": b"[]", "/x.7z": b"7z"}
    said = get(
        card(
            Archive("list.json", "a list", "annotations", f"{server.url}/list.json"),
            Archive("x.7z", "images", "", f"{server.url}/x.7z"),
        ),
        tmp_path,
    )
    assert visible(tmp_path) == {"beans/annotations/list.json": b"[]", "beans/x.7z": b"7z"}
    assert "unpack it there by hand" in said[-1]
    assert kept(tmp_path) == set()


def test_a_cut_connection_goes_on_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    server.faults["/images.zip"] = ["cut", "503", "cut"]
    get(one, tmp_path)
    assert visible(tmp_path)["beans/images/a.bin"] == BIG
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for _, asked in server.asked]
    assert starts[0] == 0
    assert 0 < starts[1] == starts[2] < starts[3]


def test_a_server_that_stalls(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", (30.0, 1.0))
    server.faults["/images.zip"] = ["stall"]
    get(card(images(server)), tmp_path)
    assert visible(tmp_path)["beans/images/b.bin"] == BIG[::-1]
    assert not server.waited_in_vain, "the server gave up before the client did"


def test_a_server_that_only_sends_whole_files(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults["/images.zip"] = ["cut"]
    get(card(images(server)), tmp_path)
    assert visible(tmp_path)["beans/images/a.bin"] == BIG
    assert server.asked[1][1].startswith("bytes=")


def test_a_server_that_does_not_say_how_much_it_sends(server: Server, tmp_path: Path) -> None:
    """Then a cut is seen by the archive alone."""
    server.lengths = False
    server.faults["/images.zip"] = ["cut"]
    one = card(images(server))
    with pytest.raises(SambenchError, match=r"images.zip is damaged or cut off .*: removed; the same command"):
        get(one, tmp_path)
    assert visible(tmp_path) == {}
    assert kept(tmp_path) == set()
    get(one, tmp_path)
    assert visible(tmp_path)["beans/images/a.bin"] == BIG


def test_giving_up_keeps_what_has_come(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    server.faults["/images.zip"] = ["cut", *["503"] * download.ATTEMPTS]
    with pytest.raises(SambenchError, match="503 Service Unavailable; what has come so far is kept") as caught:
        get(one, tmp_path)
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == {"images.zip.part", "images.zip.part.json"}
    assert unfinished("beans", tmp_path / "beans") is not None
    get(one, tmp_path)
    assert server.asked[-1][1].startswith("bytes=")
    assert visible(tmp_path)["beans/images/a.bin"] == BIG
    assert unfinished("beans", tmp_path / "beans") is None


def test_a_file_that_changed_in_between_is_begun_anew(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    server.faults["/images.zip"] = ["cut", *["503"] * download.ATTEMPTS]
    with pytest.raises(SambenchError):
        get(one, tmp_path)
    server.files["/images.zip"] = zip_of(images__a=BIG[::-1], images__b=BIG)
    get(one, tmp_path)
    assert visible(tmp_path)["beans/images/b.bin"] == BIG


def test_a_part_that_is_whole_and_one_that_is_too_long(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    home = tmp_path / ".sambench" / "beans"
    home.mkdir(parents=True)
    for content in (server.files["/images.zip"], server.files["/images.zip"] + b"more"):
        (home / "images.zip.part").write_bytes(content)
        get(one, tmp_path)
        assert visible(tmp_path)["beans/images/a.bin"] == BIG
        (tmp_path / "beans/images/a.bin").unlink()
        (tmp_path / "beans/images/b.bin").unlink()
        (tmp_path / "beans/images").rmdir()


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    images(server)
    server.faults["/old.zip"] = ["->/older.zip"]
    server.faults["/older.zip"] = ["->/images.zip"]
    get(card(Archive("images.zip", "images", url=f"{server.url}/old.zip")), tmp_path)
    assert visible(tmp_path)["beans/images/a.bin"] == BIG


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_file_that_is_not_there(server: Server, tmp_path: Path, code: int) -> None:
    one = card(images(server))
    server.faults["/images.zip"] = [str(code)]
    with pytest.raises(SambenchError, match=f"the server answers {code} .*example.org/beans"):
        get(one, tmp_path)
    assert len(server.asked) == 1, "it does not help to ask again"


def test_nobody_answers(tmp_path: Path, server: Server) -> None:
    with pytest.raises(SambenchError, match="the same command goes on"):
        get(card(Archive("a.zip", "x", url="http://127.0.0.1:9/a.zip")), tmp_path)


def test_a_web_page_in_the_place_of_the_file(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    server.faults["/images.zip"] = ["html"]
    with pytest.raises(UsageError, match="a web page, not the file"):
        get(one, tmp_path)
    assert visible(tmp_path) == {}


def test_a_wrong_checksum(server: Server, tmp_path: Path) -> None:
    one = card(images(server, sha256="0" * 64))
    with pytest.raises(UsageError, match=r"the card says 0000.*removed"):
        get(one, tmp_path)
    assert visible(tmp_path) == {}
    assert kept(tmp_path) == set()


def test_a_later_download_of_another_digest_is_refused(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    get(one, tmp_path)
    for file in (tmp_path / "beans" / "images").iterdir():
        file.unlink()
    (tmp_path / "beans" / "images").rmdir()
    assert states(one, tmp_path) == ["download"]
    server.files["/images.zip"] = zip_of(images__a=b"other")
    with pytest.raises(UsageError, match=r"at first use it was .* delete .*downloads\.json to accept"):
        get(one, tmp_path)
    assert visible(tmp_path) == {}
    (tmp_path / ".sambench/beans/downloads.json").unlink()
    get(one, tmp_path)
    assert visible(tmp_path) == {"beans/images/a.bin": b"other"}


def test_a_hostile_archive_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.files["/x.zip"] = zip_of(good=b"1", **{"..__..__evil": b"!"})
    with pytest.raises(UsageError, match="leads out of its folder"):
        get(card(Archive("x.zip", "x", url=f"{server.url}/x.zip")), tmp_path)
    assert visible(tmp_path) == {}
    assert not list(tmp_path.parent.rglob("evil*"))


def test_no_room(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = card(images(server))
    monkeypatch.setattr("shutil.disk_usage", lambda at: type("Usage", (), {"free": 1000})())
    with pytest.raises(UsageError, match="no room"):
        get(one, tmp_path)


def test_archives_meet_in_one_folder(server: Server, tmp_path: Path) -> None:
    """Folders are merged; the same file twice is fine, and so is a README each; anything else is not overwritten."""
    server.files |= {
        "/a.zip": zip_of(train__1=b"1", train__same=b"s", README=b"of a"),
        "/b.zip": zip_of(train__2=b"2", train__same=b"s", README=b"of b"),
        "/c.zip": zip_of(train__1=b"another", val__3=b"3"),
    }
    a, b, c = (Archive(f"{n}.zip", n, url=f"{server.url}/{n}.zip") for n in "abc")
    get(card(a, b), tmp_path)
    merged = visible(tmp_path)
    assert set(merged) == {f"beans/{n}.bin" for n in ("train/1", "train/2", "train/same", "README")}
    assert merged["beans/README.bin"] == b"of a"
    with pytest.raises(UsageError, match=r"train/1\.bin is there already and is not what c\.zip holds"):
        get(card(a, b, c), tmp_path)
    assert visible(tmp_path) == merged
    (tmp_path / "beans/train/1.bin").unlink()
    asked = len(server.asked)
    get(card(a, b, c), tmp_path)
    assert len(server.asked) == asked
    assert visible(tmp_path)["beans/val/3.bin"] == b"3"


@pytest.mark.parametrize("when", ["unpack", "move", "record"])
def test_interrupted_it_is_never_taken_for_whole(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    one = card(images(server))
    server.files["/images.zip"] = zip_of(images__a=BIG, more__b=BIG[::-1])

    def interrupt(real: Callable[..., Any], wanted: Callable[..., bool]) -> Callable[..., Any]:
        def call(*arguments: Any, **how: Any) -> Any:
            if wanted(*arguments, **how):
                raise KeyboardInterrupt
            return real(*arguments, **how)

        return call

    where: dict[str, tuple[Any, str, Callable[..., bool]]] = {
        "unpack": (download, "unpack", lambda *_, **__: True),
        "move": (Path, "rename", lambda one, to: to.name == "more"),
        "record": (download._Record, "set", lambda record, key, **values: values == {"unpacked": True}),
    }
    target, name, wanted = where[when]
    with monkeypatch.context() as patch:
        patch.setattr(target, name, interrupt(getattr(target, name), wanted))
        with pytest.raises(KeyboardInterrupt):
            get(one, tmp_path)
    found = unfinished("beans", tmp_path / "beans" / "images")
    assert found is not None
    assert found[1] == ["images.zip"]
    assert unfinished("another", tmp_path / "beans") is None
    get(one, tmp_path)
    assert visible(tmp_path) == {"beans/images/a.bin": BIG, "beans/more/b.bin": BIG[::-1]}
    assert len(server.asked) == 1, "what has come is not fetched again"
    assert kept(tmp_path) == set()
    assert unfinished("beans", tmp_path / "beans") is None


def test_what_was_got_by_hand_is_unpacked(tmp_path: Path) -> None:
    one = card(Archive("images.zip", "images"), Archive("labels.zip", "labels", "deep"))
    plan = make_plan(one, "val", tmp_path)
    assert [item.state for item in plan.items] == ["by hand", "by hand"]
    told = steps(plan)
    assert told[:2] == ["Fill the form at https://example.org/form.", f"Put it in {tmp_path}/beans/."]
    assert f"put images.zip, labels.zip as they are in {tmp_path}/beans and say: sambench data get beans" in told[2]
    assert "sambench data check beans" in told[3]
    (tmp_path / "Beans").mkdir()
    (tmp_path / "images.zip").write_bytes(zip_of(images__a=b"1"))
    (tmp_path / "Beans" / "labels.zip").write_bytes(zip_of(labels__a=b"2"))
    assert states(one, tmp_path) == ["here", "here"]
    get(one, tmp_path)
    assert visible(tmp_path).keys() == {
        "images.zip",
        "Beans/labels.zip",
        "Beans/images/a.bin",
        "Beans/deep/labels/a.bin",
    }
    assert states(one, tmp_path) == ["unpacked", "unpacked"]
    damaged = tmp_path / "another"
    damaged.mkdir()
    (damaged / "images.zip").write_bytes(b"PK")
    with pytest.raises(SambenchError, match=r"damaged or cut off .*: download it again"):
        get(one, damaged)
    assert (damaged / "images.zip").exists()


def test_the_data_root_may_be_the_dataset_s_own_folder(tmp_path: Path) -> None:
    assert make_plan(card(), "val", tmp_path / "beans").folder == tmp_path / "beans"
    assert make_plan(card(), "val", tmp_path / "data").folder == tmp_path / "data" / "beans"


def test_two_at_once(server: Server, tmp_path: Path) -> None:
    one = card(images(server))
    with (
        download._locked(tmp_path / ".sambench" / "beans"),
        pytest.raises(UsageError, match="another process is getting this"),
    ):
        get(one, tmp_path)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    record = tmp_path / ".sambench" / "beans" / "downloads.json"
    record.parent.mkdir(parents=True)
    for text in ("{", '{"schema": 99}', "[]"):
        record.write_text(text)
        with pytest.raises(UsageError, match=r"downloads\.json is not a record of downloads .*delete it"):
            make_plan(card(), "val", tmp_path)


# --- the verb ---------------------------------------------------------------------------------------------------------

PLUGIN = '''
from dataclasses import dataclass
from functools import partial
from sambench.readers.files import first_place, files_by_stem
from sambench.readers.images import image_size, read_image
from sambench.readers.mask_png import read_binary_masks
from sambench.types import Archive, Card, IndexEntry, Sample, Split

class Beans:
    card = Card(
        name="beans", title="Beans", citation="Bean, Beans, 2024", url="https://example.org", licence="CC0",
        access="Fill the form.", layout="beans/", kind="instance", splits={{"all": Split(1, 1)}}, default_split="all",
        group="reference", tasks=frozenset({{"single_point"}}), folders=("beans",),
        archives=(Archive("i.zip", "images", url="{url}/i.zip"), Archive("m.zip", "masks", url="{masks}")),
    )
    arguments = ()

    @dataclass(frozen=True)
    class Options:
        """None."""

    def __init__(self, root, split, options):
        self.root = root

    @classmethod
    def locate(cls, root, split, options):
        return first_place(root, cls.card.folders, lambda at: (at / "images").is_dir())

    def index(self):
        return [IndexEntry(id, 1) for id in files_by_stem(self.root / "masks", {{".png"}})]

    def load(self, id):
        path = self.image_file(id)
        truth = partial(read_binary_masks, {{"1": self.root / "masks" / f"{{id}}.png"}}, image_size(path))
        return Sample(id, image_size(path), partial(read_image, path), truth)

    def image_file(self, id):
        return self.root / "images" / f"{{id}}.png"

PLUGIN = Beans
'''


def png(values: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(values).save(out, "png")
    return out.getvalue()


def test_the_verb(
    server: Server, tmp_path: Path, sambench_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    from helpers.tiny_datasets import photo, square

    def packed(name: str, values: Any) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(name, png(values))
        return out.getvalue()

    server.files = {
        "/i.zip": packed("images/a.png", photo(20, 30)),
        "/m.zip": packed("masks/a.png", square(20, 30, 2, 2, 6)),
    }
    folder = tmp_path / "plugins" / "datasets"
    folder.mkdir(parents=True)
    root = tmp_path / "data"
    here = ("--data-root", root, "--plugins", tmp_path / "plugins")

    def plugin(masks: str) -> None:
        (folder / "beans.py").write_text(PLUGIN.format(url=server.url, masks=masks))

    plugin("")
    dry = sambench_cli("data", "get", "beans", *here, "--dry-run", code=0)
    assert f"i.zip (images): download {server.url}/i.zip" in dry.stdout
    assert not root.exists()
    done = sambench_cli("data", "get", "beans", *here, code=1, no_proxy="127.0.0.1")
    assert (root / "beans/images/a.png").is_file()
    assert "  1. Fill the form." in done.stdout
    assert f"  2. Or unpack nothing: put m.zip as they are in {root}/beans" in done.stdout
    plugin(f"{server.url}/m.zip")
    server.faults["/m.zip"] = ["404"]
    assert "404" in sambench_cli("data", "get", "beans", *here, code=1, no_proxy="127.0.0.1").stderr
    refused = sambench_cli("run", "-t", "single_point", "-d", "beans", *here, "--out", tmp_path / "runs", code=2).stderr
    assert "m.zip" in refused
    assert "`sambench data get beans` goes on" in refused
    done = sambench_cli("data", "get", "beans", *here, "--yes", no_proxy="127.0.0.1")
    assert "sambench data check beans" in done.stdout
    listed = json.loads(sambench_cli("list", "datasets", *here, "--json").stdout)
    assert next(row for row in listed if row["name"] == "beans")["status"] == "present"
    assert sambench_cli("data", "check", "beans", *here).stdout.endswith("beans (all): passed\n")
