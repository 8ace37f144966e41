"""Label maps: indices, greys and the names of annotations are labels; others are refused with the remedy."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from model_export.annotations import Annotation, read_coco, read_labelme
from model_export.datasets import resize_to_square
from model_export.label_maps import VOID, labels_from, labels_of, require_known, resize_labels
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


CLASSES = ("background", "cup", "shoe")
Box = tuple[str, int, int, int, int]
"""A name, and the first and last column and row: x0, y0, x1, y1."""


def boxes(count: int, seed: int) -> list[Box]:
    """Return boxes of different areas that overlap each other, in an order without meaning."""
    rng = np.random.default_rng(seed)
    found: dict[int, Box] = {}
    while len(found) < count:
        (x0, x1), (y0, y1) = (sorted(map(int, rng.integers(0, side, 2))) for side in (40, 30))
        found[(x1 - x0 + 1) * (y1 - y0 + 1)] = (str(rng.choice(CLASSES)), x0, y0, x1, y1)
    return list(found.values())


def drawn_by_pillow(ordered: list[Box], label_of: dict[str, int]) -> list[list[int]]:
    canvas = Image.new("L", (40, 30))
    for name, *corners in ordered:
        ImageDraw.Draw(canvas).rectangle(corners, fill=label_of[name])
    return np.asarray(canvas).tolist()


def area(box: Box) -> int:
    _, x0, y0, x1, y1 = box
    return (x1 - x0 + 1) * (y1 - y0 + 1)


def corners_of(box: Box) -> list[list[int]]:
    """Return the corners of the pixels' outer edges."""
    _, x0, y0, x1, y1 = box
    return [[x0, y0], [x1 + 1, y0], [x1 + 1, y1 + 1], [x0, y1 + 1]]


def run_lengths(box: Box) -> dict[str, object]:
    """Return COCO's run lengths, counted pixel by pixel down the columns; the first run is outside."""
    _, x0, y0, x1, y1 = box
    counts, inside = [0], False
    for x, y in ((x, y) for x in range(40) for y in range(30)):
        if (x0 <= x <= x1 and y0 <= y <= y1) != inside:
            counts, inside = [*counts, 0], not inside
        counts[-1] += 1
    return {"size": [30, 40], "counts": counts}


def coco(folder: Path, regions: list[Box], crowds: tuple[int, ...] = ()) -> Annotation:
    """Write a COCO file of one picture, every second region as run lengths, and return its annotation."""
    annotations = [
        {
            "image_id": 1,
            "category_id": 10 + sorted({name for name, *_ in regions}).index(box[0]),
            "iscrowd": int(number in crowds),
            "area": 1,  # not read: tools disagree about it
            "segmentation": run_lengths(box) if number % 2 else [np.ravel(corners_of(box)).tolist()],
        }
        for number, box in enumerate(regions)
    ]
    categories = [
        {"id": 10 + number, "name": name} for number, name in enumerate(sorted({box[0] for box in regions}))
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 30, "width": 40}]
    fields = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(fields))
    (annotation,) = read_coco(folder / "coco.json") or ()
    return annotation


def labelme(folder: Path, regions: list[Box]) -> Annotation:
    shapes = [{"label": box[0], "points": corners_of(box), "shape_type": "polygon"} for box in regions]
    fields = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 30, "imageWidth": 40}
    (folder / "a.json").write_text(json.dumps(fields))
    annotation = read_labelme(folder / "a.json")
    assert annotation is not None
    return annotation


LABEL_OF = {"background": 0, "cup": 1, "shoe": 2}


@pytest.mark.parametrize("seed", range(4))
def test_of_cocos_regions_the_smaller_ones_cover_the_larger_ones(tmp_path: Path, seed: int) -> None:
    regions = boxes(12, seed)
    labels = labels_of(coco(tmp_path, regions), CLASSES, unknown="refuse")

    assert labels.tolist() == drawn_by_pillow(sorted(regions, key=area, reverse=True), LABEL_OF)


@pytest.mark.parametrize("seed", range(4))
def test_crowds_are_void_where_no_object_is_outlined(tmp_path: Path, seed: int) -> None:
    regions = boxes(12, seed)
    crowds = (2, 5, 9)
    objects = [box for number, box in enumerate(regions) if number not in crowds]
    ordered = [("crowd", *regions[number][1:]) for number in crowds] + sorted(objects, key=area, reverse=True)
    labels = labels_of(coco(tmp_path, regions, crowds), CLASSES, unknown="refuse")

    assert labels.tolist() == drawn_by_pillow(ordered, LABEL_OF | {"crowd": VOID})


@pytest.mark.parametrize("seed", range(4))
def test_labelmes_regions_are_drawn_in_the_order_of_the_file(tmp_path: Path, seed: int) -> None:
    regions = boxes(12, seed)
    regions[4] = ("__ignore__", *regions[4][1:])
    labels = labels_of(labelme(tmp_path, regions), CLASSES, unknown="refuse")

    assert labels.tolist() == drawn_by_pillow(regions, LABEL_OF | {"__ignore__": VOID})


def test_names_that_no_class_has_are_listed_left_out_or_void(tmp_path: Path) -> None:
    names = ("cup", "cat", "dog", "cat", "shoe")
    regions = [(name, *box[1:]) for name, box in zip(names, boxes(5, 7), strict=True)]
    annotation = coco(tmp_path, regions)
    with pytest.raises(MaskInvalid, match=r"cat \(2\), dog \(1\)\. The classes are: background, cup, shoe"):
        labels_of(annotation, CLASSES, unknown="refuse")
    ordered = sorted(regions, key=area, reverse=True)
    known = [box for box in ordered if box[0] in CLASSES]
    left_out, void = (labels_of(annotation, CLASSES, unknown=how) for how in ("background", "void"))

    assert left_out.tolist() == drawn_by_pillow(known, LABEL_OF)
    assert void.tolist() == drawn_by_pillow(ordered, LABEL_OF | {"cat": VOID, "dog": VOID})
    assert require_known([annotation], CLASSES, unknown="void") == "cat (2), dog (1)"
    assert require_known([annotation], (*CLASSES, "cat", "dog"), unknown="refuse") == ""


def test_a_category_without_a_name_is_called_by_its_number(tmp_path: Path) -> None:
    coco(tmp_path, boxes(3, 1))
    fields = json.loads((tmp_path / "coco.json").read_text())
    del fields["categories"]
    (tmp_path / "coco.json").write_text(json.dumps(fields))
    with pytest.raises(MaskInvalid, match=r"category 1\d \("):
        require_known(read_coco(tmp_path / "coco.json") or (), CLASSES, unknown="refuse")
