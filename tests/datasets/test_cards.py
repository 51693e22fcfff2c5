"""Every card is complete; the 23 are the paper's; the pages of the documentation match the cards.

The messages name the step of CONTRIBUTING.md ("Add a dataset") that was forgotten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT

from sambench.data import catalogue, pages
from sambench.errors import UsageError
from sambench.planning.find_datasets import members
from sambench.plugins import options, registry
from sambench.types import Card

NAMES = registry.names("datasets")
SHIPPED = sorted(path.stem for path in (ROOT / "datasets").glob("*.py"))

# Segment Anything, Table 7: name as printed, images, masks sampled.
TABLE_7 = {
    "ppdls": ("PPDLS", 182, 2347),
    "bbbc038": ("BBBC038v1", 227, 10506),
    "doors": ("DOORS", 10000, 10000),
    "timberseg": ("TimberSeg", 220, 2487),
    "ndd20": ("NDD20", 4402, 6100),
    "lvis": ("LVIS", 945, 9642),
    "streets": ("STREETS", 819, 9854),
    "zerowaste_f": ("ZeroWaste-f", 2947, 6155),
    "ishape": ("iShape", 754, 9742),
    "ade20k": ("ADE20K", 302, 10128),
    "ovis": ("OVIS", 2044, 10011),
    "hypersim": ("Hypersim", 338, 9445),
    "ndispark": ("NDISPark", 111, 2577),
    "visor": ("VISOR", 1864, 10141),
    "plittersdorf": ("Plittersdorf", 187, 546),
    "egohos": ("EgoHOS", 2940, 9961),
    "ibd": ("IBD", 467, 11953),
    "woodscape": ("WoodScape", 107, 10266),
    "cityscapes": ("Cityscapes", 293, 9973),
    "pidray": ("PIDRay", 3733, 8892),
    "dram": ("DRAM", 718, 1179),
    "trashcan": ("TrashCan", 5936, 9540),
    "gtea": ("GTEA", 652, 1208),
}

UNNAMED = {"bsds500", "ibd", "pidray", "plittersdorf", "sa1b"}
"""Datasets without named archives: a repository, a list of links, or a shared folder with unknown file names."""

WRITE_PAGES = "python -m sambench.data.pages docs"


def plugin(name: str) -> Any:
    return registry.load("datasets", name)


def lacks(card: Card, field: str) -> str:
    """The message for a card without a field that every card needs."""
    return f"datasets/{card.name}.py: CARD lacks {field}"


@pytest.fixture(params=NAMES)
def card(request: pytest.FixtureRequest) -> Card:
    found: Card = plugin(request.param).card
    assert found.name == request.param, f"datasets/{request.param}.py: CARD needs name={request.param!r}"
    return found


def test_the_23_of_the_paper() -> None:
    assert sorted(members("sam23", None)) == sorted(TABLE_7)
    used = {name: plugin(name).card.paper for name in TABLE_7}
    assert {name: (use.name, use.images, use.masks) for name, use in used.items()} == TABLE_7
    assert sum(use.images for use in used.values()) == 40_188
    assert sum(use.masks for use in used.values()) == 172_653
    kinds = {name: plugin(name).card.kind for name in TABLE_7}
    assert {name for name, kind in kinds.items() if kind != "instance"} == {"cityscapes", "dram"}
    assert (kinds["cityscapes"], kinds["dram"]) == ("panoptic", "semantic")


def test_the_five_of_ritm() -> None:
    assert members("ritm5", None) == ["berkeley", "davis345", "grabcut", "pascal_voc", "sbd"]


def test_all_is_the_real_ones_and_nothing_else() -> None:
    everything = set(members("all", "single_point"))
    assert everything >= {*TABLE_7, "coco"}
    assert everything.isdisjoint({"demo", "coco_json", "mask_pngs"})


def test_only_the_23_say_what_the_paper_used(card: Card) -> None:
    assert (card.paper is not None) == (card.group == "sam23")


def test_who_it_is(card: Card) -> None:
    assert card.group in pages.GROUPS, lacks(card, f"a group of {', '.join(pages.GROUPS)}")
    assert card.kind in ("instance", "panoptic", "semantic"), lacks(card, "kind=instance, panoptic or semantic")
    assert card.title == card.title.strip() != "", lacks(card, "title=")
    assert card.licence, lacks(card, "licence=")
    assert card.access.strip(), lacks(card, "access=: how to get the files, one step a line")
    assert card.layout.strip(), lacks(card, "layout=: the tree under the dataset's folder")
    assert card.tasks, lacks(card, "tasks=: the tasks that the dataset supports")
    if card.group != "generic":
        assert re.search(r"\b(19|20)\d\d\b", card.citation), lacks(card, "citation= with a year")
        # Some authors' servers speak no https.
        assert re.match(r"https?://\w", card.url), lacks(card, "url=: the home page")


def test_splits(card: Card) -> None:
    assert {card.default_split, *card.task_splits.values()} <= set(card.splits), lacks(card, "its default in splits=")
    assert set(card.task_splits) <= card.tasks
    for split in card.splits.values():
        assert all(count is None or count > 0 for count in (split.images, split.masks))


def test_folders_and_shared_images(card: Card) -> None:
    if card.group not in ("demo", "generic"):
        assert card.folders[:1] == (card.name,), lacks(card, f'folders=("{card.name}", ...)')
    assert len(set(card.folders)) == len(card.folders)
    assert not any("/" in folder for folder in card.folders)
    assert card.name not in card.same_images_as


def test_archives(card: Card) -> None:
    if card.group not in ("demo", "generic"):
        assert bool(card.archives) != (card.name in UNNAMED), lacks(
            card, "archives=(Archive(FILE, HOLDS), ...): the files to download; UNNAMED lists the datasets without"
        )
    assert len({(a.into, a.file) for a in card.archives}) == len(card.archives)
    for archive in card.archives:
        assert archive.file
        assert archive.holds
        assert "/" not in archive.file
        assert not archive.into.startswith("/")
        assert ".." not in Path(archive.into).parts
        assert archive.into == archive.into.strip("/")
        assert set(archive.splits) <= set(card.splits)
        assert re.fullmatch(r"(https?://\S+)?", archive.url)
        assert re.fullmatch(r"([0-9a-f]{64})?", archive.sha256)


def test_semantics_and_gotchas_are_sentences(card: Card) -> None:
    semantics = card.semantics
    sentences = [semantics.void, semantics.crowd, semantics.components, semantics.frames]
    if card.group not in ("demo", "generic") and card.tasks != {"edges"}:
        assert any((*sentences, semantics.parts, semantics.stuff, semantics.overlaps, semantics.dropped)), lacks(
            card, "semantics=Semantics(...): what counts as a mask"
        )
    for text in [*filter(None, sentences), *card.gotchas]:
        assert text == text.strip()
        assert text.endswith(".")
        assert "\n" not in text


def test_every_option_has_a_default_and_a_word(card: Card) -> None:
    own = plugin(card.name).Options
    own()
    for option in options.described(own):
        assert option.meaning.endswith("."), f"no docstring below dataset.{option.name} says what it is"


def test_shown_in_full(card: Card) -> None:
    shown = catalogue.text(catalogue.card("dataset", card.name, []))
    for part in (
        card.title,
        *(a.file for a in card.archives),
        *(a.url for a in card.archives),
        card.semantics.components,
    ):
        assert part in shown
    if card.paper is not None:
        assert f"masks: {card.paper.masks}" in shown


# --- the documentation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_is_the_card_s(name: str) -> None:
    path = ROOT / "docs" / "datasets" / f"{name}.md"
    assert path.is_file(), f"docs/datasets/{name}.md is missing: run {WRITE_PAGES}"
    assert path.read_text() == pages.page(plugin(name)), f"docs/datasets/{name}.md is out of date: run {WRITE_PAGES}"


def test_the_index_page_is_the_cards() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text()
    expected = pages.with_table(text, [plugin(name).card for name in SHIPPED])
    assert text == expected, f"the table of docs/datasets.md is out of date: run {WRITE_PAGES}"
    extra = {p.stem for p in (ROOT / "docs" / "datasets").glob("*.md")} - set(SHIPPED)
    assert not extra, f"pages of no dataset in docs/datasets/, remove them: {', '.join(sorted(extra))}"


def test_a_newcomer_reads_the_way_to_the_data_within_a_minute(card: Card) -> None:
    """Of about 240 words. A tree of folders is looked at, not read."""
    way = pages.page(plugin(card.name)).partition("## Get it")[2].partition("It should look like this:")[0]
    words = re.findall(r"\w\S*", re.sub(r"https?://\S+", "address", way))
    assert len(words) < 240
    assert card.access.splitlines()[0].strip() in way


def test_pages_are_written(tmp_path: Path) -> None:
    (tmp_path / "datasets.md").write_text("no place")
    with pytest.raises(UsageError, match="has no lines"):
        pages.write(tmp_path)
    (tmp_path / "datasets.md").write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    assert len(pages.write(tmp_path)) == len(NAMES) + 1
    index = (tmp_path / "datasets.md").read_text()
    assert index.startswith("before\n")
    assert index.endswith("after\n")
    assert "| [bbbc038](datasets/bbbc038.md) |" in index
    assert "old" not in index.split(pages.BEGIN)[1].split("\n")
