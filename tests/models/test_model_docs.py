"""Every family of models has a page whose card table is the cards'; the messages name the step that was forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.paths import ROOT

from sambench.data import pages
from sambench.errors import UsageError
from sambench.models.cards import ModelCard

DOCS = ROOT / "docs"
FAMILIES = pages.families()
OTHER_PAGES = {"mask_generation"}
"""Pages of what several families share."""

WRITE_PAGES = "run python -m sambench.data.pages docs"


def check_page(docs: Path, name: str, cards: Sequence[ModelCard]) -> None:
    page = docs / "models" / f"{name}.md"
    guide = f"with the lines {pages.BEGIN_MODELS} and {pages.END_MODELS}, then {WRITE_PAGES}"
    assert page.is_file(), f"docs/models/{name}.md is missing: write it (docs/adding_a_model.md) {guide}"
    text = page.read_text("utf-8")
    assert pages.BEGIN_MODELS in text, f"docs/models/{name}.md has no table of its cards: write it {guide}"
    assert text == pages.with_cards(text, name, cards), f"docs/models/{name}.md is out of date: {WRITE_PAGES}"


@pytest.mark.parametrize("name", FAMILIES)
def test_the_page_has_the_cards(name: str) -> None:
    check_page(DOCS, name, FAMILIES[name])


def test_no_page_is_of_no_family() -> None:
    extra = {path.stem for path in (DOCS / "models").glob("*.md")} - FAMILIES.keys() - OTHER_PAGES
    assert not extra, f"pages of no family in docs/models/, remove them: {', '.join(sorted(extra))}"


def test_a_card_is_complete() -> None:
    """What needs a source has one: only of what was never trained there is nothing to cite or to license."""
    for card in (card for cards in FAMILIES.values() for card in cards if card.trained_on != frozenset()):
        for field in ("citation", "url", "weights", "licence"):
            assert getattr(card, field), f"sambench/models/families/: the card of {card.name} lacks {field}="


def test_a_forgotten_step_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    page, cards = tmp_path / "models" / "ritm.md", FAMILIES["ritm"]
    with pytest.raises(AssertionError, match=r"docs/models/ritm\.md is missing: write it"):
        check_page(tmp_path, "ritm", cards)
    with pytest.raises(UsageError, match=r"\.md is missing: write it"):
        pages.write_models(tmp_path)
    page.write_text("# RITM\n")
    with pytest.raises(AssertionError, match=r"docs/models/ritm\.md has no table of its cards"):
        check_page(tmp_path, "ritm", cards)
    with pytest.raises(UsageError, match=r"models/ritm\.md has no lines"):
        pages.with_cards(page.read_text(), "ritm", cards)
    page.write_text(pages.with_cards(f"{pages.BEGIN_MODELS}\n{pages.END_MODELS}\nafter\n", "ritm", cards))
    check_page(tmp_path, "ritm", cards)
    assert page.read_text().endswith(f"{pages.END_MODELS}\nafter\n")
    for change in ({"parameters": 1}, {"licence": "CC0"}, {"trained_on": None}, {"url": "https://example.org"}):
        with pytest.raises(AssertionError, match=r"is out of date: run python -m sambench\.data\.pages docs"):
            check_page(tmp_path, "ritm", [replace(cards[0], **change), *cards[1:]])


def test_the_pages_are_written(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in FAMILIES:
        (tmp_path / "models" / f"{name}.md").write_text(f"# Title\n\n{pages.BEGIN_MODELS}\n{pages.END_MODELS}\n")
    assert len(pages.write_models(tmp_path)) == len(FAMILIES)
    assert "| `sam_vit_h` | 641,090,864 |" in (tmp_path / "models" / "sam.md").read_text()
