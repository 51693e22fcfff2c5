"""Image files of every kind, and every way in which one can be broken."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_datasets import LFS_POINTER, photo, png_header, save
from PIL import Image

from sambench.errors import DataError
from sambench.readers.images import MAX_PIXELS, has_colours, image_size, read_codes, read_image, read_labels

GREY = np.array([[0, 100, 255], [7, 8, 9]], np.uint8)


def test_rgb_is_read_as_stored(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(5, 7))
    assert image_size(path) == (5, 7)
    read = read_image(path, (5, 7))
    assert read.dtype == np.uint8
    assert np.array_equal(read, photo(5, 7))
    assert read.flags.writeable


def test_grey_and_one_bit_get_three_equal_channels(tmp_path: Path) -> None:
    assert np.array_equal(read_image(save(tmp_path / "grey.png", GREY)), np.dstack([GREY] * 3))
    bits = save(tmp_path / "bits.png", GREY > 50)
    assert np.array_equal(read_image(bits), np.dstack([np.where(GREY > 50, 255, 0)] * 3))


def test_sixteen_bit_grey_keeps_the_high_byte(tmp_path: Path) -> None:
    deep = np.array([[0x0000, 0x00FF, 0x0100], [0x7FFF, 0xFF00, 0xFFFF]], np.uint16)
    expected = np.array([[0, 0, 1], [0x7F, 0xFF, 0xFF]], np.uint8)
    assert np.array_equal(read_image(save(tmp_path / "deep.png", deep)), np.dstack([expected] * 3))
    assert np.array_equal(read_image(save(tmp_path / "deep.tif", deep)), np.dstack([expected] * 3))


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    rgba = np.dstack([photo(4, 4), np.arange(16, dtype=np.uint8).reshape(4, 4)])
    assert np.array_equal(read_image(save(tmp_path / "rgba.png", rgba)), photo(4, 4))
    la = save(tmp_path / "la.png", np.dstack([GREY, 255 - GREY]))
    assert np.array_equal(read_image(la), np.dstack([GREY] * 3))


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").tolist() == [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [10, 20, 30]]]
    assert read_labels(tmp_path / "p.png").tolist() == [[0, 1], [2, 0]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    # No ink is white; full cyan takes all of the red.
    cmyk = np.zeros((8, 16, 4), np.uint8)
    cmyk[:, 8:, 0] = 255
    Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "c.jpg", quality=100)
    read = read_image(tmp_path / "c.jpg").astype(int)
    assert np.abs(read[:, :6] - [255, 255, 255]).max() <= 3
    assert np.abs(read[:, 10:] - [0, 255, 255]).max() <= 3


def test_thirty_two_bit_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "f.tif", np.ones((3, 3), np.float32))
    with pytest.raises(DataError, match=r"f\.tif: 32-bit"):
        read_image(path)
    with pytest.raises(DataError, match=r"f\.tif: a mask holds integers"):
        read_labels(path)


def test_exif_rotation_is_not_applied_and_explains_a_mismatch(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.jpg", photo(20, 30), exif=exif)
    assert image_size(path) == (20, 30)
    assert read_image(path, (20, 30)).shape == (20, 30, 3)
    with pytest.raises(DataError, match=r"turned\.jpg: the file is 20 x 30 .* 30 x 20 .*EXIF"):
        read_image(path, (30, 20))


def test_size_mismatch_names_both_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(5, 7))
    with pytest.raises(DataError, match=r"a\.png: the file is 5 x 7 pixels, the annotation 7 x 5") as raised:
        read_image(path, (7, 5))
    assert "EXIF" not in str(raised.value)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "cut.tif"])
def test_truncated(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, {"jpg": "JPEG", "png": "PNG", "tif": "TIFF"}[name[-3:]])
    whole = buffer.getvalue()
    for share in (0.2, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"cut\.\w+: "):
            read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (LFS_POINTER, "Git LFS pointer"),
        (b"<html>not found</html>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "x.png: "),
        (png_header(30000, 30000), "refused before decoding"),
        (png_header(1, MAX_PIXELS + 1), "refused before decoding"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    for read in (read_image, read_labels, read_codes, has_colours, image_size):
        with pytest.raises(DataError, match=message) as raised:
            read(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_bomb_is_refused_where_pillows_own_limit_was_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png_header(20000, 20000))
    with pytest.raises(DataError, match="refused before decoding"):
        read_image(tmp_path / "bomb.png")


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path)


def test_non_ascii_path(tmp_path: Path) -> None:
    path = save(tmp_path / "Bücher 図" / "naïve été.png", photo(3, 3))
    assert np.array_equal(read_image(path), photo(3, 3))


def test_labels_of_sixteen_bits_and_one_bit(tmp_path: Path) -> None:
    labels = np.array([[0, 300], [65535, 1]], np.uint16)
    assert read_labels(save(tmp_path / "l.png", labels), (2, 2)).tolist() == labels.tolist()
    assert read_labels(save(tmp_path / "b.png", labels > 2)).tolist() == [[False, True], [True, False]]


def test_colour_masks(tmp_path: Path) -> None:
    equal = save(tmp_path / "equal.png", np.dstack([GREY] * 3))
    assert np.array_equal(read_labels(equal), GREY)
    with_alpha = save(tmp_path / "alpha.png", np.dstack([GREY] * 3 + [np.full_like(GREY, 255)]))
    assert np.array_equal(read_labels(with_alpha), GREY)
    colour = save(tmp_path / "colour.png", np.dstack([GREY, GREY // 2, GREY]))
    with pytest.raises(DataError, match=r"colour\.png: a mask has one channel"):
        read_labels(colour)
    assert np.array_equal(read_labels(colour, first_channel=True), GREY)


def test_a_mask_of_another_size_than_its_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m\.png: the file is 2 x 3 pixels, its image 3 x 2"):
        read_labels(save(tmp_path / "m.png", GREY), (3, 2))


def test_colours_as_numbers(tmp_path: Path) -> None:
    colours = np.array([[[1, 2, 3], [255, 255, 255], [0, 0, 7]]], np.uint8)
    expected = [[0x010203, 0xFFFFFF, 7]]
    path = save(tmp_path / "c.png", colours)
    assert read_codes(path, (1, 3)).tolist() == expected
    assert read_codes(path).dtype == np.int32
    alpha = save(tmp_path / "a.png", np.dstack([colours, np.array([[0, 128, 255]], np.uint8)]))
    assert read_codes(alpha).tolist() == expected
    palette = Image.fromarray(np.array([[0, 1, 0]], np.uint8), mode="P")
    palette.putpalette([0, 0, 7, 1, 2, 3])
    palette.save(tmp_path / "p.png")
    assert read_codes(tmp_path / "p.png").tolist() == [[7, 0x010203, 7]]
    assert [has_colours(tmp_path / name) for name in ("c.png", "a.png", "p.png")] == [True, True, False]
    with pytest.raises(DataError, match=r"c\.png: the file is 1 x 3 pixels, its image 3 x 1"):
        read_codes(path, (3, 1))
