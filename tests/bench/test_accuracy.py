"""`sambench bench accuracy-of`: which runs it makes, and that the effects are those of the records."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_runs import Silent

from sambench.bench import accuracy
from sambench.errors import UsageError
from sambench.planning.plan import specification
from sambench.planning.settings import Settings
from sambench.reporting import effects
from sambench.reporting.effects import Effect
from sambench.runs.directory import read_records
from sambench.runs.summaries import load_summaries

RANDOM, BATCH = "task.first_click=random", "run.batch_size=3"


def settings(toy_data: Path, toy_model: str, out: Path, **changes: Any) -> Settings:
    chosen = Settings(["single_point"], [f"mask_pngs:{toy_data}"], [toy_model], out=out, subset="5", threads=1)
    return replace(chosen, **{"workers": 1, "assignments": ("task.clicks=1,2",), **changes})


def carried_out(plan: accuracy.Plan) -> tuple[list[Effect], accuracy.Incomplete]:
    return accuracy.carry_out(plan, lambda *_: nullcontext(Silent()), threading.Event())


@pytest.fixture(scope="module")
def found(toy_data: Path, toy_model: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Effect]]:
    """An option that changes answers and one that does not; the output folder, and their effects."""
    out = tmp_path_factory.mktemp("runs")
    measured, incomplete = carried_out(accuracy.make_plan(settings(toy_data, toy_model, out), [RANDOM, BATCH]))
    assert incomplete == []
    return out, measured


def ious(folder: Path) -> dict[tuple[str, str], list[float]]:
    (manifest,) = folder.rglob("manifest.json")
    rows = read_records(manifest.parent).select(["image_id", "instance_id", "iou"]).to_pylist()
    return {(row["image_id"], row["instance_id"]): row["iou"] for row in rows}


def test_each_option_has_a_folder_of_its_own(found: tuple[Path, list[Effect]]) -> None:
    out, measured = found
    assert sorted(path.name for path in (out / "accuracy").iterdir()) == ["baseline", BATCH, RANDOM]
    specs = {
        path.relative_to(out / "accuracy").parts[0]: json.loads(path.read_text())["spec"]
        for path in (out / "accuracy").rglob("manifest.json")
    }
    assert specs["baseline"]["encode_batch"] == 1
    assert specs[BATCH] == specs["baseline"] | {"encode_batch": 3}
    assert specs[RANDOM]["task_options"]["first_click"] == "random"
    assert [(one.option, one.metric) for one in measured] == [
        (option, metric) for option in (RANDOM, BATCH) for metric in ("miou", "miou@2", "oracle_miou")
    ]


def test_effects_are_those_of_the_records(found: tuple[Path, list[Effect]]) -> None:
    out, measured = found
    before, after = (ious(out / "accuracy" / name) for name in ("baseline", RANDOM))
    assert before.keys() == after.keys()
    for place, metric in enumerate(("miou", "miou@2")):
        (one,) = [e for e in measured if (e.option, e.metric) == (RANDOM, metric)]
        changes = np.array([after[key][place] - before[key][place] for key in before])
        assert (one.cases, one.unpaired, one.identical, one.complete) == (len(changes), 0, False, True)
        assert one.difference == pytest.approx(changes.mean())
        assert one.changed == (changes != 0).mean() > 0
        assert one.mean_change == pytest.approx(np.abs(changes).mean())
        assert one.ci95 is not None
        assert one.ci95[0] <= changes.mean() <= one.ci95[1]


def test_what_changes_nothing_is_said_to(found: tuple[Path, list[Effect]]) -> None:
    for one in found[1]:
        if one.option == BATCH:
            assert (one.difference, one.ci95, one.changed, one.mean_change) == (0.0, (0.0, 0.0), 0.0, 0.0)
            assert one.identical


def test_runs_that_are_there_are_reused(
    found: tuple[Path, list[Effect]], toy_data: Path, toy_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, measured = found

    def refuse(*_: Any) -> None:
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr("sambench.engine.worker.Worker.stream", refuse)
    again, _ = carried_out(accuracy.make_plan(settings(toy_data, toy_model, out), [RANDOM]))
    assert again == [one for one in measured if one.option == RANDOM]


def test_a_report_leaves_them_aside(found: tuple[Path, list[Effect]]) -> None:
    out, _ = found
    with pytest.raises(UsageError, match="holds no finished run"):
        load_summaries([out])
    assert len(load_summaries([out / "accuracy" / "baseline"])) == 1
    assert len(load_summaries([next((out / "accuracy" / RANDOM).rglob("summary.json"))])) == 1


def test_only_the_option_changes(
    toy_data: Path, toy_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is by default may be another for another option: here it is for every question."""
    default = itertools.count(5)
    monkeypatch.setattr("sambench.models.zoo.LocatedModel.encode_batch", lambda *_: next(default))
    plan = accuracy.make_plan(settings(toy_data, toy_model, tmp_path, threads=0), [RANDOM, BATCH, "run.threads=3"])
    (baseline,) = (specification(triple) for triple in plan.baseline)
    changed = {name: specification(triple) for name, (triple,) in plan.variants.items()}
    assert baseline.encode_batch == 5
    assert [list(changed[name].differences(asdict(baseline))) for name in (RANDOM, BATCH, "run.threads=3")] == [
        ["task.first_click"],
        ["encode_batch"],
        ["threads"],
    ]


def test_an_incomplete_run_is_told(toy_data: Path, toy_model: str, tmp_path: Path) -> None:
    plan = accuracy.make_plan(settings(toy_data, toy_model, tmp_path, limit=3), [BATCH])
    measured, incomplete = carried_out(plan)
    assert len(incomplete) == 2
    assert not any(one.complete for one in measured)
    (one,) = plan.variants[BATCH]
    assert specification(one).encode_batch == 3


