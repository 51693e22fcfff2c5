"""The site of a report in a real Chromium, opened from its files: sorting, filtering, sharing, links, galleries, what
assistive technology finds, phone and desktop, light and dark; no request to anywhere, nothing in the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import Tab, browser, new_tab, tab
from helpers.site_runs import HARM, hostile, many

__all__ = ["browser", "hostile", "many", "tab"]

SINGLE_POINT = "task=single_point-1"
MODELS = ".metric:not([hidden]) tbody tr:not([hidden]) th a:first-child"


@pytest.fixture(autouse=True)
def quiet(tab: Tab) -> Iterator[None]:
    """After every test: only files were asked for, and the console is empty."""
    yield
    assert tab.foreign_requests() == []
    assert tab.console == []


def models(page: Any) -> list[str]:
    """The models of the table that is shown, in its order."""
    shown: list[str] = page.locator(f"section.board:not([hidden]) {MODELS}").all_inner_texts()
    return shown


def head(page: Any, key: str) -> Any:
    return page.locator(f"section.board:not([hidden]) .metric:not([hidden]) th[data-key='{key}']")


def test_tables_are_sorted_by_a_click_and_the_address_keeps_it(tab: Tab, many: Path) -> None:
    page = tab.open(many / "index.html", SINGLE_POINT)
    assert models(page) == ["best", "middle", "worst", "partial"]
    head(page, "coco").get_by_role("button").click()
    assert models(page) == ["partial", "best", "middle", "worst"]  # the largest first: 87.5, 78.1, 53.1, 28.1
    assert head(page, "coco").get_attribute("aria-sort") == "descending"
    head(page, "coco").get_by_role("button").click()
    assert models(page) == ["worst", "middle", "best", "partial"]
    head(page, "mean").get_by_role("button").click()
    head(page, "mean").get_by_role("button").click()
    assert models(page) == ["worst", "middle", "best", "partial"], "no mean comes last either way"
    assert "sort=mean" in page.url
    assert "order=asc" in page.url
    head(page, "rank").get_by_role("button").click()
    assert models(page) == ["best", "middle", "worst", "partial"]


def test_an_address_opens_what_its_sender_saw(tab: Tab, many: Path) -> None:
    first = tab.open(many / "index.html", SINGLE_POINT)
    first.get_by_label("Metric").select_option("oracle_miou")
    first.get_by_label("Filter models").fill("st")
    head(first, "model").get_by_role("button").click()
    head(first, "model").get_by_role("button").click()
    assert models(first) == ["worst", "best"]
    other = new_tab(first.context)
    page = other.open(first.url)
    assert models(page) == ["worst", "best"]
    assert page.get_by_label("Filter models").input_value() == "st"
    assert page.locator("section.board:not([hidden]) h3 >> visible=true").first.inner_text() == "oracle mIoU (%)"
    assert other.console == []


def test_filters_show_what_fits_and_say_how_many(tab: Tab, many: Path) -> None:
    page = tab.open(many / "index.html")
    page.get_by_label("Task").select_option("single_point-1")
    page.get_by_label("Filter models").fill("TOYS mid")
    assert models(page) == ["middle"]
    assert page.get_by_role("status").inner_text().startswith("1 of 4 rows")
    page.get_by_label("Filter models").fill("")
    page.get_by_label("Rows").select_option("complete")
    assert models(page) == ["best", "middle", "worst"]
    page.get_by_label("Rows").select_option("zero-shot")
    assert models(page) == ["best", "partial"]
    page.get_by_label("Filter models").fill("nobody")
    assert models(page) == []
    page.go_back()


def test_an_address_of_another_report_shows_what_there_is(tab: Tab, many: Path) -> None:
    page = tab.open(many / "index.html", "task=gone-9&metric=gone&sort=gone&order=desc&filter=%3Cscript%3E")
    assert page.locator("section.board:not([hidden])").count() == 1
    assert page.get_by_label("Filter models").input_value() == "<script>"
    page.evaluate("location.hash = '#datasets'")
    assert page.locator("section.board:not([hidden])").count() == 1


def test_it_works_from_the_keyboard(tab: Tab, many: Path) -> None:
    page = tab.open(many / "index.html", SINGLE_POINT)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    head(page, "lvis").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head(page, "lvis").get_attribute("aria-sort") == "descending"
    assert page.evaluate("document.activeElement.closest('th').dataset.key") == "lvis"
    assert SINGLE_POINT in page.url, "links within the page leave the choice in the address"


def test_without_scripts_everything_is_there(browser: Any, many: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = new_tab(context).open(many / "index.html")
    assert page.locator("section.board >> visible=true").count() == 3
    assert page.locator("#controls").is_hidden()
    context.close()


def test_a_score_leads_to_its_run_and_a_metric_to_its_cases(tab: Tab, many: Path) -> None:
    page = tab.open(many / "index.html", SINGLE_POINT)
    page.get_by_role("link", name="75.0").first.click()
    assert page.locator("h1").inner_text().split() == ["best", "@62657374", "on", "ade20k"]
    page.get_by_role("link", name="see cases").click()
    page.wait_for_function("document.activeElement.id === 'cases-0'")
    pictures = page.locator(".gallery img")
    assert pictures.count() == 2
    for k in range(2):
        pictures.nth(k).scroll_into_view_if_needed()
        page.wait_for_function(f"document.querySelectorAll('.gallery img')[{k}].naturalWidth === 64")
    page.get_by_role("link", name="best").first.click()
    assert page.locator("h1").inner_text() == "Model best"
    page.get_by_role("link", name="ade20k").first.click()
    assert page.locator("h1").inner_text() == "Dataset ade20k"


def test_tables_of_other_pages_are_sorted_too(tab: Tab, many: Path) -> None:
    page = tab.open(next(many.glob("datasets/ade20k*")))
    names = page.locator("tbody th a")
    assert names.all_inner_texts()[:4] == ["best", "middle", "worst", "partial"]
    page.locator("th[data-key=miou]").get_by_role("button").click()
    assert names.all_inner_texts()[:4] == ["partial", "best", "middle", "worst"]


def test_names_that_mean_harm_do_nothing(tab: Tab, hostile: Path) -> None:
    for file in sorted(hostile.rglob("*.html")):
        page = tab.open(file)
        assert page.title() != "owned"
    page = tab.open(hostile / "index.html")
    page.get_by_label("Filter models").fill(HARM)
    assert page.title() == "Leaderboards · sambench"
    assert page.evaluate("document.dir || getComputedStyle(document.body).direction") == "ltr"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_no_page_overflows_and_axe_finds_nothing_serious(
    browser: Any, many: Path, hostile: Path, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    files = [next(many.glob(f"{what}*")) for what in ("runs/single_point-ade20k-best", "datasets/coco", "models/best")]
    for file in [many / "index.html", hostile / "index.html", *files, next(hostile.glob("runs/*"))]:
        watched = new_tab(context)
        page = watched.open(file, SINGLE_POINT if file == many / "index.html" else "")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, file
        assert watched.serious_findings() == [], file
        assert (watched.console, watched.foreign_requests()) == ([], [])
        page.close()
    context.close()
