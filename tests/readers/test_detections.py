"""Files of detections in COCO's results form: what is read, and one line for each thing that can be wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER, write_json
from hypothesis import given
from hypothesis import strategies as st

from sambench.errors import UsageError
from sambench.readers import index_cache
from sambench.readers.predictions import detections
from sambench.readers.predictions.detections import load

CODE = {"size": [2, 2], "counts": "04"}


def entry(
    image_id: Any = 1, category_id: Any = 3, score: Any = 0.5, box: Any = (1, 2, 3, 4), **more: Any
) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": category_id, "score": score, "bbox": list(box), **more}


def test_an_image_has_its_entries_in_the_order_of_the_file(tmp_path: Path) -> None:
    entries = [entry(12), entry(7, 8, 0.25, (0.5, 0, 1.25, 9)), entry(12, 4, 1), entry("b", 3, 0)]
    results = load(write_json(tmp_path / "r.json", entries))
    assert (list(results.ids), list(results.categories), len(results)) == (["12", "7", "b"], [3, 4, 8], 4)
    assert (results.has_boxes, results.has_masks) == (True, False)
    twelve = results.read("12")
    assert twelve.places.tolist() == [0, 2]
    assert twelve.categories.tolist() == [3, 4]
    assert twelve.scores.tolist() == [0.5, 1]
    assert twelve.boxes is not None
    assert twelve.boxes.tolist() == [[1, 2, 3, 4]] * 2
    assert twelve.segmentations is None
    seven = results.read("7")
    assert seven.boxes is not None
    assert (seven.boxes.tolist(), seven.places.tolist()) == ([[0.5, 0, 1.25, 9]], [1])
    assert len(results.read("8")) == 0


def test_masks_are_handed_on_as_they_are(tmp_path: Path) -> None:
    entries = [{"image_id": 1, "score": 1, "segmentation": CODE}, {"image_id": 1, "score": 0.5, "segmentation": [[1]]}]
    results = load(write_json(tmp_path / "r.json", entries))
    assert (results.has_boxes, results.has_masks) == (False, True)
    found = results.read("1")
    assert found.segmentations == [CODE, [[1]]]
    assert found.boxes is None
    assert found.take(np.array([False, True])).segmentations == [[[1]]]
    assert found.take(np.array([1, 0])).scores.tolist() == [0.5, 1]


def test_no_detections_at_all(tmp_path: Path) -> None:
    results = load(write_json(tmp_path / "r.json", []))
    results.require("bbox", "segmentation", "category_id")
    assert (len(results), list(results.ids)) == (0, [])
    found = results.read("1")
    assert found.boxes is not None
    assert found.boxes.shape == (0, 4)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.floats(0, 1), st.booleans()), max_size=30).map(
        lambda entries: [
            entry(i, c, s, (0, 0, 1, 1), **({"segmentation": CODE} if m else {})) for i, c, s, m in entries
        ]
    )
)
def test_all_entries_are_found_again(tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, Any]]) -> None:
    results = load(write_json(tmp_path_factory.mktemp("r") / "r.json", entries))
    back = {int(place): id for id in results.ids for place in results.read(id).places}
    assert back == {n: str(one["image_id"]) for n, one in enumerate(entries)}
    for id in results.ids:
        found = results.read(id)
        for place, score, category in zip(found.places, found.scores, found.categories, strict=True):
            assert (entries[place]["score"], entries[place]["category_id"]) == (score, category)
    masks = sum("segmentation" in one for one in entries)
    assert results.has_masks == (0 < len(entries) == masks)


def test_the_index_comes_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index_cache, "WORTH_KEEPING", 1)
    path = write_json(tmp_path / "r.json", [entry(1), entry(2, score=0.75)])
    first = load(path)
    monkeypatch.setattr(detections, "_make_index", lambda file: pytest.fail("read again"))
    again = load(path)
    assert again.ids == first.ids
    assert again.read("2").scores.tolist() == [0.75]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (
            entry(score=float("nan")),
            "2 of 4 entries have a score that is not a finite number (first: entry 1 of image 1)",
        ),
        (entry(score=float("inf")), "a score that is not a finite number"),
        (entry(score="0.5"), "a score that is not a finite number"),
        (entry(score=True), "a score that is not a finite number"),
        ({k: v for k, v in entry().items() if k != "score"}, "have no 'score'"),
        (entry(box=(1, 2, -3, 4)), "a box of negative width or height"),
        (entry(box=(1, 2, 3)), "a 'bbox' that is not [x, y, width, height]"),
        (entry(box=(1, 2, 3, None)), "a 'bbox' that is not [x, y, width, height]"),
        (entry(box=(1, 2, 3, float("nan"))), "a 'bbox' that is not [x, y, width, height]"),
        (entry(box=(1, 2, 3, 10**400)), "a 'bbox' that is not [x, y, width, height]"),
        (entry(None), "have no 'image_id'"),
        (entry(1.5), "have no 'image_id'"),
        (entry(category_id="cat"), "a 'category_id' that is not a whole number"),
        (entry(category_id=10**30), "a 'category_id' that is not a whole number"),
        ({"image_id": 1, "category_id": 3, "score": 1}, "have neither 'bbox' nor 'segmentation'"),
    ],
)
def test_entries_that_cannot_be_used(tmp_path: Path, bad: Any, complaint: str) -> None:
    """Their number and the first of them, in one line, before anything is evaluated."""
    path = tmp_path / "r.json"
    path.write_text(json.dumps([entry(), bad, entry(), bad]))
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: 2 of 4 entries")
    assert complaint in str(caught.value)
    assert "first: entry 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ('{"annotations": []}', "expected a list of objects"),
        ("7", "expected a list of objects"),
        ("[1, 2]", "a list of objects holds something else"),
        ('[[1], {"image_id": 1}]', "are no objects"),
        ('[{"image_id": 1,', "truncated"),
        ('[{"image_id": 1}] x', "not JSON|expected a list"),
        ('[{"image_id": 1, "score": }]', "not JSON"),
        (LFS_POINTER, "LFS"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: Any, complaint: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=complaint) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_some_entries_without_what_is_needed(tmp_path: Path) -> None:
    path = write_json(tmp_path / "r.json", [entry(), entry(segmentation=CODE), entry()])
    results = load(path)
    results.require("bbox", "category_id")
    assert not results.has_masks
    with pytest.raises(UsageError, match=r"2 of 3 entries have no 'segmentation' \(first: entry 0\)"):
        results.require("segmentation")


def test_entries_of_another_dataset(tmp_path: Path) -> None:
    results = load(write_json(tmp_path / "r.json", [entry(1, 3), entry(2, 4), entry(3, 4), entry(4, 5)]))
    with pytest.raises(
        UsageError, match=r"3 of 4 entries are of categories that toy does not have, e.g. category 4, 5"
    ):
        results.require_known({3}, lambda id: True, "toy")
    with pytest.raises(UsageError, match=r"2 of 4 images are not in toy, e.g. image 3, 4"):
        results.require_known({3, 4, 5}, lambda id: int(id) < 3, "toy")
    results.require_known({3, 4, 5}, lambda id: True, "toy")