def test_cases_of_one_run_alone_are_left_out(found: tuple[Path, list[Effect]], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    shutil.copytree(found[0] / "accuracy", tmp_path / "accuracy")
    shard = sorted((tmp_path / "accuracy" / RANDOM).rglob("*.parquet"))[0]
    pq.write_table(pq.read_table(shard).slice(1), shard)
    without, with_it = (
        next((tmp_path / "accuracy" / name).rglob("manifest.json")).parent for name in ("baseline", RANDOM)
    )
    whole = next(one for one in found[1] if one.option == RANDOM)
    one = next(iter(accuracy.pair(RANDOM, without, with_it)))
    assert (one.cases, one.unpaired) == (whole.cases - 1, 1)


def test_metrics_that_are_no_means_have_no_interval(found: tuple[Path, list[Effect]], tmp_path: Path) -> None:
    """As AP and ODS are; and a mean that summaries do not name, as the mean of each image's best F, has one."""
    paths = []
    for name, ap in (("baseline", 0.5), (RANDOM, 0.25)):
        shutil.copytree(found[0] / "accuracy" / name, tmp_path / name)
        (summary,) = (tmp_path / name).rglob("summary.json")
        content = json.loads(summary.read_text())
        content["metrics"] = {"ap": {**content["metrics"].pop("oracle_miou"), "value": ap}, **content["metrics"]}
        summary.write_text(json.dumps({**content, "headlines": ["ap"], "primary": "ap"}))
        paths.append(summary.parent)
    by_metric = {one.metric: one for one in accuracy.pair(RANDOM, *paths)}
    assert list(by_metric) == ["ap", "miou", "miou@2", "oracle_miou"]
    ap, oracle = by_metric["ap"], by_metric["oracle_miou"]
    assert (ap.baseline, ap.variant, ap.difference) == (0.5, 0.25, -0.25)
    assert (ap.cases, ap.ci95, ap.changed, ap.mean_change) == (0, None, None, None)
    assert oracle == next(one for one in found[1] if (one.option, one.metric) == (RANDOM, "oracle_miou"))


@pytest.mark.parametrize(
    ("changes", "more", "complaint"),
    [
        (["model.dtype"], {}, "write it as OWNER.KEY=VALUE"),
        (["engine.x=1"], {}, "no such owner 'engine'"),
        (["run.x=1"], {}, "unknown option run.x"),
        (["run.batch_size=-1"], {}, "run.batch_size=-1: must be an integer, at least 0"),
        (["run.batch_size=few"], {}, "run.batch_size=few: must be an integer"),
        (["task.by=a/b"], {}, "cannot name a folder"),
        ([BATCH, BATCH], {}, "appears twice"),
        (["task.clocks=1"], {}, "unknown option task.clocks"),
        (["run.device=tpu"], {}, "it is auto, cpu or cuda"),
        ([BATCH], {"models": ["a", "b"]}, "give one model, not 2"),
    ],
)
def test_usage(
    toy_data: Path, toy_model: str, tmp_path: Path, changes: list[str], more: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        accuracy.make_plan(settings(toy_data, toy_model, tmp_path, **more), changes)
    assert list(tmp_path.iterdir()) == []


def test_tables_by_hand(tmp_path: Path) -> None:
    exact = Effect("run.threads=1", "single_point", "a|b", "val", "miou", "fraction", 0.5, 0.5, True, True)
    near = replace(exact, option="model.dtype=bfloat16", variant=0.4999, identical=False, complete=False)
    near = replace(near, ci95=(-0.0002, 0.0), cases=8, changed=0.25, mean_change=0.000125, unpaired=2)
    shown = effects.console("some@00000000", [near, exact]).splitlines()
    assert shown[2].split() == [
        *("model.dtype=bfloat16", "single_point", "a|b", "miou", "50.0", "50.0", "-0.01", "-0.02", "to", "+0"),
        *("8", "25.0", "%", "0.0125", "incomplete,", "2", "cases", "of", "one", "run", "alone", "left", "out"),
    ]
    assert shown[3].split()[4:] == ["50.0", "50.0", "+0", "–", "–", "–", "–", "identical", "to", "the", "bit"]
    page = effects.write("some@00000000", [near, exact], tmp_path / "new").read_text()
    assert "| model.dtype=bfloat16 | single\\_point | a\\|b | miou | 50.0 | 50.0 | -0.01 |" in page
    rows = list(csv.DictReader((tmp_path / "new" / "effects.csv").open(encoding="utf-8", newline="")))
    assert [(r["difference"], r["ci95_low"], r["identical"]) for r in rows] == [
        (str(0.4999 - 0.5), "-0.0002", "false"),
        ("0.0", "", "true"),
    ]
    told = json.loads((tmp_path / "new" / "effects.json").read_text())
    assert told["effects"][0]["mean_change"] == 0.000125
    assert told["effects"][1]["ci95_low"] is None


def test_the_command(
    sambench_cli: Callable[..., subprocess.CompletedProcess[str]], toy_data: Path, toy_model: str, tmp_path: Path
) -> None:
    done = sambench_cli(
        *("bench", "accuracy-of", BATCH, "-m", toy_model, "-t", "single_point", "-d", f"mask_pngs:{toy_data}"),
        *("--limit", 2, "--set", "task.clicks=1,2", "--workers", 1, "--out", tmp_path),
        code=1,
    )
    assert "identical to the bit, incomplete" in done.stdout
    assert f"effects: {tmp_path / 'accuracy' / 'effects.md'}" in done.stdout
    assert done.stderr.count("left out by --limit") == 2
