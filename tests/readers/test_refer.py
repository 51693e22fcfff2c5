"""RefCOCO, RefCOCO+ and RefCOCOg: the exact objects and expressions of tiny copies, pickles that are not to be trusted,
and each way in which the files go wrong."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.layout_checks import instances, listed, opened
from helpers.layouts import refcoco, refcocog, refcocop
from helpers.refer_entries import python2_pickle, ref
from helpers.tiny_datasets import LFS_POINTER
from hypothesis import given
from hypothesis import strategies as st

from sambench.errors import DataError, UsageError
from sambench.readers.refer import load_plain_pickle, read_refs
from sambench.suite.datasets.refcoco import PLUGIN as RefCoco
from sambench.suite.datasets.refcocog import PLUGIN as RefCocoG
from sambench.suite.datasets.refcocop import PLUGIN as RefCocoPlus

BUILDS = {RefCoco: refcoco.build, RefCocoPlus: refcocop.build, RefCocoG: refcocog.build}
IN_72 = [
    ("1001", "person", 100, (2, 2, 12, 12)),
    ("1002", "person", 400, (30, 10, 50, 30)),
    ("1003", "dog", 100, (5, 25, 15, 35)),
    ("900100000072", "person", 64, (52, 0, 60, 8)),
]


def expressions(dataset: Any, id: str) -> dict[str, tuple[str, ...]]:
    """By annotation, what refers to it."""
    return {
        one.id: one.attributes["expressions"]
        for one in dataset.load(id).truth.instances
        if "expressions" in one.attributes
    }


# --- the three, as they lie ------------------------------------------------------------------------------------------


def test_refcoco(tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    dataset = opened(RefCoco, tmp_path)
    assert listed(dataset) == {"72": 2}
    assert instances(dataset, "72") == IN_72
    assert expressions(dataset, "72") == {"1001": ("left man", "man on the left"), "1002": ("right person",)}
    assert [one.id for one in dataset.load("72").truth.instances if one.crowd] == ["900100000072"]
    assert dataset.categories == {1: "person", 18: "dog", 47: "cup"}
    assert (dataset.excluded, dataset.image_file("72").name) == ({}, "COCO_train2014_000000000072.jpg")
    assert listed(opened(RefCoco, tmp_path, "unc_testB")) == {"109": 1}
    assert listed(opened(RefCoco, tmp_path, "google_train")) == {"260": 1, "72": 1}
    assert expressions(opened(RefCoco, tmp_path, "google_val"), "72") == {"1001": ("left man", "man on the left")}


def test_refcoco_plus(tmp_path: Path) -> None:
    refcocop.build(tmp_path)
    dataset = opened(RefCocoPlus, tmp_path)
    assert listed(dataset) == {"109": 1, "72": 1}
    assert instances(dataset, "72") == IN_72
    assert expressions(dataset, "109") == {"2001": ("dog", "brown dog")}
    assert listed(opened(RefCocoPlus, tmp_path, "unc_testA")) == {"260": 1}


def test_refcocog_joins_entries_of_one_object(tmp_path: Path) -> None:
    refcocog.build(tmp_path)
    dataset = opened(RefCocoG, tmp_path)
    assert listed(dataset) == {"72": 1}
    assert instances(dataset, "72") == IN_72
    assert expressions(dataset, "72") == {
        "1002": ("a man in a grey coat who stands at the café", "the larger of two people")
    }
    raw = opened(RefCocoG, tmp_path, "umd_test", text="raw")
    assert expressions(raw, "109") == {"2001": ("A dog that lies down.",)}
    assert listed(opened(RefCocoG, tmp_path, "google_val")) == {"109": 1}


@pytest.mark.parametrize(("plugin", "build"), BUILDS.items())
def test_found_by_the_folder_s_name(plugin: Any, build: Callable[[Path], None], tmp_path: Path) -> None:
    build(tmp_path / "data")
    (folder,) = (tmp_path / "data").iterdir()
    expected = listed(opened(plugin, tmp_path / "data"))
    assert listed(opened(plugin, folder)) == expected
    # As `data get` unpacks it: in the folder of the dataset's own name.
    (tmp_path / "got" / plugin.card.name).mkdir(parents=True)
    shutil.move(folder, tmp_path / "got" / plugin.card.name / folder.name)
    assert listed(opened(plugin, tmp_path / "got")) == expected
    # The same files under another of the three names are another dataset.
    others = {name for other in BUILDS if other is not plugin for name in other.card.folders}
    assert others.isdisjoint(plugin.card.folders)
    for other in BUILDS:
        assert other is plugin or other.locate(folder, other.card.default_split, other.Options()) is None
    assert plugin.locate(tmp_path / "data", plugin.card.default_split, plugin.Options()) is None
    with pytest.raises(DataError, match="refers to nothing in image 7 "):
        opened(plugin, tmp_path / "got").load("7")


@pytest.mark.parametrize(
    "place", ["train2014", "coco/train2014", "coco/images/train2014", "images/mscoco/images/train2014"]
)
def test_images_may_lie_where_others_expect_them(place: str, tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tmp_path / "refcoco" / "train2014", tmp_path / place)
    sample = opened(RefCoco, tmp_path).load("72")
    assert sample.image.shape == (40, 60, 3)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_images_missing(tmp_path: Path) -> None:
    refcocop.build(tmp_path)
    at = tmp_path / "refcoco+"
    # An image of another split is not missed.
    (at / "train2014" / "COCO_train2014_000000000260.jpg").unlink()
    assert len(opened(RefCocoPlus, tmp_path).index()) == 2
    (at / "train2014" / "COCO_train2014_000000000109.jpg").unlink()
    with pytest.raises(UsageError, match=r"1 of 2 images are missing \(first: 109\): unpack COCO's train2014\.zip in"):
        opened(RefCocoPlus, tmp_path).index()
    dataset = opened(RefCocoPlus, tmp_path, missing_images="exclude")
    assert (listed(dataset), dataset.excluded) == ({"72": 1}, {"missing_image": 1})
    shutil.rmtree(at / "train2014")
    with pytest.raises(
        UsageError, match=r"labels are there, images are not .*: unpack COCO's train2014\.zip in .*refcoco\+"
    ):
        opened(RefCocoPlus, tmp_path).index()


def test_instances_missing(tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    (tmp_path / "refcoco" / "instances.json").unlink()
    with pytest.raises(UsageError, match=r"instances\.json: the labels are missing: unpack the archive"):
        opened(RefCoco, tmp_path).index()


def test_refs_and_instances_of_different_sets(tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    at = tmp_path / "refcoco"
    refs = [ref(0, 77, 72, "val", "x"), ref(1, 5, 4, "train", "y")]
    (at / "refs(unc).p").write_bytes(python2_pickle(refs))
    with pytest.raises(DataError, match=r"refers to annotation 77 of image 72, which .*instances\.json does not have"):
        _ = opened(RefCoco, tmp_path).load("72").truth
    with pytest.raises(UsageError, match=r"refers to 1 images that .*instances\.json does not list, e\.g\. image 4"):
        opened(RefCoco, tmp_path, "unc_train").index()
    with pytest.raises(UsageError, match=r"nothing is of split testA \(it has: train, val\)"):
        opened(RefCoco, tmp_path, "unc_testA").index()


def test_an_object_without_a_pixel_is_dropped_and_counted(tmp_path: Path) -> None:
    refcoco.build(tmp_path)
    path = tmp_path / "refcoco" / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[1, 1, 3, 3]]
    path.write_text(json.dumps(content))
    dataset = opened(RefCoco, tmp_path)
    assert expressions(dataset, "72") == {"1002": ("right person",)}
    assert dataset.load("72").truth.dropped == {"empty_mask": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "expected a list of objects that are referred to, found dict"),
        ([1], "entry 0 is not a dict"),
        ([{**ref(0, 1, 1, "val", "x"), "ann_id": "1"}], "entry 0 has no whole number 'ann_id'"),
        (
            [ref(0, 1, 1, "val"), {"ann_id": 1, "split": "val", "sentences": []}],
            "entry 1 has no whole number 'image_id'",
        ),
        ([{**ref(0, 1, 1, "val"), "split": 3}], "entry 0 has no text 'split'"),
        ([{**ref(0, 1, 1, "val"), "sentences": "x"}], "no list 'sentences'"),
        ([{**ref(0, 1, 1, "val"), "sentences": [{"raw": "x"}]}], "entry 0 has a sentence without a text 'sent'"),
    ],
)
def test_not_a_list_of_references(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UsageError, match=message) as caught:
        read_refs(path)
    assert "\n" not in str(caught.value)


# --- pickles ---------------------------------------------------------------------------------------------------------


class Evil:
    """Unpickled by a trusting reader it makes a file."""

    def __init__(self, at: Path) -> None:
        self.at = at

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.at),)


class Plain:
    pass


PATH = Path("refs(unc).p")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_in_a_pickle_runs(protocol: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for value in (Evil(made), [Plain()], {"x": Evil(made)}, datetime.date(2016, 1, 1), np.float32(3), print):
        with pytest.raises(UsageError, match=r"^refs\(unc\)\.p: asks for [\w.]+; a list of") as caught:
            load_plain_pickle(pickle.dumps(value, protocol=protocol), PATH)
        assert "\n" not in str(caught.value)
        assert not made.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"cposix\nmkdir\n(S'made'\ntR.", "posix.mkdir"),
        (b"(S'made'\niposix\nmkdir\n.", "posix.mkdir"),
        (b"\x80\x02(cposix\nmkdir\nU\x04madeo.", "posix.mkdir"),
        (b"\x80\x04\x8c\x05posix\x8c\x05mkdir\x93.", "posix.mkdir"),
        (b"\x80\x04\x8c\x05po\nix\x8c\x05mkdir\x93.", r"po\\nix.mkdir"),
        (b"\x80\x02\x82\x01.", "extension 1"),
        (b"P1\n.", "the object 1"),
        (b"\x80\x02K\x01Q.", "the object 1"),
    ],
)
def test_each_way_to_ask_for_code_is_refused(content: bytes, named: str) -> None:
    with pytest.raises(UsageError, match=rf"^refs\(unc\)\.p: asks for {named}; "):
        load_plain_pickle(content, PATH)


@pytest.mark.parametrize("content", [b"S'x'\n(dS'a'\nI1\nsb.", b"S'x'\n)R.", b"S'x'\n)\x81.", b"](dS'a'\nI1\nsb."])
def test_what_calls_or_fills_in_has_nothing_to_call(content: bytes) -> None:
    """BUILD, REDUCE and NEWOBJ on plain values."""
    with pytest.raises(UsageError, match="not a pickle, or damaged"):
        load_plain_pickle(content, PATH)


def test_files_that_are_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "refs.p"
    with pytest.raises(UsageError, match=r"refs\.p: cannot be read \(No such file or directory\)"):
        read_refs(path)
    path.write_bytes(LFS_POINTER)
    with pytest.raises(UsageError, match="a Git LFS pointer"):
        read_refs(path)
    cut = python2_pickle(refcoco.UNC)[:-20]
    for content in (b"", b"[1, 2]", b"\xff\xd8\xff", cut):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"refs\.p: not a pickle, or damaged \(\w+\); copy it again"):
            read_refs(path)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@given(st.binary(max_size=60), st.integers(0, 400))
def test_damage_is_one_line_or_plain_values(noise: bytes, at: int) -> None:
    content = python2_pickle(refcoco.UNC[:1])
    with contextlib.suppress(UsageError):
        load_plain_pickle(content[:at] + noise + content[at + len(noise) :], PATH)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(value: Any, protocol: int) -> None:
    assert load_plain_pickle(pickle.dumps(value, protocol=protocol), PATH) == value


def test_texts_of_python_2() -> None:
    content = python2_pickle([{"sent": "café", "raw": b"caf\xe9"}])
    assert load_plain_pickle(content, PATH) == [{"sent": "café", "raw": "caf\ufffd"}]
