"""BSDS500 in tiny copies of its layouts, as it really is, and in each way in which the files go wrong; MATLAB files."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from helpers.layouts import bsds500
from helpers.tiny_datasets import LFS_POINTER, photo, save
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sambench.errors import DataError
from sambench.readers import matlab
from sambench.suite.datasets.bsds500 import PLUGIN as Bsds500


def opened(root: Path, split: str = "test") -> Any:
    found = Bsds500.locate(root, split, Bsds500.Options())
    assert found is not None
    return Bsds500(found, split, Bsds500.Options())


def listed(dataset: Any) -> dict[str, int]:
    return {entry.id: entry.n_masks for entry in dataset.index()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    bsds500.build(tmp_path)
    return tmp_path / "BSDS500" / "data"


def truth_file(data: Path, id: str = "100007") -> Path:
    return data / "groundTruth" / "test" / f"{id}.mat"


def complaint(data: Path, id: str = "100007") -> str:
    with pytest.raises(DataError) as caught:
        _ = opened(data).load(id).truth
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_every_person_counts(data: Path) -> None:
    dataset = opened(data)
    assert listed(dataset) == {"100007": 2, "2018": 3}
    for id in ("100007", "2018"):
        sample = dataset.load(id)
        assert sample.size == bsds500.size_of(id) == sample.image.shape[:2]
        assert sample.truth.instances == ()
        expected = bsds500.drawn(id, listed(dataset)[id])
        assert len(sample.truth.boundaries) == len(expected)
        for got, wanted in zip(sample.truth.boundaries, expected, strict=True):
            assert got.dtype == np.bool_
            assert np.array_equal(got, wanted)


def test_splits_stay_apart(data: Path) -> None:
    assert listed(opened(data, "val")) == {"3063": 2}
    assert listed(opened(data, "train")) == {"8068": 2}


@pytest.mark.parametrize(
    ("inside", "roots"),
    [
        ("BSDS500/data", ["", "BSDS500", "BSDS500/data"]),
        ("BSR/BSDS500/data", ["", "BSR", "BSR/BSDS500", "BSR/BSDS500/data"]),
        ("bsds500", ["", "bsds500"]),
        ("bsds500/BSR/BSDS500/data", ["", "bsds500", "bsds500/BSR"]),
    ],
)
def test_found_on_every_level(data: Path, inside: str, roots: list[str], tmp_path: Path) -> None:
    """A data root above, at or within the tree, with or without the archive's own top folder."""
    (tmp_path / "whole" / inside).parent.mkdir(parents=True)
    data.rename(tmp_path / "whole" / inside)
    for root in roots:
        assert listed(opened(tmp_path / "whole" / root)) == {"100007": 2, "2018": 3}
    assert Bsds500.locate(tmp_path / "elsewhere", "test", Bsds500.Options()) is None


def test_a_folder_without_splits_is_test(tmp_path: Path) -> None:
    save(tmp_path / "images" / "2018.jpg", photo(32, 24))
    bsds500.write_mat(tmp_path / "groundTruth" / "2018.mat", bsds500.drawn("2018"))
    assert listed(opened(tmp_path)) == {"2018": 2}
    assert len(opened(tmp_path).load("2018").truth.boundaries) == 2
    assert Bsds500.locate(tmp_path, "val", Bsds500.Options()) is None


def test_the_real_files(real_data: Path) -> None:
    """Counted in the files: 20 images, 105 segmentations; the benchmark's own example holds five of them again."""
    subset = real_data / "bsds500_subset"
    dataset = opened(subset)
    assert (len(listed(dataset)), sum(listed(dataset).values())) == (20, 105)
    for entry in dataset.index():
        sample = dataset.load(entry.id)
        assert sorted(sample.size) == [321, 481]
        assert len(sample.truth.boundaries) == entry.n_masks
        assert all(0.002 < b.mean() < 0.1 for b in sample.truth.boundaries)
    example = opened(subset / "bench" / "data")
    assert set(listed(example)) == {"2018", "3063", "5096", "6046", "8068"}
    for entry in example.index():
        a, b = (d.load(entry.id).truth.boundaries for d in (example, dataset))
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# --- files that go wrong ---------------------------------------------------------------------------------------------


