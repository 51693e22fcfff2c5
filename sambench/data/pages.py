"""Documentation written from cards and options: the pages of datasets, the tables on the pages of models and tasks.

``python -m sambench.data.pages docs`` writes ``docs/datasets/NAME.md`` for each shipped dataset, the table in
``docs/datasets.md``, the card tables in ``docs/models/FAMILY.md`` and the tables of options in ``docs/tasks/`` and
``docs/models/``; tests compare the committed pages with it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sambench.atomic_files import write_atomic
from sambench.core.dataset import Archive, Card, Semantics, Split
from sambench.errors import UsageError
from sambench.models import zoo
from sambench.models.cards import ModelCard
from sambench.plugins import options, registry

KINDS = ("tasks", "models")
OPTIONS = re.compile(
    r"(?P<begin><!-- options of (?P<kind>task|model) (?P<name>\S+) -->)\n.*?(?P<end><!-- end of the options -->)",
    re.DOTALL,
)
"""Where a page of a task or model has a table of options."""
BEGIN, END = "<!-- table of datasets: written from the cards -->", "<!-- end of the table -->"
BEGIN_MODELS, END_MODELS = "<!-- cards: written from sambench/models/families/ -->", "<!-- end of the cards -->"
GROUPS = {
    "sam23": "one of the 23 of Segment Anything",
    "reference": "beside the 23",
    "ritm5": "one of RITM's five",
    "demo": "made on first use",
    "generic": "your own data",
}


def page(plugin: Any) -> str:
    """One dataset's page, Markdown."""
    card: Card = plugin.card
    return "\n".join(line.rstrip() for line in _page(card, plugin.Options)) + "\n"


def table(cards: Iterable[Card]) -> str:
    """The index of all datasets: one row each, the groups in their order."""
    lines = [
        "| name | what | group | masks are | paper: images | paper: masks | to get it |",
        "|---|---|---|---|--:|--:|---|",
    ]
    for card in sorted(cards, key=lambda card: (list(GROUPS).index(card.group), card.name)):
        images, masks = (f"{card.paper.images:,}", f"{card.paper.masks:,}") if card.paper else ("", "")
        lines.append(
            f"| [{card.name}](datasets/{card.name}.md) | {_cell(card.title)} | {card.group} | {card.kind} | "
            f"{images} | {masks} | {_way(card)} |"
        )
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Writes all pages and tables under the folder of the documentation; answers what was written.

    Raises UsageError if ``datasets.md`` there has no place for the table, OutputError.
    """
    shipped = [registry.load("datasets", name) for name in registry.names("datasets")]
    index = folder / "datasets.md"
    content = {folder / "datasets" / f"{plugin.card.name}.md": page(plugin) for plugin in shipped}
    content[index] = with_table(index.read_text("utf-8"), [plugin.card for plugin in shipped])
    content |= {path: with_options(path.read_text("utf-8")) for kind in KINDS for path in (folder / kind).glob("*.md")}
    (folder / "datasets").mkdir(exist_ok=True)
    for path, text in content.items():
        write_atomic(path, text.encode("utf-8"))
    return sorted(content)


def with_table(text: str, cards: Iterable[Card]) -> str:
    """The index page with the table as it is now. Raises UsageError if it has no place for one."""
    return _between(text, BEGIN, END, table(cards), "the index page")


def families() -> dict[str, list[ModelCard]]:
    """The cards of the zoo by the name of their page: ``docs/models/NAME.md``."""
    pages: dict[str, list[ModelCard]] = {}
    for card in zoo.ZOO.values():
        pages.setdefault(card.family.replace(" ", "_"), []).append(card)
    return pages


def with_cards(text: str, name: str, cards: Iterable[ModelCard]) -> str:
    """A family's page with its cards as they are now. Raises UsageError if it has no place for them."""
    return _between(text, BEGIN_MODELS, END_MODELS, "\n".join(_cards(list(cards))), f"models/{name}.md")


def write_models(folder: Path) -> list[Path]:
    """Writes the cards into the pages of models, which must exist. Raises UsageError, OutputError."""
    content: dict[Path, str] = {}
    for name, cards in families().items():
        path = folder / "models" / f"{name}.md"
        if not path.is_file():
            raise UsageError(f"{path} is missing: write it, with the lines {BEGIN_MODELS} and {END_MODELS}")
        content[path] = with_cards(path.read_text("utf-8"), name, cards)
    for path, text in content.items():
        write_atomic(path, text.encode("utf-8"))
    return sorted(content)


