"""Masks made again: the recorded clicks and IoUs come back, from a model, from boxes, from stored predictions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import study_runs

import sambench.suite
from sambench import masks, score
from sambench.errors import DataError, UsageError
from sambench.metrics.iou import iou
from sambench.outputs import replay
from sambench.planning.settings import Settings
from sambench.plugins import registry
from sambench.runs.directory import read_records


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture(scope="module")
def dataset(made: Path) -> str:
    return study_runs.discs(made)


@pytest.fixture(scope="module")
def exact(made: Path) -> str:
    return study_runs.models(made)["Exact"]


@pytest.fixture(scope="module")
def clicked(made: Path, dataset: str, exact: str) -> Path:
    return study_runs.run(made / "runs", dataset, exact)


@pytest.fixture(scope="module")
def boxed(made: Path, dataset: str, exact: str) -> Path:
    return study_runs.run(made / "runs", dataset, exact, "instances", assignments=["task.box_jitter=.1"])


def test_every_click_and_iou_comes_back(clicked: Path, exact: str) -> None:
    run = replay.open_run(clicked, models=[exact])
    records = {(r["image_id"], r["instance_id"]): r for r in read_records(clicked).to_pylist()}
    assert set(run.recorded) == set(records)
    assert len(records) == 7
    for clicks in (1, 2, 3):
        for id in run.run.index:
            for case in run.cases(run.load(id), clicks=clicks):
                record = records[id, case.instance.id]
                assert [vars_of(c) for c in case.clicks] == record["clicks"][:clicks]
                assert case.iou == case.recorded_iou == record["iou"][clicks - 1]
                assert case.iou == iou(case.predicted, case.instance.mask)
                assert case.box is None


def vars_of(click: Any) -> dict[str, Any]:
    return {"x": click.x, "y": click.y, "positive": click.positive}


def test_the_shipped_model_on_the_demo(made: Path) -> None:
    run = replay.open_run(study_runs.run(made / "demo", "demo", "region_tree", limit=2))
    cases = [case for id in dict.fromkeys(image for image, _ in run.recorded) for case in run.cases(run.load(id))]
    assert len(cases) == len(run.recorded) > 20
    assert all(case.iou == case.recorded_iou for case in cases)
    assert run.name.startswith("region_tree@")


def test_number_of_clicks_stops_as_the_run_did(made: Path, dataset: str, exact: str) -> None:
    loose = study_runs.models(made)["Loose"]
    run = replay.open_run(study_runs.run(made / "noc", dataset, loose, "noc"), models=[exact, loose])
    clicks = {(r["image_id"], r["instance_id"]): r["clicks"] for r in read_records(run.path).to_pylist()}
    assert min(map(len, clicks.values())) < 20
    for id in run.run.index:
        for case in run.cases(run.load(id), clicks=20):
            assert case.iou == case.recorded_iou
            assert [vars_of(c) for c in case.clicks] == clicks[id, case.instance.id]


def test_boxes_come_back(boxed: Path, exact: str) -> None:
    run = replay.open_run(boxed, models=[exact])
    record = read_records(boxed).to_pylist()[run.run.index.index("1")]
    cases = run.cases(run.load("1"))
    assert [case.instance.id for case in cases] == ["1", "2", "3"], "the crowd region is not prompted for"
    assert np.array([case.box for case in cases], np.float32).ravel().tolist() == record["prompt"]
    assert [case.iou for case in cases] == [case.recorded_iou for case in cases] == record["iou"]
    assert {key[0] for key in run.recorded} == {"1", "2", "3"}
    recorded = run.recorded["1", "2"]
    assert (recorded.area, recorded.size) == (cases[1].instance.annotated_area, (100, 150))


def test_only_what_is_asked_for(clicked: Path, exact: str) -> None:
    run = replay.open_run(clicked, models=[exact])
    sample = run.load("1")
    assert [case.instance.id for case in run.cases(sample, ["3", "1"])] == ["1", "3"]
    with pytest.raises(DataError, match="did not prompt for object 8 of image 1"):
        run.cases(sample, ["8"])
    run.release()
    assert len(run.cases(sample)) == 3


def test_stored_predictions_are_read(made: Path, dataset: str) -> None:
    truth = json.loads((made / "discs.json").read_text())
    entries = [
        {"image_id": a["image_id"], "annotation_id": a["id"], "segmentation": a["segmentation"], "score": quality}
        for a in truth["annotations"]
        for quality in ([0.9] if a["id"] % 2 else [0.3, 0.8])
    ]
    # Of two candidates the first is a single pixel with the lower score.
    for entry in entries:
        if entry["score"] == 0.3:
            height, width = entry["segmentation"]["size"]
            entry["segmentation"] = {"size": [height, width], "counts": [5, 1, height * width - 6]}
    file = made / "answers.json"
    file.write_text(json.dumps(entries))
    settings = Settings(["single_point"], [dataset], out=made / "scored", subset="full")
    path, _ = score.score(settings, file, "answers", study_runs.no_progress)
    run = replay.open_run(path)
    for id in run.run.index:
        for case in run.cases(run.load(id)):
            assert (case.iou, case.recorded_iou, case.clicks) == (1, 1, ())
            assert masks.to_rle(case.predicted) == masks.to_rle(case.instance.mask)
    file.write_text(json.dumps(entries[:-1]))
    with pytest.raises(UsageError, match="have changed since they were scored"):
        replay.open_run(path)


def test_moved_data_is_found_again(clicked: Path, exact: str, made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clicked, tmp_path / "run")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sessions"][-1]["data_root"] = str(tmp_path / "gone")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="say with --data-root where it is now"):
        replay.open_run(copy, models=[exact])
    assert (
        len(
            replay.open_run(copy, models=[exact], data_root=made).cases(
                replay.open_run(clicked, models=[exact]).load("2")
            )
        )
        == 2
    )


def test_other_annotations_than_then_are_noticed(clicked: Path, exact: str, made: Path) -> None:
    file = made / "discs.json"
    before = file.read_text()
    content = json.loads(before)
    entry = content["annotations"][0]
    entry["segmentation"]["counts"][0] += 10
    entry["segmentation"]["counts"][-1] -= 10
    try:
        file.write_text(json.dumps(content))
        run = replay.open_run(clicked, models=[exact])
        with pytest.raises(DataError, match="object 1 of image 1 is clicked elsewhere"):
            run.cases(run.load("1"))
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(spec={"task": "single_point"}), "is not a manifest of this version"),
        (lambda m: m["spec"].update(task_version=99), "version 99, this sambench has"),
        (lambda m: m["spec"].update(task="edges", task_version=1, task_options={}), "does not answer an annotated"),
        (
            lambda m: m["spec"].update(model="sobel", weights_digest="0" * 64, model_options={}),
            "say with --model where",
        ),
        (lambda m: m["sessions"][-1].pop("model"), "say with --model FILE.py:CLASS what its model Exact is"),
    ],
)
def test_what_cannot_be_made_again_is_one_line(
    clicked: Path, tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    copy = shutil.copytree(clicked, tmp_path / "run")
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=message) as caught:
        replay.open_run(copy)
    assert "\n" not in str(caught.value)


def test_no_run_and_detected_boxes_are_refused(boxed: Path, exact: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run directory"):
        replay.open_run(tmp_path)
    copy = shutil.copytree(boxed, tmp_path / "run")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["spec"]["task_options"]["boxes"] = "found.json@01234567"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="its prompts are detections"):
        replay.open_run(copy, models=[exact])


# --- a task of one's own ----------------------------------------------------------------------------------------------

OWN_TASK = '''
"""Single clicks, with an option and a column that shipped tasks have for other things."""
from dataclasses import dataclass

import pyarrow as pa
from sambench.protocols.click_loop import IDENTITY, ClickReplay, Policy, click_through, countable
from sambench.types import Cases, SampleResult, Task, TaskSummary


class Mine(Task):
    name = "mine"
    version = 1
    requires = frozenset({"points"})
    primary = "miou"

    @dataclass(frozen=True)
    class Options:
        boxes: str = "truth"
        detector: str = ""
        save_masks: bool = False
        phrases: str = "auto"
        template: str = "{}"
        truth: str = "semantic"

    def __init__(self, options):
        self.options = options

    schema = pa.schema([*IDENTITY, ("iou", pa.list_(pa.float64())), ("score", pa.list_(pa.float32()))])
    signature = "mine|v:1"

    def measure(self, sample, view, context):
        rows = [
            {**one.identity(sample, context), "iou": one.ious, "score": one.scores}
            for one in click_through(countable(sample, 1)[0], sample, view, context, Policy(2))
        ]
        return SampleResult(rows)

    def summarize(self, records, context):
        return TaskSummary({})

    def cases(self, records):
        values = {"miou": [ious[0] for ious in records.column("iou").to_pylist()]}
        return Cases(records.column("image_id").to_pylist(), records.column("instance_id").to_pylist(), values)

    def replay(self):
        return ClickReplay(Policy(2))


PLUGIN = Mine
'''


def test_a_task_with_the_options_of_another_is_replayed_as_itself(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sambench.suite, "__path__", list(sambench.suite.__path__))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "mine.py").write_text(OWN_TASK)
    registry.add_folder(tmp_path)
    coco_json = registry.load("datasets", "coco_json")
    monkeypatch.setattr(coco_json, "card", replace(coco_json.card, tasks=coco_json.card.tasks | {"mine"}))
    path = study_runs.run(tmp_path / "runs", dataset, "region_tree", "mine")
    run = replay.open_run(path)
    cases = [case for id in run.run.index for case in run.cases(run.load(id), clicks=2)]
    assert len(cases) == len(run.recorded) > 0
    assert all(case.box is None and case.clicks and case.iou == case.recorded_iou for case in cases)
