"""Encodings that are shared: by tasks of one command, by runs through a folder. The records are always the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from helpers import official_sam, small_runs

from sambench import evaluate
from sambench.engine.encoding_cache import EncodingsSpec
from sambench.engine.encodings import Encodings
from sambench.engine.inbox import ListInbox
from sambench.engine.job import Job, TaskJob, batches
from sambench.engine.worker import Worker
from sambench.errors import UsageError
from sambench.models import zoo
from sambench.planning.plan import groups, make_plan
from sambench.planning.settings import Settings
from sambench.plugins import registry
from sambench.runs.directory import read_records
from sambench.types import Model

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SAM with random weights in the official format."""
    path = tmp_path_factory.mktemp("weights") / "random_sam.pth"
    torch.save(official_sam.build(side=512).state_dict(), path)
    return path


def settings(checkpoint: Path, out: Path, folder: Path | None = None, **changes: Any) -> Settings:
    """Four images in batches of three."""
    asked = Settings(
        ["single_point"],
        ["demo"],
        [str(checkpoint)],
        Path("nowhere"),
        out,
        subset="4",
        batch_size=3,
        workers=1,
        threads=1,
        assignments=["task.clicks=1,2"],
        encodings=None if folder is None else EncodingsSpec(folder, 10**9, changes.get("encodings_dtype", "float32")),
    )
    return replace(asked, **changes)


def evaluated(asked: Settings) -> Path:
    """The directory of the run."""
    triples = make_plan(asked).triples
    ((_, path, _),) = evaluate.evaluate(triples, lambda *_: nullcontext(small_runs.Silent()))
    return path


def demo() -> Path:
    """Where the demo lies, made on first use."""
    plugin = registry.load("datasets", "demo")
    root: Path = plugin.locate(Path("nowhere"), "all", plugin.Options())
    return root


def records(path: Path) -> pa.Table:
    return read_records(path).drop_columns(["time_ms"])


def notes(path: Path) -> Any:
    return json.loads((path / "manifest.json").read_text())["sessions"][-1].get("notes")


