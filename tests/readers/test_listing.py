"""What several readers share: the index from labels and images, JSON files, masks over one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER, square
from hypothesis import given, settings
from hypothesis import strategies as st

from sambench.errors import DataError, UsageError
from sambench.readers.json.file import read_json
from sambench.readers.layers import painted_over, union
from sambench.readers.listing import count_masks, list_images
from sambench.types import IndexEntry, Mask

LABELS = Path("labels")


def test_an_index_from_labels_and_images() -> None:
    counts = {"c": 1, "a": 2, "b": 0, "d": 3}
    listing = list_images(counts, {"a", "b", "c", "z"}, labels=LABELS, unpack="get it", missing_images="exclude")
    assert listing.entries == (IndexEntry("a", 2), IndexEntry("c", 1))
    assert listing.excluded == {"missing_image": 1, "no_mask": 1}
    with pytest.raises(UsageError, match=r"labels: 1 of 4 images are missing \(first: d\): get it, or leave them out"):
        list_images(counts, {"a", "b", "c"}, labels=LABELS, unpack="get it")
    with pytest.raises(UsageError, match=r"labels: labels are there, images are not \(first: a\): get it$"):
        list_images(counts, set(), labels=LABELS, unpack="get it", missing_images="exclude")
    assert list_images({}, set(), labels=LABELS, unpack="get it").entries == ()


def test_ids_that_differ_in_letter_case_only() -> None:
    with pytest.raises(UsageError, match="images A and a differ in letter case only; rename one, or drop it"):
        list_images({"a": 1, "A": 1}, {"a", "A"}, labels=LABELS, unpack="")


def test_an_unreadable_file_counts_as_one_mask() -> None:
    def fail() -> int:
        raise DataError("broken")

    assert count_masks(fail) == 1
    assert count_masks(lambda: 5) == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"{", "not JSON"),
        (b"[NaN]", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (LFS_POINTER, "a Git LFS pointer is in the file's place"),
    ],
)
def test_files_that_are_not_json(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    for error in (DataError, UsageError):
        with pytest.raises(error, match=rf"x\.json: {message}"):
            read_json(path, error)


def test_json_that_cannot_be_opened(tmp_path: Path) -> None:
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    with pytest.raises(DataError, match=r"loop\.json: cannot be read \(Too many levels of symbolic links\)"):
        read_json(loop)
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json")


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_later_masks_hide_earlier_ones() -> None:
    # Squares of 6 and 4 pixels' side that share 2 x 2, and one of 2 within the second.
    masks = [Mask.from_dense(square(20, 30, y, y, side)) for y, side in ((2, 6), (6, 4), (7, 2))]
    assert [mask.area for mask in painted_over(masks, (20, 30))] == [36 - 4, 16 - 4, 4]
    assert [mask.area for mask in painted_over(masks[::-1], (20, 30))] == [0, 16 - 4, 36]
    assert union(masks, (20, 30)).area == 36 + 16 - 4
    assert union([], (20, 30)).area == 0


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 3), max_size=6))
@settings(max_examples=60)
def test_what_is_left_to_see_parts_the_union(places: list[tuple[int, int, int]]) -> None:
    masks = [Mask.from_dense(square(15, 15, *place)) for place in places]
    left = painted_over(masks, (15, 15))
    count = sum((mask.dense().astype(int) for mask in left), np.zeros((15, 15), int))
    assert np.array_equal(count, union(masks, (15, 15)).dense().astype(int))
