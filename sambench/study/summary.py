"""What came of a study, as Markdown, JSON and histograms like those of the paper's Fig. 11."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from sambench.atomic_files import output_error, write_atomic
from sambench.errors import UsageError
from sambench.reporting import formatting
from sambench.reporting.svg import colour, draw, label
from sambench.reporting.table import Table
from sambench.study import analysis
from sambench.study.storage import LEAST, MOST, TRUTH, Rating, Storage

SCHEMA = 1
ALL = "all datasets"


@dataclass(frozen=True)
class Part:
    """The ratings of one dataset, or of all. ``jobs``: masks to be rated, by source."""

    dataset: str
    jobs: Mapping[str, int]
    sources: Mapping[str, analysis.Source]
    differences: Sequence[analysis.Difference]

    @property
    def complete(self) -> bool:
        return all(self.sources[source].masks == n for source, n in self.jobs.items())


@dataclass(frozen=True)
class Rater:
    """``seconds``: the median of what a mask took, None if no browser said."""

    name: str
    ratings: int
    mean: float
    seconds: float | None


@dataclass(frozen=True)
class Summary:
    """``parts``: each dataset, and all of them together where there are several. ``drawn``: what the study says of
    its drawing. ``differing``: as :meth:`Storage.differing`."""

    parts: Sequence[Part]
    agreement: analysis.Agreement
    raters: Sequence[Rater]
    drawn: Sequence[Mapping[str, Any]]
    differing: Mapping[str, tuple[int, int]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; undefined is null."""
        return {
            "schema": SCHEMA,
            "parts": [{**asdict(part), "complete": part.complete} for part in self.parts],
            "agreement": asdict(self.agreement),
            "raters": [asdict(rater) for rater in self.raters],
            "drawn": list(self.drawn),
            "differing": {source: {"masks": n, "of": of} for source, (n, of) in self.differing.items()},
        }


def summarize(storage: Storage) -> Summary:
    """Everything that is reported, from the ratings as they are now. Raises UsageError if there are none."""
    ratings, counts = storage.ratings(), storage.counts()
    if not ratings:
        raise UsageError(
            f"{storage.path} has no ratings yet: `sambench rate --study {storage.path.parent}` shows masks"
        )
    datasets = list(dict.fromkeys(dataset for dataset, _ in counts))
    parts = [
        _part(dataset, [one for one in ratings if one.dataset == dataset], _jobs(counts, dataset))
        for dataset in datasets
    ]
    if len(datasets) > 1:
        parts.append(_part(ALL, ratings, _jobs(counts, None)))
    return Summary(
        parts, analysis.agreement(ratings), _raters(ratings), storage.fact("drawn") or [], storage.differing()
    )


