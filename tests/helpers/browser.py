"""A real Chromium for tests of pages: headless, this machine only, with everything that a page asked for on record.

``from helpers.browser import browser, tab`` in a test module makes the fixtures known there; ``tab`` gives a fresh
:class:`Tab`. The browser is the machine's own (``chromium`` on the path, or ``SAMBENCH_CHROMIUM``); no driver is
downloaded. Where there is none the tests are skipped; in CI they fail, unless ``SAMBENCH_NO_BROWSER`` is set.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SERIOUS = ("serious", "critical")
"""Impacts of axe's findings that no page may have."""


@dataclass
class Tab:
    """A browser tab. ``page``: Playwright's own object. ``requests``: every URL that was asked for, in order.
    ``console``: warnings and errors of the page, and exceptions that nobody caught."""

    page: Any
    requests: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def open(self, target: Path | str, fragment: str = "") -> Any:
        """Loads a file or a URL and answers Playwright's page."""
        url = target.resolve().as_uri() if isinstance(target, Path) else target
        self.page.goto(url + (f"#{fragment}" if fragment else ""))
        return self.page

    def foreign_requests(self) -> list[str]:
        """What was asked for that is neither a file nor part of the page itself."""
        return [url for url in self.requests if not url.startswith(("file://", "data:", "blob:", "about:"))]

    def serious_findings(self) -> list[str]:
        """What axe-core finds on the page as it stands, serious or critical: rule and element, a line each."""
        from axe_playwright_python.sync_playwright import Axe

        # Preloading would fetch style sheets a second time, which a file:// page may not.
        found = Axe().run(self.page, options={"preload": False}).response["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}" for one in found if one["impact"] in SERIOUS for node in one["nodes"]
        ]


def chromium_path() -> str | None:
    """The machine's Chromium, or None."""
    given = os.environ.get("SAMBENCH_CHROMIUM")
    return given or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def _missing(what: str) -> None:
    message = f"{what}: the browser tests need Chromium and `pip install sambench[dev]`"
    # `.ci/run` sets it where no browser can be installed, and says so.
    if os.environ.get("CI") == "true" and not os.environ.get("SAMBENCH_NO_BROWSER"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a module (Playwright's ``Browser``)."""
    executable = chromium_path()
    if executable is None:
        _missing("no Chromium on the path and no SAMBENCH_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        _missing(str(error))
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Tab]:
    """A tab of its own, 1280 x 800 pixels, light colours; nothing is shared with other tests."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    yield new_tab(context)
    context.close()


def new_tab(context: Any) -> Tab:
    """Another tab in a context of Playwright's, watched like the fixture's."""
    tab = Tab(context.new_page())
    tab.page.set_default_timeout(60_000)
    tab.page.on("request", lambda request: tab.requests.append(request.url))
    tab.page.on(
        "console",
        lambda message: tab.console.append(message.text) if message.type in ("warning", "error") else None,
    )
    tab.page.on("pageerror", lambda error: tab.console.append(str(error)))
    return tab
