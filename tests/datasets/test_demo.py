"""The demo dataset: exact, the same everywhere, and safe in its cache."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sambench.demo import cache, scenes
from sambench.errors import UsageError
from sambench.suite.datasets.demo import PLUGIN as Demo
from sambench.types import Instance, Sample

CONTENT = "fa5cf1f46f4b03f9b8e26d6675e74b9d79610949ad9ef9570d73fc2951f0eaa7"
"""Of the decoded pixels and masks, not of the files: PNG encoders differ. A change of it needs a new VERSION."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("cache") / "demo" / "v1"
    dataset = Demo(root, "all", Demo.Options())
    dataset.index()
    return dataset


def samples(demo: Any) -> Iterator[Sample]:
    for entry in demo.index():
        yield demo.load(entry.id)


def content(demo: Any) -> str:
    digest = hashlib.sha256()
    for entry in demo.index():
        sample = demo.load(entry.id)
        digest.update(repr((entry, sample.size)).encode())
        digest.update(sample.image.tobytes())
        for i in sample.truth.instances:
            digest.update(repr((i.id, i.class_name, i.crowd, sorted(i.attributes.items()), i.mask.box)).encode())
            digest.update(i.mask.window.tobytes())
    return digest.hexdigest()


def files(at: Path) -> dict[str, bytes]:
    return {str(path.relative_to(at)): path.read_bytes() for path in sorted(at.rglob("*")) if path.is_file()}


def test_content_is_the_same_on_every_machine(demo: Any) -> None:
    assert content(demo) == CONTENT


def test_made_twice_gives_the_same_bytes(demo: Any, tmp_path: Path) -> None:
    cache.ensure(tmp_path / "v1")
    assert files(tmp_path / "v1") == files(demo.root)
    assert len(files(demo.root)) == 24 + 2


def test_size(demo: Any) -> None:
    index = demo.index()
    single = [i for sample in samples(demo) for i in sample.truth.instances if not i.crowd]
    crowd = [i for sample in samples(demo) for i in sample.truth.instances if i.crowd]
    assert (len(index), sum(entry.n_masks for entry in index), len(single), len(crowd)) == (24, 471, 471, 2)
    assert Demo.card.splits["all"].masks == 471
    assert len({sample.size for sample in samples(demo)}) >= 8
    assert len({i.class_name for i in single}) >= 30
    for sample in samples(demo):
        assert sample.image.shape == (*sample.size, 3)
        assert not sample.truth.dropped


def by_id(sample: Sample) -> dict[str, Instance]:
    return {instance.id: instance for instance in sample.truth.instances}


def test_parts_lie_within_their_parents(demo: Any) -> None:
    above = {"part": "whole", "subpart": "part"}
    levels = set()
    for sample in samples(demo):
        instances = by_id(sample)
        for instance in instances.values():
            levels.add(instance.attributes["level"])
            if instance.attributes["level"] == "whole":
                assert instance.attributes["parent"] is None
                continue
            parent = instances[instance.attributes["parent"]]
            assert parent.attributes["level"] == above[instance.attributes["level"]]
            inside, outside = instance.mask.dense(), parent.mask.dense()
            assert not (inside & ~outside).any()
            assert instance.mask.area < parent.mask.area
    assert levels == {"whole", "part", "subpart"}


def test_whole_objects_share_no_pixel(demo: Any) -> None:
    for sample in samples(demo):
        owners = sum(i.mask.dense().astype(int) for i in sample.truth.instances if i.attributes["level"] == "whole")
        assert np.max(owners) == 1


def test_hard_cases_are_there(demo: Any) -> None:
    thin = tiny = cut = touching = with_hole = 0
    for sample in samples(demo):
        height, width = sample.size
        whole = [i.mask for i in sample.truth.instances if i.attributes["level"] == "whole" and not i.crowd]
        for instance in sample.truth.instances:
            window = np.pad(instance.mask.window, 1).astype(np.uint8)
            half_width = cv2.distanceTransform(window, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
            thin += half_width <= 2 and max(window.shape) > 20
            tiny += instance.mask.area < 50
            with_hole += instance.class_name == "ring"
        for k, mask in enumerate(whole):
            x0, y0, x1, y1 = mask.box
            cut += x0 == 0 or y0 == 0 or x1 == width or y1 == height
            grown = np.pad(mask.dense(), 1)
            grown = grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:]
            touching += any((grown & other.dense()).any() for other in whole[k + 1 :])
    assert thin >= 10
    assert tiny >= 20
    assert cut >= 10
    assert touching >= 20
    assert with_hole >= 5