def _between(text: str, begin: str, end: str, content: str, where: str) -> str:
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UsageError(f"{where} has no lines {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def _cards(cards: list[ModelCard]) -> Iterator[str]:
    yield from (
        "| model | parameters | capabilities | released weights trained on | licence |",
        "|---|--:|---|---|---|",
    )
    for card in cards:
        seen = "unknown" if card.trained_on is None else ", ".join(f"`{name}`" for name in sorted(card.trained_on))
        yield (
            f"| `{card.name}` | {'' if card.parameters is None else f'{card.parameters:,}'} | "
            f"{', '.join(sorted(card.capabilities))} | {seen or 'nothing'} | {_cell(card.licence)} |"
        )
    sources = dict.fromkeys(", ".join(filter(None, (card.citation, card.url))) for card in cards)
    if any(sources):
        yield from ("", *(f"- {source}" for source in sources if source))


def options_table(cls: type) -> str:
    """Markdown: what is said of the class as a whole, then a row for each option."""
    about = [options.about(cls).replace("``", "`"), ""] if options.about(cls) else []
    rows = [
        f"| `{one.name}` | {one.default and f'`{_cell(one.default)}`'} | {_cell(one.takes)} | {_cell(one.meaning)} |"
        for one in options.described(cls)
    ]
    return "\n".join([*about, "| option | default | takes | meaning |", "|---|---|---|---|", *rows])


def with_options(text: str) -> str:
    """A page of a task or model with the tables of options as they are now, where it has places for some."""

    def anew(place: re.Match[str]) -> str:
        kind, name = place["kind"], place["name"]
        cls = registry.load("tasks", name).Options if kind == "task" else zoo.options_class(name)
        return f"{place['begin']}\n{options_table(cls)}\n{place['end']}"

    return OPTIONS.sub(anew, text)


def _page(card: Card, options_class: type) -> Iterator[str]:
    yield f"# {card.title}"
    yield ""
    yield f"`{card.name}`: {GROUPS[card.group]}; masks are {card.kind}."
    yield ""
    yield from (f"- {what}: {text}" for what, text in (("cite", card.citation), ("home", card.url)) if text)
    yield f"- licence: {card.licence}"
    if card.paper is not None:
        paper = card.paper
        yield (
            f"- in Segment Anything (Table 7): {paper.name}, {paper.split}, {paper.images:,} images, "
            f"{paper.masks:,} masks"
        )
    yield ""
    yield "## Get it"
    yield ""
    if any(archive.url for archive in card.archives):
        yield from ("```bash", f"sambench data get {card.name}", "```", "")
        yield "or by hand:" if all(a.url for a in card.archives) else "downloads what is public; the rest by hand:"
        yield ""
    yield from (f"{number}. {step}" for number, step in enumerate(_steps(card), 1))
    yield ""
    if card.archives:
        yield from _archives(card.archives)
    yield from ("It should look like this:", "", "```", *card.layout.strip("\n").splitlines(), "```", "")
    yield from _splits(card)
    semantics = list(_semantics(card.semantics))
    if semantics:
        yield from ("## What counts as a mask", "", *(f"- {text}" for text in semantics), "")
    if options.described(options_class):
        yield from ("## Options (`--set dataset.KEY=VALUE`)", "", options_table(options_class), "")
    if card.gotchas:
        yield from ("## Mind", "", *(f"- {text}" for text in card.gotchas), "")
    if card.same_images_as:
        shared = ", ".join(f"`{name}`" for name in sorted(card.same_images_as))
        yield from (
            f"Its images are, in part or all, those of {shared}: a model trained on one has seen the other.",
            "",
        )
    yield f"*This page is written from the dataset's card: `datasets/{card.name}.py`.*"


def _steps(card: Card) -> Iterator[str]:
    yield from (line.strip() for line in card.access.splitlines() if line.strip())
    if card.group not in ("demo", "generic"):
        yield f"`sambench data check {card.name} --data-root DATA_ROOT` says whether it is whole."


def _archives(archives: Iterable[Archive]) -> Iterator[str]:
    yield from ("| file | holds | unpacked in | splits |", "|---|---|---|---|")
    for archive in archives:
        name = f"[{archive.file}]({archive.url})" if archive.url else archive.file
        into = f"`{archive.into}/`" if archive.into else "the dataset's folder"
        yield f"| {_cell(name)} | {_cell(archive.holds)} | {into} | {', '.join(archive.splits) or 'all'} |"
    yield ""


def _splits(card: Card) -> Iterator[str]:
    yield from ("## Splits", "", "| split | images | masks | |", "|---|--:|--:|---|")
    for name, split in card.splits.items():
        remarks = "; ".join(text for text in (_default_for(card, name), split.note) if text)
        yield f"| `{name}` | {_count(split, 'images')} | {_count(split, 'masks')} | {_cell(remarks)} |"
    yield ""


def _default_for(card: Card, split: str) -> str:
    tasks = [task for task, own in sorted(card.task_splits.items()) if own == split]
    if split == card.default_split:
        return "default"
    return f"default of {', '.join(tasks)}" if tasks else ""


def _count(split: Split, what: str) -> str:
    value: int | None = getattr(split, what)
    return "" if value is None else f"{value:,}"


def _semantics(semantics: Semantics) -> Iterator[str]:
    if semantics.parts:
        yield "Parts of objects are masks of their own."
    if semantics.stuff:
        yield "Amorphous regions (road, sky) are masks too."
    if semantics.overlaps:
        yield "Masks of an image may overlap, and are kept so."
    for name in ("void", "crowd", "components", "frames"):
        if text := getattr(semantics, name):
            yield f"{name.capitalize()}: {text}"
    if semantics.dropped:
        yield f"Left out: {', '.join(semantics.dropped)}."


def _way(card: Card) -> str:
    if card.group in ("demo", "generic"):
        return "nothing to get" if card.group == "demo" else "yours"
    public = [bool(archive.url) for archive in card.archives]
    if public and all(public):
        return "`data get`"
    return "`data get`, partly by hand" if any(public) else "by hand"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for written in (*write(docs), *write_models(docs)):
        print(written)
