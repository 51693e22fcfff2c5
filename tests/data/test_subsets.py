"""Which images are evaluated: one hash order, prefixes of it, the paper's rule."""

from __future__ import annotations

import pytest

from sambench.data.subsets import draw, order
from sambench.errors import UsageError
from sambench.types import IndexEntry


def entries(n: int, masks: int) -> list[IndexEntry]:
    return [IndexEntry(f"{i:012d}", masks) for i in range(n)]


def test_order_is_by_sha256_of_the_id() -> None:
    # sha256: b -> 3e23..., c -> 2e7d..., a -> ca97...
    assert [e.id for e in order([IndexEntry(i, 1) for i in "abc"])] == ["c", "b", "a"]


def test_order_does_not_depend_on_how_the_files_were_listed() -> None:
    assert order(entries(50, 1)) == order(entries(50, 1)[::-1])


def test_paper_takes_whole_images_until_10k_masks() -> None:
    drawn = draw(entries(3000, 7), "paper")
    # 21,000 masks > 15,000: 1428 images hold 9,996, the next brings 10,003.
    assert len(drawn) == 1429
    assert drawn == order(entries(3000, 7))[:1429]


def test_paper_uses_a_small_dataset_whole() -> None:
    assert len(draw(entries(3000, 5), "paper")) == 3000
    assert len(draw([*entries(2999, 5), IndexEntry("x", 6)], "paper")) < 3000


def test_paper_leaves_out_images_without_masks() -> None:
    drawn = draw([*entries(10, 2), IndexEntry("nothing", 0)], "paper")
    assert len(drawn) == 10
    assert len(draw([*entries(10, 2), IndexEntry("nothing", 0)], "full")) == 11


def test_a_count_is_a_prefix_of_the_same_order() -> None:
    assert draw(entries(100, 1), "7") == draw(entries(100, 1), "full")[:7]


@pytest.mark.parametrize("subset", ["0", "-3", "some", "1.5", ""])
def test_other_subsets_are_refused(subset: str) -> None:
    with pytest.raises(UsageError, match="paper, full, or a number"):
        draw(entries(3, 1), subset)


def test_an_id_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'a' twice"):
        draw([IndexEntry("a", 1), IndexEntry("b", 1), IndexEntry("a", 1)], "full")
