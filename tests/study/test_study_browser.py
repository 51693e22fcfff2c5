"""The rating page in a real Chromium: two raters at once, keys and undo, a reload, a server that is killed."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import study_runs
from helpers.browser import Tab, browser, new_tab, tab  # noqa: F401
from PIL import Image

from sambench.study import pictures, studies
from sambench.study.storage import Storage


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    model = study_runs.models(folder)["Loose"]
    dataset = study_runs.discs(folder)
    for task in ("single_point", "instances"):
        run = study_runs.run(folder, dataset, model, task)
        studies.prepare(folder / task, [run], 1000, study_runs.no_progress, say=print, models=[model]).close()
    return folder


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return copied(made / "single_point", tmp_path)


def copied(whole: Path, into: Path) -> Path:
    (into / "study").mkdir()
    (into / "study" / "study.sqlite").write_bytes((whole / "study.sqlite").read_bytes())
    (into / "study" / "images").symlink_to(whole / "images")
    return into / "study"


class Served:
    """A server in a process of its own, as people start it."""

    def __init__(self, study: Path, *more: str) -> None:
        self.study, self.more, self.port = study, more, "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-u", "-m", "sambench", "rate", "--study", str(self.study), "--port", self.port]
        command += self.more
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://[^:]+:(\d+)/\S*", self.process.stdout.readline())
        assert found
        self.url, self.port = found[0], found[1]

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def served(study: Path) -> Iterator[Served]:
    server = Served(study)
    yield server
    server.kill()


def sign_in(tab: Tab, url: str, name: str) -> Any:  # noqa: F811
    page = tab.open(url)
    page.get_by_label("Your name or initials").fill(name)
    page.get_by_role("button", name="Begin").click()
    ready(page)
    return page


def ready(page: Any) -> None:
    page.locator("[data-score]:enabled").first.wait_for()


def shown(page: Any) -> str:
    """The job on the screen."""
    link = page.locator("#overlay image.mask").get_attribute("href")
    return str(link.split("/")[2])


def press(page: Any, key: str, said: str) -> None:
    page.keyboard.press(key)
    page.get_by_role("status").get_by_text(said).wait_for()
    ready(page)


def ratings(study: Path) -> dict[str, tuple[str, int]]:
    with Storage(study) as storage:
        return {r.job: (r.rater, r.score) for r in storage.ratings()}


def test_keys_rate_and_undo(served: Served, tab: Tab) -> None:  # noqa: F811
    page = sign_in(tab, served.url, "Ann")
    first = shown(page)
    press(page, "7", "7 is saved.")
    second = shown(page)
    press(page, "0", "10 is saved.")
    assert ratings(served.study) == {first: ("Ann", 7), second: ("Ann", 10)}
    assert page.locator("#counted").inner_text() == "2 of 10 rated, 2 by you"
    press(page, "u", "The 10 is taken back: rate the mask again.")
    assert shown(page) == second
    assert page.locator(".before").inner_text() == "10"
    page.get_by_role("button", name="3", exact=True).click()
    page.get_by_role("status").get_by_text("3 is saved.").wait_for()
    assert ratings(served.study) == {first: ("Ann", 7), second: ("Ann", 3)}
    assert tab.console == []
    assert all(url.startswith((served.url, "data:")) for url in tab.requests)


def test_the_views_show_what_they_say(served: Served, tab: Tab) -> None:  # noqa: F811
    page = sign_in(tab, served.url, "Ann")
    assert page.locator("figcaption").all_inner_texts() == [
        "Image",
        "Mask over the image",
        "Mask alone",
        "Image, closer",
        "Mask over the image, closer",
    ]
    boxes = [svg.get_attribute("viewBox") for svg in page.locator(".view svg").all()]
    assert len(set(boxes[:3])) == len(set(boxes[3:])) == 1
    assert page.locator(".prompt circle").count() == 5
    with Image.open(io.BytesIO(page.locator("#alone svg").screenshot())) as picture:
        colours = {colour for count, colour in picture.convert("RGB").getcolors(1 << 24) if count > 100}
    assert {(75, 29, 107), pictures.YELLOW[:3]} <= colours, "yellow on purple"
    # The overlay is the image but for the mask, which is redder.
    views = [page.locator(f"#{name} svg").screenshot() for name in ("whole", "overlay")]
    plain, over = (np.asarray(Image.open(io.BytesIO(view)).convert("RGB"), int) for view in views)
    changed = (plain != over).any(axis=2)
    assert 0.01 < changed.mean() < 0.6
    assert ((over - plain)[..., 0][changed] >= 0).mean() > 0.95
    assert ((over - plain)[..., 1:][changed] <= 0).mean() > 0.95


def test_the_box_is_drawn_around_its_object(made: Path, tmp_path: Path, tab: Tab) -> None:  # noqa: F811
    server = Served(copied(made / "instances", tmp_path))
    try:
        page = sign_in(tab, server.url, "Ann")
        job = page.evaluate("fetch('/api/job').then((answer) => answer.json())")["job"]
        assert page.locator("#prompted").inner_text() == "the box"
        drawn = page.locator("#whole .box")
        x, y, width, height = (float(drawn.get_attribute(name)) for name in ("x", "y", "width", "height"))
        assert [x, y, x + width, y + height] == job["box"]
        assert tab.serious_findings() == []
    finally:
        server.kill()


def test_two_raters_at_once_share_the_masks(served: Served, browser: Any) -> None:  # noqa: F811
    contexts = [browser.new_context() for _ in range(2)]
    pages = [sign_in(new_tab(c), served.url, name) for c, name in zip(contexts, ("Ann", "Bob"), strict=True)]
    assert shown(pages[0]) != shown(pages[1])
    for turn in range(5):
        for page, score in zip(pages, (4, 9), strict=True):
            page.keyboard.press(str(score))
        for page in pages:
            page.locator("#counted").get_by_text(f"{turn + 1} by you").wait_for()
            if turn < 4:
                ready(page)
    for page in pages:
        page.reload()
        page.get_by_text("Everything is rated. Thank you!").wait_for()
    given = ratings(served.study)
    assert len(given) == 10
    assert sorted(given.values()) == [("Ann", 4)] * 5 + [("Bob", 9)] * 5
    for context in contexts:
        context.close()


def test_a_reload_and_a_killed_server_lose_nothing(served: Served, tab: Tab) -> None:  # noqa: F811
    page = sign_in(tab, served.url, "Ann")
    press(page, "6", "6 is saved.")
    second = shown(page)
    page.reload()
    ready(page)
    assert shown(page) == second
    served.kill()
    page.keyboard.press("8")
    page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    assert list(ratings(served.study).values()) == [("Ann", 6)]
    served.start()
    press(page, "8", "8 is saved.")
    assert ratings(served.study)[second] == ("Ann", 8)
    page.reload()
    ready(page)
    assert page.locator("#counted").inner_text() == "2 of 10 rated, 2 by you"


def test_a_link_with_the_token_lets_in(study: Path, tab: Tab) -> None:  # noqa: F811
    server = Served(study, "--token", "let me in")
    try:
        plain = server.url.partition("?")[0]
        page = tab.open(plain)
        assert page.get_by_label("Token of the study").is_visible()
        page = sign_in(tab, server.url, "Ann")
        assert page.url == plain, "the token does not stay in the address"
        press(page, "5", "5 is saved.")
    finally:
        server.kill()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_sound_for_everyone(served: Served, browser: Any, width: int, height: int, scheme: str) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    watched = new_tab(context)
    watched.open(served.url)
    assert watched.serious_findings() == []
    page = sign_in(watched, served.url, "Ann")
    assert watched.serious_findings() == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    buttons = page.get_by_role("group", name="Rating from 1, worst, to 10, best").get_by_role("button")
    assert buttons.all_inner_texts() == [str(k) for k in range(1, 11)]
    for button in buttons.all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44
        assert box["y"] + box["height"] <= height, "all of the scale is on the screen"
    context.close()