def test_an_image_without_truth_and_a_truth_without_image(data: Path) -> None:
    truth_file(data).unlink()
    (data / "images" / "test" / "2018.jpg").unlink()
    dataset = opened(data)
    assert listed(dataset) == {"100007": 1, "2018": 3}
    with pytest.raises(DataError, match=r"100007\.jpg: has no ground truth .*groundTruth/test/100007\.mat"):
        dataset.load("100007")
    sample = dataset.load("2018")
    assert (sample.size, len(sample.truth.boundaries)) == ((32, 24), 3)
    with pytest.raises(DataError, match=r"images/test/2018\.jpg: no such file"):
        _ = sample.image


def test_a_truth_of_another_size(data: Path) -> None:
    bsds500.write_mat(truth_file(data), [np.zeros((32, 24), np.uint8)] * 2)
    assert "boundaries of 32 x 24, its image is 24 x 32 (height x width)" in complaint(data)
    bsds500.write_mat(truth_file(data), [np.zeros((24, 32), np.uint8), np.zeros((24, 31), np.uint8)])
    assert "groundTruth holds maps of several sizes" in complaint(data)


def test_another_structure(data: Path) -> None:
    path = truth_file(data)
    bsds500.write_mat(path, bsds500.drawn("100007"), field="Edges")
    assert "groundTruth{1} has no field 'Boundaries' (it has: 'Segmentation', 'Edges')" in complaint(data)
    bsds500.write_mat(path, [2 * b for b in bsds500.drawn("100007")])
    assert "groundTruth{1}.Boundaries is not a map of zeros and ones" in complaint(data)
    scipy.io.savemat(path, {"groundTruth": np.ones((24, 32))})
    assert "variable groundTruth is a numeric array, expected a cell array" in complaint(data)
    scipy.io.savemat(path, {"groundTruth": np.empty((1, 0), object)})
    assert "groundTruth holds no segmentation" in complaint(data)
    scipy.io.savemat(path, {"segs": np.ones(3)})
    assert "has no variable 'groundTruth' (it has: 'segs')" in complaint(data)
    assert listed(opened(data))["100007"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (LFS_POINTER, "a Git LFS pointer is in the file's place"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(200), "of version 7.3; expected version 5"),
        (b"\x89PNG\r\n\x1a\n" + bytes(200), "not a MATLAB file of version 5"),
    ],
)
def test_not_a_matlab_file(data: Path, content: bytes, says: str) -> None:
    truth_file(data).write_bytes(content)
    assert says in complaint(data)


def test_a_truncated_truth(data: Path) -> None:
    whole = truth_file(data).read_bytes()
    for length in (130, 140, 200, len(whole) - 1):
        truth_file(data).write_bytes(whole[:length])
        assert "damaged MATLAB file" in complaint(data)


# --- MATLAB files ----------------------------------------------------------------------------------------------------


def test_every_kind_of_variable(tmp_path: Path) -> None:
    sparse = scipy.sparse.csc_matrix(np.array([[0, 0, 2.5], [1, 0, 0]]))
    cell = np.empty((2, 2), object)
    cell[:] = [[1, "two"], [{"three": 3}, np.zeros((0, 0))]]
    content = {
        "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "logical": np.eye(3) > 0,
        "sparse": sparse,
        "cell": cell,
        "text": "größer",
        "lines": np.array(["ab", "cd"]),
        "struct": {"a": np.float32(1.5), "b": {"c": "d"}},
    }
    for compressed in (False, True):
        path = tmp_path / f"{compressed}.mat"
        scipy.io.savemat(path, content, do_compression=compressed)
        cube = matlab.read_variable(path, "cube")
        assert (cube.dtype, matlab.shape_of(path, "cube")) == (np.int16, (2, 3, 4))
        assert np.array_equal(cube, content["cube"])
        assert matlab.read_variable(path, "logical").dtype == np.bool_
        assert np.array_equal(matlab.read_variable(path, "sparse"), [[0, 0, 2.5], [1, 0, 0]])
        one, three, two, empty = matlab.read_variable(path, "cell")  # column by column
        assert (one.item(), three["three"].item(), two, empty.size) == (1, 3, "two", 0)
        assert matlab.read_variable(path, "text") == "größer"
        assert matlab.read_variable(path, "lines") == "ab\ncd"
        struct = matlab.read_variable(path, "struct")
        assert (struct["a"].item(), struct["b"]) == (1.5, {"c": "d"})


