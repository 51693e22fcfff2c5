"""Images in folders and in archives of the folder's name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.layouts.visor import pack
from helpers.tiny_datasets import LFS_POINTER, photo, save

from sambench.errors import DataError, UsageError
from sambench.readers import zipped
from sambench.readers.images import image_size, read_image
from sambench.readers.zipped import find_images, opened


def test_an_image_is_read_from_its_archive(tmp_path: Path) -> None:
    save(tmp_path / "a.png", photo(20, 30))
    with zipfile.ZipFile(tmp_path / "video.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(tmp_path / "a.png", "inner/a.png")
        file.writestr("inner/notes.txt", b"")
    (found,) = find_images([tmp_path / "absent", tmp_path], "video").values()
    assert image_size(opened(found)) == (20, 30)
    assert np.array_equal(read_image(opened(found)), photo(20, 30))
    with pytest.raises(DataError, match=r"video\.zip:inner/a\.png: the file is 20 x 30 pixels, the annotation 30 x 20"):
        read_image(opened(found), (30, 20))


def test_unpacked_files_and_earlier_places_win(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    pack(near / "video.zip", ["a.jpg", "b.jpg", "c.jpg"])
    pack(far / "video.zip", ["d.jpg"])
    for path in (far / "video" / "a.jpg", far / "video" / "b.jpg", near / "video" / "a.jpg"):
        save(path, photo(5, 5))
    found = find_images([near, far], "video")
    assert found == {
        "a.jpg": near / "video" / "a.jpg",
        "b.jpg": far / "video" / "b.jpg",
        "c.jpg": zipped.Packed(near / "video.zip", "c.jpg"),
    }


def test_what_is_no_image_inside_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "video.zip", "w") as file:
        file.writestr("a.jpg", b"")
        file.writestr("b.jpg", LFS_POINTER)
    found = find_images([tmp_path], "video")
    with pytest.raises(DataError, match=r"video\.zip:a\.jpg: the file is empty"):
        image_size(opened(found["a.jpg"]))
    with pytest.raises(DataError, match=r"video\.zip:b\.jpg: a Git LFS pointer"):
        image_size(opened(found["b.jpg"]))


def test_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MAX_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "video.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.jpg", bytes(1001))
    with pytest.raises(DataError, match=r"video\.zip:a\.jpg: refused, it unpacks to 1001 bytes"):
        opened(find_images([tmp_path], "video")["a.jpg"])


def test_an_archive_that_changed_or_is_none(tmp_path: Path) -> None:
    pack(tmp_path / "video.zip", ["a.jpg"])
    found = find_images([tmp_path], "video")
    pack(tmp_path / "video.zip", ["b.jpg"])
    with pytest.raises(DataError, match=r"video\.zip: holds no a\.jpg"):
        opened(found["a.jpg"])
    (tmp_path / "video.zip").unlink()
    with pytest.raises(DataError, match=r"video\.zip:a\.jpg: cannot be read"):
        opened(found["a.jpg"])
    (tmp_path / "video.zip").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"video\.zip: not a zip archive that can be read"):
        find_images([tmp_path], "video")
