"""Annotations of videos: a file that is wrong is refused when it is read, a mask that is wrong when that is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.layouts.ovis import content
from helpers.tiny_datasets import write_json

from sambench.errors import DataError, UsageError
from sambench.readers import index_cache, video_json

FRAME = "5d24e4ea/img_0000001"


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    file = content()
    change(file)
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("videos"), "not an annotation file of videos: no list 'videos'"),
        (lambda f: f.update(videos={}), "not an annotation file of videos: no list 'videos'"),
        (lambda f: f.update(annotations=None), r"there is no ground truth in this file \(no list 'annotations'\)"),
        (lambda f: f.pop("categories"), "not an annotation file of videos: no list 'categories'"),
        (lambda f: f["videos"][1].update(id=1), "video 1 is given twice"),
        (lambda f: f["videos"][1].pop("id"), "a video has no id"),
        (lambda f: f["categories"].append({"name": "x"}), "a category has no id"),
        (lambda f: f["categories"].append({"id": 1}), "category 1 is given twice"),
        (lambda f: f["videos"][0].update(height=0), "video 1 needs height and width in pixels, has 0 and 60"),
        (lambda f: f["videos"][0].update(height=10**9), "video 1 is given as 60 x 1000000000, more than"),
        (lambda f: f["videos"][0].update(file_names=[1]), "video 1 has no list of texts 'file_names'"),
        (lambda f: f["videos"][0].update(length=4), "video 1 has length 4 and 3 file_names"),
        (
            lambda f: f["videos"][1]["file_names"].__setitem__(0, f"{FRAME}.jpg"),
            rf"video 2: frame {FRAME}\.jpg is given twice",
        ),
        (lambda f: f["annotations"][1].update(id="1"), "annotation 1 is given twice"),
        (lambda f: f["annotations"][1].pop("id"), "an annotation has no id"),
        (
            lambda f: f["annotations"][1].update(video_id=[3]),
            r"annotation 2 refers to video \[3\], which is not listed",
        ),
        (lambda f: f["annotations"][1].update(category_id=2), "annotation 2 has category 2, which is not listed"),
        (lambda f: f["annotations"][1]["segmentations"].pop(), "annotation 2 of video 1: 2 segmentations for 3 frames"),
        (lambda f: f["annotations"][1]["areas"].pop(), "annotation 2 of video 1: 2 areas for 3 frames"),
        (lambda f: f["annotations"][1].pop("segmentations"), "annotation 2 of video 1: no list of segmentations for 3"),
    ],
)
def test_bad_files(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    path = write_json(tmp_path / "videos.json", changed(change))
    with pytest.raises(UsageError, match=rf"videos\.json: {message}"):
        video_json.load(path)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (
            {"size": [60, 40], "counts": [2400]},
            r"the mask is made for \[height, width\] = \[60, 40\], its image has \[40,",
        ),
        ({"size": [40, 60], "counts": [2400, 1]}, "run lengths add up to 2401, not to 40 x 60 = 2400"),
        ({"size": [40, 60], "counts": [2410, -10]}, "run lengths must be non-negative integers"),
        ({"size": [40, 60], "counts": [2400.0]}, "run lengths must be whole numbers"),
        ({"size": [40, 60], "counts": "~~"}, "the compressed run lengths hold a character that is not of the code"),
        ({"size": [40, 60]}, "a run-length code needs 'counts', a list or a text"),
        ([[1, 2, 3]], "a polygon has an odd number of coordinates"),
        ([[1, 2, 3, 4, 5, 900]], "an outline reaches to y = 900, the image is 60 x 40"),
        ("abc", "segmentation is neither a list of polygons nor a run-length code"),
    ],
)
def test_bad_masks(segmentation: Any, message: str, tmp_path: Path) -> None:
    file = content()
    file["annotations"][1]["segmentations"][0] = segmentation
    videos = video_json.load(write_json(tmp_path / "videos.json", file))
    assert videos.n_masks(FRAME) == 1
    with pytest.raises(DataError, match=rf"videos\.json: track 2 in frame {FRAME}: {message}"):
        videos.truth(FRAME)


def test_without_areas_every_slot_counts_that_is_not_null(tmp_path: Path) -> None:
    file = content()
    for track in file["annotations"]:
        del track["areas"]
    videos = video_json.load(write_json(tmp_path / "videos.json", file))
    assert videos.n_masks("86a88668/img_0000007") == 1  # its only mask has no pixel
    assert videos.truth("86a88668/img_0000007").dropped == {"empty_mask": 1}


def test_tracks_of_a_video_may_stand_anywhere(tmp_path: Path) -> None:
    file = content()
    file["annotations"].reverse()
    videos = video_json.load(write_json(tmp_path / "videos.json", file))
    assert [i.id for i in videos.truth("5d24e4ea/img_0000002").instances] == ["2", "1"]
    assert [i.id for i in videos.truth("86a88668/img_0000006").instances] == ["4"]


def test_the_index_of_a_large_file_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_cache, "WORTH_KEEPING", 1)
    path = write_json(tmp_path / "videos.json", content())
    first = video_json.load(path)
    assert len(list(index_cache.folder().glob("video-*.npz"))) == 1
    monkeypatch.setattr(video_json, "_make_index", lambda file: pytest.fail("made again"))
    again = video_json.load(path)
    for id in first.frames:
        assert again.n_masks(id) == first.n_masks(id)
        assert [i.mask.area for i in again.truth(id).instances] == [i.mask.area for i in first.truth(id).instances]