@settings(max_examples=40)
@given(
    st.sampled_from(["u1", "i1", "u2", "i2", "i4", "u4", "f4", "f8", "i8"]).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5))
    )
)
def test_numbers_are_read_as_scipy_reads_them(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.mat"
    scipy.io.savemat(path, {"x": values})
    got, expected = matlab.read_variable(path, "x"), scipy.io.loadmat(path)["x"]
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected, equal_nan=values.dtype.kind == "f")


def test_real_files_are_read_as_scipy_reads_them(real_data: Path) -> None:
    for kind, name in (("ucm2", "ucm2"), ("segs", "segs")):
        path = real_data / "bsds500_subset" / "bench" / "data" / kind / "2018.mat"
        expected = scipy.io.loadmat(path)[name]
        got = matlab.read_variable(path, name)
        assert matlab.shape_of(path, name) == expected.shape
        for a, b in zip(got, expected.ravel(order="F"), strict=True) if kind == "segs" else [(got, expected)]:
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)


def test_no_bytes_lead_to_more_than_one_line(data: Path, tmp_path: Path) -> None:
    """Many damaged files, compressed and not: a line each, or what can still be read; scipy crashes on some."""
    plain = tmp_path / "plain.mat"
    bsds500.write_mat(plain, [b[:6, :5] for b in bsds500.drawn("100007")], do_compression=False)
    sources = [plain.read_bytes(), truth_file(data).read_bytes()]
    rng = random.Random(3)
    path, complaints = tmp_path / "damaged.mat", []
    for trial in range(800):
        content = bytearray(sources[trial % 4 == 0])
        if trial % 5 == 0:
            del content[rng.randrange(len(content)) :]
        for _ in range(rng.randrange(1, 5)):
            if content:
                place = rng.randrange(len(content)) if rng.random() < 0.3 else 128 + rng.randrange(300)
                content[min(place, len(content) - 1)] = rng.choice([0, 255, rng.randrange(256)])
        path.write_bytes(content)
        try:
            for person in matlab.cells(matlab.read_variable(path, "groundTruth"), "x"):
                matlab.field(person, "Boundaries", "x")
        except DataError as error:
            complaints.append(str(error))
    assert len(complaints) > 400
    assert not any("\n" in complaint for complaint in complaints)


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy.io.savemat(tmp_path / "small.mat", {"x": np.zeros((300, 300))}, do_compression=True)
    with monkeypatch.context() as patch:
        patch.setattr(matlab, "MAX_BYTES", 100_000)
        with pytest.raises(DataError, match="a variable unpacks without end"):
            matlab.read_variable(tmp_path / "small.mat", "x")
        assert matlab.shape_of(tmp_path / "small.mat", "x") == (300, 300)
    scipy.io.savemat(tmp_path / "sparse.mat", {"x": scipy.sparse.csc_matrix((2**20, 2**20))})
    with pytest.raises(DataError, match="a sparse array of 1048576 x 1048576"):
        matlab.read_variable(tmp_path / "sparse.mat", "x")
    # A cell array that announces 2**40 cells and ends.
    header = (tmp_path / "sparse.mat").read_bytes()[:128]
    dims = (2**20).to_bytes(4, "little")
    body = b"\6\0\0\0\x08\0\0\0\1\0\0\0\0\0\0\0" + b"\5\0\0\0\x08\0\0\0" + dims + dims + b"\1\0\1\0x\0\0\0"
    element = b"\x0e\0\0\0" + len(body).to_bytes(4, "little") + body
    packed = zlib.compress(element)
    (tmp_path / "cells.mat").write_bytes(header + b"\x0f\0\0\0" + len(packed).to_bytes(4, "little") + packed)
    with pytest.raises(DataError, match="it ends before the last of 1099511627776 arrays"):
        matlab.read_variable(tmp_path / "cells.mat", "x")
