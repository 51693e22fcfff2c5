"""A study from runs to summary: which masks, what raters are shown, what the server answers, what is refused."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import study_runs
from PIL import Image

from sambench import masks
from sambench.clicks import next_click
from sambench.errors import UsageError
from sambench.metrics.iou import iou
from sambench.outputs import replay
from sambench.study import pictures, selection, studies, summary
from sambench.study.server import Server
from sambench.study.storage import TRUTH, Prompt, Storage
from sambench.types import Mask

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def models(made: Path) -> list[str]:
    return list(study_runs.models(made).values())


@pytest.fixture(scope="module")
def runs(made: Path, models: list[str]) -> Path:
    """Runs of both models on the discs."""
    dataset = study_runs.discs(made)
    for model in models:
        study_runs.run(made / "runs", dataset, model)
    return made / "runs"


@pytest.fixture(scope="module")
def whole(made: Path, runs: Path, models: list[str]) -> Path:
    """A study of all masks that may be rated. Not to be changed."""
    studies.prepare(made / "whole", [runs], 1000, study_runs.no_progress, say=print, models=models).close()
    return made / "whole"


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    """A copy to be rated."""
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.sqlite").write_bytes((whole / "study.sqlite").read_bytes())
    (tmp_path / "study" / "images").symlink_to(whole / "images")
    return tmp_path / "study"


def jobs_of(study: Path) -> list[tuple[str, str, str, dict[str, Any], Prompt]]:
    """Image, instance, source, code and prompt of each job, in the order of the queue."""
    with Storage(study) as storage:
        rows = storage._connection.execute(
            "SELECT image, instance, source, jobs.id FROM jobs JOIN masks ON masks.id = mask ORDER BY queue, jobs.id"
        ).fetchall()
        found = []
        for image, instance, source, id in rows:
            job = storage.job(id)
            assert job is not None
            found.append((json.loads(image), json.loads(instance), source, job.code, job.prompt))
    return found


# --- which masks ------------------------------------------------------------------------------------------------------


def test_the_same_masks_of_every_source(whole: Path) -> None:
    by_source: dict[str, set[tuple[str, str]]] = {}
    for image, instance, source, _, _ in jobs_of(whole):
        by_source.setdefault(source, set()).add((image, instance))
    assert len(by_source) == 3
    assert TRUTH in by_source
    # Of seven objects one has fewer than 24² pixels, one has in the picture that raters see.
    assert set(map(frozenset, by_source.values())) == {
        frozenset({("1", "1"), ("1", "2"), ("2", "4"), ("2", "5"), ("3", "6")})
    }


def test_sources_are_mixed_in_the_queue(whole: Path) -> None:
    sources = [source for _, _, source, _, _ in jobs_of(whole)]
    assert len(set(sources[:5])) > 1
    assert sources != sorted(sources)


def test_masks_and_prompts_are_those_of_the_runs(whole: Path, runs: Path, models: list[str]) -> None:
    opened = {
        run.name: run for run in (replay.open_run(path.parent, models=models) for path in runs.rglob("manifest.json"))
    }
    for image, instance, source, code, prompt in jobs_of(whole):
        run = opened.get(source) or next(iter(opened.values()))
        (case,) = run.cases(pictures.shown(run.load(image)), [instance])
        click = next_click(case.instance.mask)
        assert click is not None
        assert prompt == Prompt(point=(click.x, click.y))
        expected = case.instance.mask if source == TRUTH else case.predicted
        assert masks.to_rle(expected) == code
        if source != TRUTH and image != "3":
            assert iou(masks.from_rle(code), case.instance.mask) == case.recorded_iou


def test_a_large_image_is_made_smaller_before_it_is_prompted(whole: Path) -> None:
    ((image, instance, _, code, prompt), *_) = [job for job in jobs_of(whole) if job[0] == "3" and job[2] == TRUTH]
    assert (image, instance, code["size"]) == ("3", "6", [250, 2000])
    # 2400 to 2000 pixels: the disc of radius 100 about (500, 150) is one of 83.3 about (416.7, 125).
    mask = masks.from_rle(code)
    assert mask.area == pytest.approx(np.pi * (100 / 1.2) ** 2, rel=0.01)
    assert prompt.point == pytest.approx((416.7, 125), abs=1.5)


def test_fewer_masks_are_the_beginning_of_more(made: Path, runs: Path, models: list[str]) -> None:
    drawn = [selection.plan([runs], most, models=models)[0].drawn for most in (2, 3, 5)]
    keys = [{(image, one) for image, ids in draw.items() for one in ids} for draw in drawn]
    assert [len(k) for k in keys] == [2, 3, 5]
    assert keys[0] < keys[1] < keys[2]


def test_making_a_study_goes_on_where_it_stopped(made: Path, runs: Path, models: list[str], whole: Path) -> None:
    folder = made / "interrupted"

    class Interrupted(study_runs.Silent):
        left = 4

        def update(self, images: int, masks: int, failed: int) -> None:
            Interrupted.left -= 1
            if not Interrupted.left:
                raise KeyboardInterrupt

    @contextmanager
    def interrupt(*_: Any) -> Iterator[Interrupted]:
        yield Interrupted()

    with pytest.raises(KeyboardInterrupt):
        studies.prepare(folder, [runs], 1000, interrupt, say=print, models=models)
    with pytest.raises(UsageError, match="is not whole yet: give the runs again"):
        studies.prepare(folder, [], 1000, study_runs.no_progress, say=print)
    studies.prepare(folder, [runs], 1000, study_runs.no_progress, say=print, models=models).close()
    assert jobs_of(folder) == jobs_of(whole)


def test_boxes_are_shown_as_boxes(made: Path, models: list[str]) -> None:
    for model in models:
        study_runs.run(made / "boxes", study_runs.discs(made), model, "instances")
    studies.prepare(made / "boxed", [made / "boxes"], 3, study_runs.no_progress, say=print, models=models).close()
    for _, _, source, code, prompt in jobs_of(made / "boxed"):
        assert prompt.point is None
        assert prompt.box is not None
        if source == TRUTH and code["size"][1] < 2000:
            assert prompt.box == masks.from_rle(code).box


# --- what is refused --------------------------------------------------------------------------------------------------


def test_runs_that_do_not_go_together(made: Path, runs: Path, models: list[str], tmp_path: Path) -> None:
    dataset = study_runs.discs(made)
    other = study_runs.run(tmp_path / "subset", dataset, models[1], subset="2")
    first = next(iter(runs.rglob("Exact@*")))
    with pytest.raises(UsageError, match=r"cannot be rated beside each other: subset is 2 in .* and paper in"):
        selection.plan([first, other], 5, models=models)
    random = study_runs.run(tmp_path / "random", dataset, models[1], assignments=["task.first_click=random"])
    with pytest.raises(UsageError, match=r"prompt is first click: centre in .* and first click: random in"):
        selection.plan([first, random], 5, models=models)
    elsewhere = study_runs.run(tmp_path / "demo", "demo", "region_tree", limit=1)
    with pytest.raises(UsageError, match=r"was not run on .*, and others were"):
        selection.plan([first, elsewhere], 5, models=models)
    with pytest.raises(UsageError, match="does not exist"):
        selection.plan([tmp_path / "nowhere"], 5)


def test_another_draw_into_the_same_study(study: Path, runs: Path, models: list[str]) -> None:
    with pytest.raises(UsageError, match=r"holds a study of other runs or masks \(5 masks of coco_json"):
        studies.prepare(study, [runs], 3, study_runs.no_progress, say=print, models=models)
    studies.prepare(study, [runs], 1000, study_runs.no_progress, say=print, models=models).close()


def test_nothing_large_enough(made: Path, models: list[str], toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    path = study_runs.run(tmp_path, f"mask_pngs:{toy_data}", toy_model)
    with pytest.raises(UsageError, match="no mask of at least 576 pixels in common"):
        selection.plan([path], 5, models=[toy_model])


def test_the_command_line_says_what_is_wrong_in_a_line(sambench_cli: Call, study: Path, tmp_path: Path) -> None:
    def refused(*arguments: object, code: int = 2) -> str:
        done = sambench_cli("rate", *arguments, code=code)
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    assert "holds no study" in refused("--study", tmp_path / "none")
    assert "has no ratings yet" in refused("--study", study, "--summary")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"cannot serve at 127.0.0.1 port {port}" in refused("--study", study, "--port", port)
    assert "cannot serve at 192.0.2.1" in refused("--study", study, "--host", "192.0.2.1", "--port", 0)
    (study / "study.sqlite").write_bytes(b"not a database, and long enough to be looked at as one" * 10)
    assert "study.sqlite is damaged" in refused("--study", study, code=1)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_layer_is_the_mask_in_one_colour() -> None:
    dense = np.zeros((5, 11), bool)
    dense[1:3, 2:9] = True
    with Image.open(io.BytesIO(pictures.layer(Mask.from_dense(dense), pictures.RED))) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    assert (pixels[dense] == pictures.RED).all()
    assert (pixels[~dense][:, 3] == 0).all()


@pytest.mark.parametrize(
    ("box", "prompt", "expected"),
    [
        # 100 by 60 about (250, 130): a quarter of 100 on each side.
        ((200, 100, 300, 160), Prompt(point=(250, 150)), (175, 75, 150, 110)),
        # At the corner the window stays inside; a small mask gets 48 pixels.
        ((0, 0, 10, 10), Prompt(point=(5, 5)), (0, 0, 48, 48)),
        # No mask: about the prompt.
        ((0, 0, 0, 0), Prompt(box=(100, 100, 200, 150)), (75, 75, 150, 100)),
        # As large as the image: all of it.
        ((0, 0, 400, 300), Prompt(point=(5, 5)), (0, 0, 400, 300)),
    ],
)
def test_the_zoomed_window(
    box: tuple[int, int, int, int], prompt: Prompt, expected: tuple[float, float, float, float]
) -> None:
    dense = np.zeros((300, 400), bool)
    dense[box[1] : box[3], box[0] : box[2]] = True
    assert pictures.window(Mask.from_dense(dense), prompt) == expected


# --- the server -------------------------------------------------------------------------------------------------------


@contextmanager
def served(study: Path, **more: Any) -> Iterator[Server]:
    with Storage(study) as storage, Server(storage, "127.0.0.1", 0, **more) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(
    server: Server, path: str, body: Any = None, cookies: str = "rater=ann", headers: Mapping[str, str] | None = None
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    sent = {"Cookie": cookies, "Content-Type": "application/json", **(headers or {})}
    content = None if body is None else body if isinstance(body, (str, bytes)) else json.dumps(body)
    connection.request("GET" if body is None else "POST", path, content, sent)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response, answer


def test_nothing_that_is_sent_names_the_source(study: Path) -> None:
    sources = {source for _, _, source, _, _ in jobs_of(study)}
    with served(study) as server:
        _, page = ask(server, "/")
        _, content = ask(server, "/api/job")
        job = json.loads(content)["job"]
        texts = [page.decode(), content.decode()]
        for name in ("image.jpg", "overlay.png", "alone.png"):
            response, picture = ask(server, f"/jobs/{job['id']}/{name}")
            assert response.status == 200
            assert Image.open(io.BytesIO(picture)).size == (job["width"], job["height"])
            texts += [str(response.headers)]
    assert sorted(job) == ["box", "empty", "height", "id", "point", "width", "zoom"]
    for text in texts:
        assert not any(source in text or source.partition("@")[0] in text for source in sources)


def test_rating_and_undo_over_the_wire(study: Path) -> None:
    with served(study) as server:
        first = json.loads(ask(server, "/api/job")[1])["job"]["id"]
        answer = json.loads(ask(server, "/api/rating", {"job": first, "score": 9, "seconds": 2.5})[1])
        assert (answer["saved"], answer["progress"]) == (9, {"done": 1, "total": 15, "mine": 1})
        assert answer["job"]["id"] != first
        undone = json.loads(ask(server, "/api/undo", {})[1])
        assert (undone["undone"], undone["job"]["id"], undone["progress"]["done"]) == (9, first, 0)
        response, content = ask(server, "/api/rating", {"job": first, "score": 9}, cookies="rater=bob")
        assert response.status == 409
        assert "not on your screen" in json.loads(content)["error"]


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[]",
        '{"job": "x"}',
        '{"job": 7, "score": 5}',
        '{"job": "x", "score": 0}',
        '{"job": "x", "score": 5.5}',
        '{"job": "x", "score": 5, "seconds": "long"}',
        '{"job": "x", "score": 5, "seconds": 1e400}',
        b'{"job": "\xff", "score": 5}',
    ],
)
def test_what_is_no_rating_is_refused(study: Path, body: str | bytes) -> None:
    with served(study) as server:
        response, content = ask(server, "/api/rating", body)
        assert response.status == 400
        assert "this is not a rating" in json.loads(content)["error"]
        assert json.loads(ask(server, "/api/job")[1])["progress"]["done"] == 0


@pytest.mark.parametrize(
    ("path", "body", "cookies", "headers", "status"),
    [
        ("/api/job", None, "", {}, 401),
        ("/api/job", None, "rater=" + "x" * 61, {}, 401),
        ("/api/job", None, "rater=ann", {"Host": "evil.example"}, 403),
        ("/api/job", None, "rater=ann", {"Host": "[::"}, 400),
        ("/jobs/00/../../study.sqlite", None, "rater=ann", {}, 404),
        ("/jobs/0123/image.jpg", None, "rater=ann", {}, 404),
        ("/assets/base.html", None, "rater=ann", {}, 404),
        ("/api/rating", "{}", "rater=ann", {"Content-Type": "text/plain"}, 415),
        ("/api/rating", "x" * 20_000, "rater=ann", {}, 413),
        ("/api/nothing", "{}", "rater=ann", {}, 404),
    ],
)
def test_what_nobody_may(
    study: Path, path: str, body: str | None, cookies: str, headers: dict[str, str], status: int
) -> None:
    with served(study) as server:
        response, content = ask(server, path, body, cookies, headers)
        assert response.status == status
        assert json.loads(content)["error"]


def test_others_need_the_token(study: Path) -> None:
    with Storage(study) as storage, pytest.raises(UsageError, match="raters need a token"):
        Server(storage, "0.0.0.0", 0)
    with served(study, token="s3cret") as server:
        assert server.url.endswith("/?token=s3cret")
        assert ask(server, "/api/job")[0].status == 403
        assert ask(server, "/api/job", cookies="rater=ann; token=wrong")[0].status == 403
        response, content = ask(server, "/")
        assert response.status == 403
        assert b'name="token"' in content
        response, _ = ask(server, "/?token=s3cret")
        assert (response.status, response.headers["Location"]) == (303, "/")
        assert re.search(r"token=s3cret;.* HttpOnly; SameSite=Strict", response.headers["Set-Cookie"])
        # Whoever has it may come by any name that the machine has.
        assert ask(server, "/api/job", None, "rater=ann; token=s3cret", {"Host": "lab.example"})[0].status == 200
        assert ask(server, "/assets/rate.js")[0].status == 200


def test_names_are_escaped_and_kept(study: Path) -> None:
    name = "<script>alert(1)</script> Ünï"
    with served(study) as server:
        response, _ = ask(
            server, "/sign-in", "name=%3Cscript%3Ealert(1)%3C%2Fscript%3E++%C3%9Cn%C3%AF%0A", "",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        assert response.status == 303
        cookies = "; ".join(line.partition(";")[0] for line in response.headers.get_all("Set-Cookie", []))
        page = ask(server, "/", cookies=cookies)[1].decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt; Ünï" in page
        assert "<script>alert" not in page
        job = json.loads(ask(server, "/api/job", cookies=cookies)[1])["job"]
        ask(server, "/api/rating", {"job": job["id"], "score": 5}, cookies)
        assert [r.rater for r in server.storage.ratings()] == [name]


def test_a_killed_server_goes_on(study: Path) -> None:
    """Every rating that was answered is there; the same mask is on the screen again."""

    def start() -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-u", "-m", "sambench", "rate", "--study", str(study), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)/ ", line)
        assert found, line
        return process, int(found[1])

    def call(port: int, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Cookie": "rater=ann", "Content-Type": "application/json"}
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
        return json.loads(connection.getresponse().read())

    process, port = start()
    first = call(port, "/api/job")["job"]["id"]
    answer = call(port, "/api/rating", {"job": first, "score": 7})
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    process, port = start()
    try:
        again = call(port, "/api/job")
        assert again["job"]["id"] == answer["job"]["id"]
        assert again["progress"] == {"done": 1, "total": 15, "mine": 1}
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert "stopped: 1 of 15 ratings are there" in said


# --- what came of it --------------------------------------------------------------------------------------------------


def rate_all(study: Path, raters: Mapping[str, int]) -> None:
    """The truth gets 9, everything else 6, and each rater adds something."""
    with Storage(study) as storage:
        truths = {
            id for (id,) in storage._connection.execute("SELECT id FROM jobs WHERE source = ?", (TRUTH,)).fetchall()
        }
        for rater, more in raters.items():
            while (id := storage.next_job(rater, len(raters))) is not None:
                storage.rate(id, rater, (9 if id in truths else 6) + more, 30.0)


def test_the_summary_says_it_all(sambench_cli: Call, study: Path) -> None:
    rate_all(study, {"ann": 0, "bob|<b>": 1})
    done = sambench_cli("rate", "--study", study, "--summary", "--json")
    found = json.loads(done.stdout)
    assert found == json.loads((study / "summary" / "summary.json").read_text())
    (part,) = found["parts"]
    assert part["complete"] is True
    assert list(part["sources"])[-1] == TRUTH
    # Each mask has two ratings, 9 and 10 or 6 and 7, whose mean it counts with.
    assert [round(s["mean"], 9) for s in part["sources"].values()] == [6.5, 6.5, 9.5]
    assert [(d["difference"], d["ci99"], d["p"], d["masks"]) for d in part["differences"]] == [
        (0, [0, 0], None, 5),
        (3, [3, 3], None, 5),
        (3, [3, 3], None, 5),
    ]
    assert (found["agreement"]["jobs"], found["agreement"]["within_one"]) == (15, 1)
    assert found["agreement"]["within"] == pytest.approx(np.sqrt(0.5))
    assert [rater["seconds"] for rater in found["raters"]] == [30, 30]
    page = (study / "summary" / "summary.md").read_text()
    assert "| ground truth | 9.50 | 9.50 to 9.50 | 5 of 5 |" in page
    assert r"| bob\|&lt;b&gt; | 15 |" in page
    assert "![Histogram of ratings" in page
    assert "Not all masks are rated" not in page
    picture = (study / "summary" / "ratings-1.svg").read_text()
    assert "ground truth, 9.50 ± 0.00" in picture
    assert "Exact@" in picture


def test_the_summary_of_a_study_that_goes_on(study: Path) -> None:
    with Storage(study) as storage:
        for score in (3, 8, 5):
            id = storage.next_job("ann")
            assert id is not None
            storage.rate(id, "ann", score)
        found = summary.summarize(storage)
    assert sum(source.masks for source in found.parts[0].sources.values()) == 3
    assert not found.parts[0].complete
    assert "**Not all masks are rated yet**" in summary.page(found)
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_masks_that_came_out_otherwise_are_said(study: Path) -> None:
    rate_all(study, {"ann": 0})
    with Storage(study) as storage:
        assert storage.differing() == {}
        storage._connection.execute(
            "UPDATE jobs SET iou = iou - .01 WHERE id = (SELECT min(id) FROM jobs WHERE iou > .5)"
        )
        found = summary.summarize(storage)
    ((source, counts),) = found.differing.items()
    assert "@" in source
    # Of the five objects, the one in the image that was made smaller was not recorded like this.
    assert counts == (1, 4)
    assert "1 of 4 masks have another IoU than the run recorded" in summary.page(found)


def test_the_same_ratings_give_the_same_bytes(study: Path, tmp_path: Path) -> None:
    rate_all(study, {"ann": 0})
    found, first = studies.sum_up(study)
    second = summary.write(found, tmp_path / "again")
    for name in ("summary.md", "summary.json", "ratings-1.svg"):
        assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()