@pytest.fixture(scope="module")
def plain(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps nothing. Not to be changed."""
    return evaluated(settings(checkpoint, tmp_path_factory.mktemp("plain")))


def test_kept_encodings_give_the_same_records(
    plain: Path, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Cold, warm, and half warm: there a batch is put together of what was kept and what has to be encoded."""
    folder, out = tmp_path / "encodings", tmp_path / "out"
    cold = evaluated(settings(checkpoint, out, folder))
    assert notes(cold) == {"encodings_found": 0, "encodings_made": 4}
    assert records(cold).equals(records(plain))
    kept = sorted(folder.glob("*/*.safetensors"))
    assert len(kept) == 4
    warm = evaluated(settings(checkpoint, out, folder, fresh=True))
    assert notes(warm) == {"encodings_found": 4, "encodings_made": 0}
    assert records(warm).equals(records(plain))
    kept[1].unlink()
    kept[2].write_bytes(kept[2].read_bytes()[:-1000])
    half = evaluated(settings(checkpoint, out, folder, fresh=True))
    assert notes(half) == {"encodings_found": 2, "encodings_made": 2}
    assert records(half).equals(records(plain))
    assert kept[2].name in capfd.readouterr().err
    # Another batch size is another encoding, in its last bits.
    other = evaluated(settings(checkpoint, tmp_path / "other", folder, batch_size=1, limit=1))
    assert notes(other) == {"encodings_found": 0, "encodings_made": 1}


def test_rounded_encodings_are_another_run_kept_or_not(checkpoint: Path, tmp_path: Path) -> None:
    half = {"encodings_dtype": "float16"}
    rounded = evaluated(settings(checkpoint, tmp_path / "a", **half))
    for found in (0, 4):
        kept = evaluated(settings(checkpoint, tmp_path / "b", tmp_path / "encodings", fresh=True, **half))
        assert notes(kept) == {"encodings_found": found, "encodings_made": 4 - found}
        assert records(kept).equals(records(rounded))
    with pytest.raises(UsageError, match="encodings was float16, is now float32"):
        evaluated(settings(checkpoint, tmp_path / "a"))


def test_two_processes_keep_encodings_in_one_folder(plain: Path, checkpoint: Path, tmp_path: Path) -> None:
    some = ["--subset", 4, "--set", "task.clicks=1,2", "--batch-size", 3, "--encodings", tmp_path / "encodings"]
    commands = [
        ["run", "-t", "single_point", "-d", "demo", "-m", checkpoint, "--out", tmp_path / name, *some]
        for name in ("a", "b")
    ]
    started = [
        subprocess.Popen([sys.executable, "-m", "sambench", *map(str, command)], stdout=subprocess.DEVNULL)
        for command in commands
    ]
    assert [one.wait(300) for one in started] == [0, 0]
    for name in ("a", "b"):
        (manifest,) = (tmp_path / name).glob("single_point/*/*/manifest.json")
        assert records(manifest.parent).equals(records(plain))


def test_a_model_without_encodings_says_so(sambench_cli: Call, tmp_path: Path) -> None:
    done = sambench_cli(
        "run",
        "-t",
        "single_point",
        "-d",
        "demo",
        "--subset",
        2,
        "--out",
        tmp_path / "out",
        "--encodings",
        tmp_path / "e",
    )
    assert done.stderr.count("region_tree has no encodings to keep") >= 1


@pytest.mark.parametrize(("size", "complaint"), [("many", "--encodings-size"), ("5MB", "100")])
def test_a_size_that_is_none_is_refused(sambench_here: Call, tmp_path: Path, size: str, complaint: str) -> None:
    more = ["--out", tmp_path / "out", "--encodings", tmp_path / "e", "--encodings-size", size]
    refused = sambench_here("run", "-t", "single_point", "-d", "demo", "--subset", 1, *more, code=2)
    assert complaint in refused.stderr


class Counting:
    """``region_tree``, noting how many images it encodes."""

    def __init__(self, model: Model) -> None:
        self.model, self.encoded = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def encode_prepared(self, prepared: Any) -> Any:
        self.encoded += len(prepared)
        return self.model.encode_prepared(prepared)


CHEAPER = {
    "single_point": ["task.clicks=1,2"],
    "edges": ["task.grid=4", "task.thresholds=5"],
    "proposals": ["task.points_per_side=8"],
    "instances": [],
    "noc": ["task.max_clicks=3"],
}


def test_tasks_together_record_what_they_do_alone(tmp_path: Path) -> None:
    asked = Settings(
        ["all"],
        ["demo"],
        data_root=Path("nowhere"),
        out=tmp_path / "together",
        subset="2",
        workers=1,
        threads=1,
        assignments=[one for some in CHEAPER.values() for one in some],
    )
    plan = make_plan(asked)
    (group,) = groups(plan.triples)
    assert {spec.task for _, spec in group} == set(CHEAPER)
    found = list(evaluate.evaluate(plan.triples, lambda *_: nullcontext(small_runs.Silent())))
    for triple, path, summary in found:
        name = triple.task.name
        assert summary["complete"]
        alone = read_records(small_runs.run(name, tmp_path / "alone", *CHEAPER[name], subset="2"))
        timing = [column for column in alone.column_names if column == "time_ms"]
        assert read_records(path).drop_columns(timing).equals(alone.drop_columns(timing)), name
    manifests = [json.loads((path / "manifest.json").read_text()) for _, path, _ in found]
    assert all(set(one["sessions"][-1]["together"]) == set(CHEAPER) for one in manifests)
    # What they share stands in equal parts.
    assert len({one["timings"]["encode"] for one in manifests}) == 1


def test_an_image_is_encoded_once_for_all_that_still_need_it() -> None:
    located = zoo.locate("region_tree", {})
    job = Job(
        (TaskJob("single_point", {"clicks": [1]}), TaskJob("noc", {"max_clicks": 2})),
        "demo",
        {},
        demo(),
        "all",
        located,
        "cpu",
        1,
        1,
        0,
        "demo",
    )
    model = Counting(located.load("cpu", 1))
    worker = Worker(job, model)  # type: ignore[arg-type]
    index = [entry.id for entry in worker.dataset.index()]
    work = batches(index, [index[:2], index[1:4]], 1)
    done = list(worker.stream(ListInbox(work)))
    assert model.encoded == 4
    assert [[o.id for o in one.results[0].outcomes] for one in done] == [[index[0]], [index[1]], [], []]
    assert [[o.id for o in one.results[1].outcomes] for one in done] == [[], *([id] for id in index[1:4])]


def test_all_tasks_are_those_that_dataset_and_model_can(sambench_here: Call, tmp_path: Path) -> None:
    done = sambench_here("run", "-t", "all", "-d", "demo", "--limit", 1, "--out", tmp_path, "--dry-run")
    assert "single_point · demo" in done.stdout
    assert "text_to_mask · demo" not in done.stdout
    assert "text_to_mask: region_tree does not take text" in done.stdout
    # What a --set names is for the tasks that have it; what none has is a mistake.
    sambench_here("run", "-t", "all", "-d", "demo", "--out", tmp_path, "--dry-run", "--set", "task.max_clicks=3")
    wrong = sambench_here(
        "run", "-t", "all", "-d", "demo", "--out", tmp_path, "--dry-run", "--set", "task.max_click=3", code=2
    )
    assert "no task has it. Did you mean: max_clicks, " in wrong.stderr
    named = sambench_here("run", "-t", "text_to_mask", "-d", "demo", "--limit", 1, "--out", tmp_path, code=2)
    assert "text_to_mask needs a model with the capability text" in named.stderr


def test_a_sweep_over_a_task_encodes_once(tmp_path: Path) -> None:
    asked = Settings(["single_point"], ["demo"], data_root=Path("nowhere"), out=tmp_path, subset="2")
    plans = [
        make_plan(replace(asked, out=tmp_path / value, assignments=[f"task.first_click={value}"]))
        for value in ("centre", "random")
    ]
    assert [len(group) for group in groups([t for plan in plans for t in plan.triples])] == [2]


def test_the_key_of_an_encoding_holds_what_its_bits_depend_on(tmp_path: Path, checkpoint: Path) -> None:
    """A kept encoding is taken only by a run that would compute the same one."""
    located = zoo.locate(str(checkpoint), {})
    model: Any = located.load("cpu", 2)
    spec = EncodingsSpec(tmp_path, 10**9, "float32")
    plain = Job((), "demo", {}, tmp_path, "all", located, "cpu", 1, 2, 0, "demo", encodings=spec)
    image = np.zeros((20, 30, 3), np.uint8)
    changed = [
        replace(plain, threads=2),
        replace(plain, encode_batch=4),
        replace(plain, rounding="float16"),
    ]
    keys = [Encodings(job, model).find(image, 0)[0] for job in [plain, *changed]]
    keys.append(Encodings(plain, model).find(image, 1)[0])  # another slot
    keys.append(Encodings(plain, model).find(image[:, ::-1] + 1, 0)[0])
    assert len(set(keys)) == len(keys) == 6
    # The order of the tasks, the dataset's name and the seed are none of its business.
    same = replace(plain, seed=5, label="other", tasks=(TaskJob("edges"),))
    assert Encodings(same, model).find(image, 0)[0] == keys[0]


def test_neighbours_are_measured_again_where_prompts_are_decoded_together(checkpoint: Path) -> None:
    """As on a GPU: what shares a batch of the decoder must not depend on what is done already."""
    located = replace(zoo.locate(str(checkpoint), {"prompt_batch": "4"}))
    tasks = (TaskJob("single_point", {"clicks": [1, 2]}),)
    job = Job(tasks, "demo", {}, demo(), "all", located, "cpu", 1, 3, 0, "demo", together=True)
    worker = Worker(job)
    index = [entry.id for entry in worker.dataset.index()][:3]
    model: Any = worker.model
    seen: list[list[int]] = []
    decode = model.predict_together

    def noted(views: Any, prompts: Any, *, multimask: bool) -> Any:
        seen.append([len(one) for one in prompts])
        return decode(views, prompts, multimask=multimask)

    model.predict_together = noted
    (whole,) = worker.stream(ListInbox(batches(index, [index], 3)))
    batches_of_all = list(seen)
    assert any(len(together) == 3 for together in batches_of_all)
    seen.clear()
    (part,) = worker.stream(ListInbox(batches(index, [index[1:2]], 3)))
    assert seen == batches_of_all
    assert [outcome.id for outcome in part.results[0].outcomes] == index[1:2]
    ours, theirs = part.results[0].tables[0], whole.results[0].tables[1]
    assert ours.drop_columns(["time_ms"]).equals(theirs.drop_columns(["time_ms"]))
    assert {"encode", "decode", "metric", "wall"} <= set(part.results[0].seconds)
