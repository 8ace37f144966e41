"""Masks: every usual way to store a mask is read as the same mask, and others are refused with the reason."""

import io

import numpy as np
import pytest
from PIL import Image

from model_export.masks import MaskInvalid, mask_from, matte_from
from tests.pictures import disc_alpha

EXPECTED = (disc_alpha(20, 30) >= 0.5).astype(np.uint8) * np.uint8(255)


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def palette(indices: np.ndarray, colours: dict[int, tuple[int, int, int]]) -> Image.Image:
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    table = np.zeros((256, 3), np.uint8)
    for index, colour in colours.items():
        table[index] = colour
    image.putpalette(table.tobytes())
    return image


def cutout() -> Image.Image:
    return Image.fromarray(np.dstack((np.full((20, 30, 3), 90, np.uint8), EXPECTED)))


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(EXPECTED),
        Image.fromarray(EXPECTED // np.uint8(255)),
        Image.fromarray(EXPECTED).convert("1"),
        Image.fromarray(EXPECTED).convert("RGB"),
        palette(EXPECTED // 255, {1: (128, 0, 0)}),
        palette(EXPECTED // 255 * np.uint8(15), {15: (192, 128, 128), 255: (224, 224, 192)}),
        palette(1 - EXPECTED // 255, {0: (255, 255, 255), 1: (0, 0, 0)}),
        cutout(),
    ],
    ids=["0/255", "0/1", "1 bit", "RGB", "palette", "VOC", "palette of greys", "cutout"],
)
def test_a_mask_is_read_however_it_is_stored(image: Image.Image) -> None:
    found, _ = mask_from(encoded(image), "a.png")

    assert np.array_equal(found, EXPECTED)


def test_the_void_of_a_palette_is_background() -> None:
    indices = np.array([[0, 1, 255]], np.uint8)
    found, _ = mask_from(encoded(palette(indices, {1: (128, 0, 0), 255: (224, 224, 192)})), "a.png")

    assert found.tolist() == [[0, 255, 0]]


@pytest.mark.parametrize(("values", "expected"), [([0, 1], True), ([0, 0], None), ([1, 200], False)])
def test_whether_a_mask_has_0_and_1_is_known(values: list[int], expected: bool | None) -> None:
    assert mask_from(encoded(Image.fromarray(np.array([values], np.uint8))), "a.png")[1] is expected


def test_a_label_map_is_refused_as_a_mask_with_the_remedy() -> None:
    labels = encoded(Image.fromarray(np.array([[0, 1, 2]], np.uint8)))
    with pytest.raises(
        MaskInvalid, match=r"a\.png: the largest value is 2; .*set those of the subject to 255"
    ):
        mask_from(labels, "a.png")


def test_a_dim_matte_is_read_as_it_is() -> None:
    assert matte_from(encoded(Image.new("L", (2, 1), 90)), "a.png").tolist() == [[90, 90]]


def test_junk_and_16_bits_are_refused() -> None:
    with pytest.raises(MaskInvalid, match="cannot be read"):
        mask_from(b"junk", "a.png")
    with pytest.raises(MaskInvalid, match="8 bits"):
        mask_from(encoded(Image.fromarray(np.full((2, 2), 40_000, np.uint16))), "a.png")