def test_objects_stand_out_from_what_surrounds_them(demo: Any) -> None:
    """A plain reference for 'segmentable': mean colours inside and in a ring of 4 pixels outside are far apart."""
    apart = []
    for sample in samples(demo):
        pixels = sample.image.astype(int)
        for instance in sample.truth.instances:
            if instance.attributes["level"] != "whole" or instance.crowd:
                continue
            x0, y0, x1, y1 = instance.mask.box
            around = (max(y0 - 4, 0), max(x0 - 4, 0), min(y1 + 4, sample.size[0]), min(x1 + 4, sample.size[1]))
            inside = instance.mask.crop(*around)
            window = pixels[around[0] : around[2], around[1] : around[3]]
            if inside.all():
                continue
            apart.append(np.abs(window[inside].mean(axis=0) - window[~inside].mean(axis=0)).sum())
    assert np.mean(np.asarray(apart) > 60) > 0.95


def test_boundaries_follow_the_masks(demo: Any) -> None:
    for sample in samples(demo):
        objects, parts = sample.truth.boundaries
        assert objects.shape == parts.shape == sample.size
        assert objects.dtype == np.bool_
        assert not (objects & ~parts).any()  # the second annotator draws all that the first does
        assert objects.sum() < parts.sum() < 0.25 * parts.size
        # Every boundary pixel lies on an instance or beside one: within one pixel to the right or below.
        union = np.logical_or.reduce([i.mask.dense() for i in sample.truth.instances])
        padded = np.pad(union, ((0, 1), (0, 1)))
        assert not (parts & ~(union | padded[1:, :-1] | padded[:-1, 1:])).any()


def test_boundary_of_one_square() -> None:
    scene = np.zeros((6, 6), np.int32)
    scene[2:4, 2:4] = 1
    edge = cache._between(scene)
    # Right neighbour differs: columns 1 and 3 of rows 2 and 3. Lower neighbour differs: rows 1 and 3 of columns 2, 3.
    assert sorted(map(tuple, np.argwhere(edge).tolist())) == [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2), (3, 3)]


@pytest.mark.parametrize("damage", ["changed", "missing", "checksums"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "N_IMAGES", 2)
    at = tmp_path / "demo" / "v1"
    cache.ensure(at)
    whole = files(at)
    victim = at / "images" / "demo-02.png"
    if damage == "changed":
        victim.write_bytes(whole["images/demo-02.png"][:-20])
    elif damage == "missing":
        victim.unlink()
    else:
        (at / "SHA256SUMS").write_text("")
    cache.ensure(at)
    assert files(at) == whole
    assert sorted(path.name for path in at.parent.iterdir()) == [".v1.lock", "v1"]


def test_a_sound_cache_is_left_alone(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_make", lambda at: pytest.fail("made again"))
    cache.ensure(demo.root)


def test_an_interrupted_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(number: int) -> scenes.Scene:
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "make_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        cache.ensure(tmp_path / "v1")
    assert [path.name for path in tmp_path.iterdir()] == [".v1.lock"]


def test_two_processes_at_once(demo: Any, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=cache.ensure, args=(tmp_path / "v1",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert files(tmp_path / "v1") == files(demo.root)


def test_the_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMBENCH_CACHE", str(tmp_path))
    assert Demo.locate(Path("/nowhere"), "all", Demo.Options()) == tmp_path / "demo" / "v1"
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot be written there .*; set SAMBENCH_CACHE"):
        cache.ensure(tmp_path / "file" / "demo" / "v1")


def test_photographs_that_are_not_the_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes._photograph.cache_clear()
    monkeypatch.setitem(scenes._PHOTOGRAPHS, "grass.png", "0" * 64)
    with pytest.raises(UsageError, match=r"grass\.png: not the photograph the demo dataset is made from"):
        scenes.make_scene(0)
    scenes._photograph.cache_clear()
