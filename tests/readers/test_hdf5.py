"""HDF5 files and every way in which one can be broken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER

from sambench.errors import DataError
from sambench.readers.hdf5 import array_shape, read_array
from sambench.readers.images import MAX_PIXELS


def written(path: Path, values: Any, **how: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=values, **how)
    return path


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float16, np.uint8, np.bool_])
def test_arrays_are_read_as_stored(tmp_path: Path, kind: Any) -> None:
    values = np.arange(12).reshape(3, 4).astype(kind)
    path = written(tmp_path / "a.hdf5", values, compression="gzip")
    read = read_array(path, "dataset", (3, 4))
    assert read.dtype == kind
    assert np.array_equal(read, values)
    assert array_shape(path, "dataset") == (3, 4)


def test_a_read_only_file_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.hdf5", np.ones((2, 2)))
    path.chmod(0o444)
    assert read_array(path, "dataset").shape == (2, 2)


def test_what_is_no_array_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        file.create_group("group")
        file["text"] = ["a", "b"]
        file["gone"] = h5py.SoftLink("/nowhere")
    for key in ("group", "text", "gone", "dataset"):
        with pytest.raises(DataError, match=rf"a\.hdf5: holds no array of numbers under '{key}'"):
            read_array(path, key)


def test_shapes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.hdf5", np.ones((2, 3)))
    with pytest.raises(DataError, match=r"a\.hdf5: 'dataset' has the shape \(2, 3\), expected \(3, 2\)"):
        read_array(path, "dataset", (3, 2))
    with h5py.File(tmp_path / "bomb.hdf5", "w") as file:
        file.create_dataset("dataset", (MAX_PIXELS, 2), "i2", chunks=(1000, 2), compression="gzip")
    for read in (read_array, array_shape):
        with pytest.raises(DataError, match=r"bomb\.hdf5: refused"):
            read(tmp_path / "bomb.hdf5", "dataset")


def test_broken_files(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.hdf5", np.random.default_rng(0).integers(0, 99, (64, 64))).read_bytes()
    for content, message in (
        (b"", "the file is empty"),
        (LFS_POINTER, "Git LFS pointer"),
        (b"<html>", "not an HDF5 file"),
        (whole[: len(whole) // 2], "damaged, or not an HDF5 file"),
    ):
        path = tmp_path / "x.hdf5"
        path.write_bytes(content)
        with pytest.raises(DataError, match=message) as raised:
            read_array(path, "dataset")
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(DataError, match=r"gone\.hdf5: no such file"):
        read_array(tmp_path / "gone.hdf5", "dataset")
    with pytest.raises(DataError, match="cannot be read"):
        read_array(tmp_path, "dataset")