def write(summary: Summary, out: Path) -> Path:
    """``summary.md``, ``summary.json`` and a histogram for each part in ``out``; answers the path of the first. Raises
    UsageError (``out`` cannot be made) and OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output_error(out, error)}; choose another --study") from error
    for number, part in enumerate(summary.parts, 1):
        write_atomic(out / _histogram_name(number), histogram(part))
    content = json.dumps(summary.as_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(out / "summary.json", content.encode("utf-8", "backslashreplace"))
    write_atomic(out / "summary.md", page(summary).encode("utf-8", "backslashreplace"))
    return out / "summary.md"


def page(summary: Summary) -> str:
    """The whole summary as Markdown."""
    parts = ["# Ratings of masks\n"]
    for number, part in enumerate(summary.parts, 1):
        name = formatting.markdown(part.dataset)
        parts += [f"## {name}\n", _table_of_sources(part)]
        if part.differences:
            parts += [_table_of_differences(part)]
        parts += [f"![Histogram of ratings, {name}]({_histogram_name(number)})\n"]
    parts += ["## Raters\n", _table_of_raters(summary.raters), _agreement(summary.agreement), "## Notes\n"]
    parts += ["".join(f"- {note}\n" for note in _notes(summary))]
    return "\n".join(parts)


def histogram(part: Part) -> bytes:
    """Share of masks by rating, a group of bars for each score, a bar for each source (Fig. 11)."""

    def fill(figure: Any, axes: Any) -> None:
        width = 0.8 / max(len(part.sources), 1)
        for place, (name, source) in enumerate(part.sources.items()):
            half = "" if source.ci95 is None or source.mean is None else f" ± {source.ci95[1] - source.mean:.2f}"
            mean = "no ratings" if source.mean is None else f"{source.mean:.2f}{half}"
            axes.bar(
                [score + (place + 0.5) * width - 0.4 for score in range(LEAST, MOST + 1)],
                [100 * share for share in source.share],
                width,
                color=colour(place),
                label=f"{label(name)}, {mean}",
            )
        axes.set(xlabel="rating", ylabel="masks (%)", xticks=range(LEAST, MOST + 1))
        axes.set_title(label(part.dataset), fontsize=10)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", fontsize=8, frameon=False)

    return draw(7.2, 4.4, fill)


def _jobs(counts: Mapping[tuple[str, str], int], dataset: str | None) -> dict[str, int]:
    """By source, the annotation last."""
    jobs: dict[str, int] = {}
    for (of, source), n in counts.items():
        if dataset in (None, of):
            jobs[source] = jobs.get(source, 0) + n
    return dict(sorted(jobs.items(), key=lambda item: (item[0] == TRUTH, item[0])))


def _part(dataset: str, ratings: Sequence[Rating], jobs: Mapping[str, int]) -> Part:
    scores = analysis.by_object(ratings)
    return Part(
        dataset,
        jobs,
        {name: analysis.source(list(scores.get(name, {}).values())) for name in jobs},
        [analysis.difference(first, second, scores) for first, second in combinations(jobs, 2)],
    )


def _raters(ratings: Sequence[Rating]) -> list[Rater]:
    by_name: dict[str, list[Rating]] = {}
    for one in ratings:
        by_name.setdefault(one.rater, []).append(one)
    raters = []
    for name, given in sorted(by_name.items()):
        seconds = sorted(one.seconds for one in given if one.seconds is not None)
        median = None if not seconds else (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2
        raters.append(Rater(name, len(given), sum(one.score for one in given) / len(given), median))
    return raters


def _histogram_name(number: int) -> str:
    # By number: a dataset of the user's own is named by its paths.
    return f"ratings-{number}.svg"


def _table_of_sources(part: Part) -> str:
    rows = []
    for name, source in part.sources.items():
        shown = formatting.UNDEFINED if source.mean is None else f"{source.mean:.2f}"
        interval = formatting.UNDEFINED if source.ci95 is None else f"{source.ci95[0]:.2f} to {source.ci95[1]:.2f}"
        rows.append([name, shown, interval, f"{source.masks} of {part.jobs[name]}"])
    return Table.of_texts(["source", "mean rating", "95 % interval", "masks rated"], rows).markdown()


def _table_of_differences(part: Part) -> str:
    rows = []
    for one in part.differences:
        shown = formatting.UNDEFINED if one.difference is None else f"{one.difference:+.2f}"
        interval = formatting.UNDEFINED if one.ci99 is None else f"{one.ci99[0]:+.2f} to {one.ci99[1]:+.2f}"
        t = formatting.UNDEFINED if one.t is None else f"{one.t:.2f} ({one.df})"
        p = formatting.UNDEFINED if one.p is None else f"{one.p:.1e}" if one.p < 0.001 else f"{one.p:.3f}"
        rows.append([f"{one.second} over {one.first}", shown, interval, t, p, one.masks])
    return Table.of_texts(
        ["pair", "difference", "99 % interval", "t (df)", "p", "masks rated of both"], rows
    ).markdown()


def _table_of_raters(raters: Sequence[Rater]) -> str:
    rows = [
        [
            rater.name,
            rater.ratings,
            f"{rater.mean:.2f}",
            formatting.UNDEFINED if rater.seconds is None else f"{rater.seconds:.0f}",
        ]
        for rater in raters
    ]
    return Table.of_texts(["rater", "ratings", "mean rating", "seconds a mask (median)"], rows).markdown()


def _agreement(found: analysis.Agreement) -> str:
    if not found.jobs:
        return "No mask was rated by several people, so nothing is known of how far they agree.\n"
    alpha = formatting.UNDEFINED if found.alpha is None else f"{found.alpha:.3f}"
    return (
        f"{found.jobs} masks were rated by several people ({found.ratings} ratings): the standard deviation within a "
        f"mask is {found.within:.2f} on average (the paper's pilot: 0.83), {100 * (found.within_one or 0):.0f} % of "
        f"pairs of ratings are at most 1 apart, Krippendorff's alpha (interval) is {alpha}.\n"
    )


def _notes(summary: Summary) -> list[str]:
    notes = [
        "A mask that several people rated counts with the mean of their ratings.",
        "Mean: normal 95 % interval over masks. Difference: second minus first on objects of which both masks are "
        f"rated; paired t-test, two-sided; 99 % interval of {analysis.RESAMPLES} paired bootstrap resamples.",
    ]
    if unfinished := [part.dataset for part in summary.parts if not part.complete]:
        names = ", ".join(map(formatting.markdown, unfinished))
        notes.append(f"**Not all masks are rated yet** ({names}): these numbers are of those that are.")
    for drawn in summary.drawn:
        name = formatting.markdown(drawn["dataset"])
        notes.append(
            f"{name}: {drawn['masks']} objects, drawn by hash from {drawn['candidates']} that all runs answered."
        )
        if drawn["incomplete"]:
            names = ", ".join(map(formatting.markdown, drawn["incomplete"]))
            notes.append(f"{name}: the run of {names} was not complete when the objects were drawn.")
    notes += [formatting.markdown(note) for note in differing_notes(summary.differing)]
    return notes


def differing_notes(differing: Mapping[str, tuple[int, int]]) -> list[str]:
    """Sentences about masks that did not come out as in the run."""
    return [
        f"{source}: {n} of {of} masks have another IoU than the run recorded (made on another device, or with other "
        "versions?)."
        for source, (n, of) in differing.items()
    ]
