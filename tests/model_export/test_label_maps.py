"""Label maps: indices of a palette and values of grey are labels; others are refused with the remedy."""

import io

import numpy as np
import pytest
from PIL import Image

from model_export.datasets import resize_to_square
from model_export.label_maps import labels_from, resize_labels
from model_export.masks import MaskInvalid
from model_export.samples import FOREGROUND_THRESHOLD
from tests.pictures import disc_alpha

LABELS = np.array([[0, 1, 2], [2, 255, 1]], np.uint8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def palette(labels: np.ndarray, colours: bytes) -> Image.Image:
    image = Image.fromarray(labels).convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette(colours)
    return image


GREYS = bytes(np.repeat(np.arange(256, dtype=np.uint8)[::-1], 3))
COLOURS = np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    "image",
    [Image.fromarray(LABELS), palette(LABELS, COLOURS), palette(LABELS, GREYS)],
    ids=["grey", "palette", "palette of greys"],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_label_of_a_pixel_is_its_value_or_its_index(image: Image.Image, kind: str) -> None:
    assert labels_from(encoded(image, kind), "a.png", count=3).tolist() == LABELS.tolist()


def test_a_map_of_one_bit_has_two_classes() -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")

    assert labels_from(encoded(image), "a.png", count=2).tolist() == [[0, 1]]


def test_a_turned_map_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored picture must be turned by 90° clockwise
    file = io.BytesIO()
    Image.fromarray(LABELS).save(file, "PNG", exif=exif)

    assert labels_from(file.getvalue(), "a.png", count=3).tolist() == np.rot90(LABELS, -1).tolist()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (encoded(Image.fromarray(LABELS), "JPEG"), "a.png cannot be read as PNG.*Store label maps as PNG"),
        (b"junk", "a.png cannot be read"),
        (encoded(Image.fromarray(LABELS).convert("RGB")), "a.png is of mode RGB; a label map is grey or has"),
        (encoded(Image.fromarray(LABELS.astype(np.uint16))), "a.png is of mode I;16"),
        (
            encoded(Image.fromarray(LABELS + np.uint8(1))),
            r"a\.png has the label 3; the recipe has 3 classes, with the labels 0 to 2 .* Name all classes",
        ),
    ],
)
def test_a_file_that_is_not_a_label_map_is_refused_with_the_remedy(file: bytes, words: str) -> None:
    with pytest.raises(MaskInvalid, match=words):
        labels_from(file, "a.png", count=3)


def test_a_smaller_map_has_the_most_frequent_label_of_each_area() -> None:
    """In blocks of 3 × 5 pixels, by a count of each label; the lowest label wins a tie."""
    labels = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), (21, 35))
    found = resize_labels(labels, 7)
    for row, column in np.ndindex(7, 7):
        block = labels[3 * row : 3 * row + 3, 5 * column : 5 * column + 5]
        counts = [int((block == label).sum()) for label in (0, 1, 2, 255)]
        assert found[row, column] == (0, 1, 2, 255)[counts.index(max(counts))]


def test_two_classes_are_resized_like_a_mask() -> None:
    mask = ((disc_alpha(50, 70) >= 0.5) * 255).astype(np.uint8)
    for size_px in (32, 96):
        expected = resize_to_square(mask, size_px) >= FOREGROUND_THRESHOLD

        assert np.array_equal(resize_labels(mask // 255, size_px) == 1, expected)
