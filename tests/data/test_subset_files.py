"""``data lock`` and ``--subset file:PATH``: the same images on every machine, or a line that says why not."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sambench.core.digests import index_digest
from sambench.data import subset_files
from sambench.data import subsets as sampling
from sambench.errors import UsageError
from sambench.suite.datasets.coco import CARD
from sambench.types import IndexEntry

ENTRIES = [IndexEntry(f"{n:03d}", n % 3) for n in range(30)]  # 10 images each with 0, 1 and 2 masks


def written(at: Path, rule: str = "7", **changes: Any) -> str:
    content = {**subset_files.lock(CARD, "val2017", {}, ENTRIES, rule).as_dict(), **changes}
    at.write_text(json.dumps(content))
    return f"file:{at}"


def drawn(subset: str, entries: list[IndexEntry] = ENTRIES, dataset: str = "coco", split: str = "val2017") -> Any:
    return subset_files.draw(entries, subset, dataset, split)


@pytest.mark.parametrize("rule", ["7", "full", "paper"])
def test_a_file_draws_what_was_locked(tmp_path: Path, rule: str) -> None:
    expected = sampling.draw(ENTRIES, rule)
    entries, name = drawn(written(tmp_path / "s.json", rule), ENTRIES[::-1])
    assert entries == expected
    assert name == f"file:{index_digest(e.id for e in expected)[:12]}"
    assert drawn(rule) == (expected, rule)
    assert drawn(written(tmp_path / "coco.json", rule).replace("coco.json", "{dataset}.json")) == (expected, name)


def test_what_a_file_says() -> None:
    locked = subset_files.lock(CARD, "val2017", {"min_area": 3}, ENTRIES, "paper").as_dict()
    whole = sampling.order(ENTRIES)
    assert locked | {"ids": [], "sambench_version": "", "digest": "", "of_digest": ""} == {
        "format": "sambench-subset",
        "schema": 1,
        "dataset": "coco",
        "split": "val2017",
        "rule": "paper",
        "options": {"min_area": 3},
        "images": 20,
        "masks": 30,
        "digest": "",
        "of_images": 30,
        "of_masks": 30,
        "of_digest": "",
        "sambench_version": "",
        "ids": [],
    }
    assert locked["ids"] == [e.id for e in whole if e.n_masks]
    assert locked["digest"] == index_digest(locked["ids"])
    assert locked["of_digest"] == index_digest(e.id for e in whole)
    assert "/" not in json.dumps(locked), "no path of a machine"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format": "other"}, "is not a subset"),
        ({"schema": 2}, "another version of sambench"),
        ({"ids": ["000", "001"]}, "do not have its digest"),
        ({"ids": ["000"] * 7}, "do not have its digest"),
        ({"ids": list(range(7))}, "not a whole subset|do not have its digest"),
        ({"ids": None}, "not a whole subset"),
        ({"images": 8}, "do not have its digest"),
        ({"surplus": 1}, "not a whole subset"),
        ({"dataset": "lvis"}, "a subset of dataset lvis, not of coco"),
        ({"split": "train2017"}, "a subset of split train2017, not of val2017; add --split"),
        ({"masks": 99}, "had 99 masks and have"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    subset = written(tmp_path / "s.json", **changes)
    with pytest.raises(UsageError, match=complaint) as caught:
        drawn(subset)
    assert str(tmp_path / "s.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the subset"):
        drawn(f"file:{tmp_path}/nothing.json")
    for text in ("{", "[]", '{"format": "sambench-subset", "schema": 1}'):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(UsageError, match=r"s\.json"):
            drawn(f"file:{tmp_path}/s.json")


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    subset = written(tmp_path / "s.json")
    ids = [e.id for e in sampling.draw(ENTRIES, "7")]
    fewer = [e for e in ENTRIES if e.id not in ids[2:5]]
    with pytest.raises(UsageError, match=f"3 of its 7 images are not in the copy of coco here.*first: {ids[2]};"):
        drawn(subset, fewer)


def test_nothing_to_lock() -> None:
    with pytest.raises(UsageError, match="no image"):
        subset_files.lock(CARD, "val2017", {}, [IndexEntry("a", 0)], "paper")


def test_lock_then_run(
    real_data: Path, tmp_path: Path, toy_model: str, sambench_cli: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    data, lock = real_data / "bbbc038_subset", tmp_path / "nuclei.json"
    done = sambench_cli("data", "lock", "bbbc038", "--data-root", data, "--subset", 3, "--out", lock)
    assert done.stdout.startswith("3 of 15 images, ")
    first = lock.read_bytes()
    shutil.copy(lock, tmp_path / "elsewhere.json")
    call = ["run", "-t", "single_point", "-d", "bbbc038", "--data-root", data, "-m", toy_model, "--out", tmp_path / "o"]
    sambench_cli(*call, "--set", "task.clicks=1", "--subset", f"file:{lock}")
    (manifest,) = (tmp_path / "o").glob("single_point/bbbc038/*/manifest.json")
    spec = json.loads(manifest.read_text())["spec"]
    locked = json.loads(first)
    assert (spec["subset"], spec["index_digest"]) == (f"file:{locked['digest'][:12]}", locked["digest"])
    # The same subset from another place is the same run: nothing is left to do.
    sambench_cli(*call, "--set", "task.clicks=1", "--subset", f"file:{tmp_path}/elsewhere.json")
    assert len(json.loads(manifest.read_text())["sessions"]) == 2
