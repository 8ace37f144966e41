"""Annotations: COCO's and labelme's files give the masks that their own tools draw."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_export.annotations import (
    AnnotationsInvalid,
    decode_run_lengths,
    fill_polygon,
    read_coco,
    read_labelme,
)
from model_export.samples import SamplesInvalid, find_samples
from tests.pictures import photo

ROWS, COLUMNS = np.mgrid[0:37, 0:53]
# Written by pycocotools 2.0 for this mask.
DISC_AND_STRIPES = (np.hypot(ROWS - 18, COLUMNS - 20) < 12.3) | (
    (ROWS > 25) & (COLUMNS > 38) & (ROWS % 3 > 0)
)
ENCODED = (
    "h95m06K4M2N2N2O0O2O000O2O00000001N10001N101N2N2N3L5J[7LiG10000j0OVO10000j0OVO10000j0OVO10000j0OVO10000j0OV"
    "O10000j0OVO10000j0OVO10000j0OVO10000j0OVO10000j0OVO10000j0OVO10000j0OVO10000j0OVO100000"
)


def is_inside(x: float, y: float, polygon: list[tuple[float, float]]) -> bool:
    """The textbook test of a point against each edge."""
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            inside = not inside
    return inside


def write(path: Path, fields: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))
    return path


def coco(folder: Path, name: str = "annotations/instances.json") -> Path:
    """Write three pictures: a box, run lengths, and nothing."""
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(photo(37, 53, number)).save(folder / "images" / f"{number}.png")
    box = {"image_id": 7, "category_id": 2, "segmentation": [[5, 5, 15, 5, 15, 12, 5, 12]]}
    runs = {"image_id": 8, "category_id": 1, "segmentation": {"size": [37, 53], "counts": ENCODED}}
    sizes = {"height": 37, "width": 53}
    images = [{"id": 7 + number, "file_name": f"{number}.png", **sizes} for number in range(3)]
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "shoe"}]
    fields = {"images": images, "annotations": [box, runs], "categories": categories}
    return write(folder / name, fields)


def labelme(folder: Path, kind: str, points: list[list[float]], **more: object) -> Path:
    Image.fromarray(photo(37, 53)).save(folder / "a.png")
    shape = {"label": "shoe", "points": points, "shape_type": kind, **more}
    fields = {"shapes": [shape], "imagePath": "a.png", "imageHeight": 37, "imageWidth": 53}
    return write(folder / "a.json", fields)


@pytest.mark.parametrize(
    "polygon",
    [
        [(5, 5), (15, 5), (15, 12), (5, 12)],
        [(3.2, 4.1), (30.7, 2.5), (48.1, 20.3), (25.0, 33.9), (7.5, 28.2)],
        [(-9.0, 10.0), (60.0, 12.0), (20.0, 50.0)],
        [(5, 5), (40, 30), (40, 5), (5, 30)],
    ],
)
def test_a_polygon_covers_the_pixels_whose_centres_are_inside(polygon: list[tuple[float, float]]) -> None:
    canvas = np.zeros((37, 53), np.uint8)
    fill_polygon(canvas, 9, np.array(polygon, float))
    expected = [[is_inside(x + 0.5, y + 0.5, polygon) for x in range(53)] for y in range(37)]

    assert np.array_equal(canvas == 9, expected)


def test_compressed_run_lengths_are_those_of_cocos_own_library() -> None:
    runs = decode_run_lengths(ENCODED)
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(53, 37)

    assert np.array_equal(columns.T, DISC_AND_STRIPES)


def test_a_coco_file_gives_masks_and_negatives(tmp_path: Path) -> None:
    coco(tmp_path)
    samples = find_samples(tmp_path).samples
    boxed, encoded, empty = (sample.read_truth() for sample in samples)

    assert [sample.name for sample in samples] == ["0", "1", "2"]
    assert (boxed > 0).sum() == 70
    assert (boxed[5:12, 5:15] == 255).all()
    assert np.array_equal(encoded > 0, DISC_AND_STRIPES)
    assert not empty.any()


def test_of_several_coco_files_one_must_be_named(tmp_path: Path) -> None:
    coco(tmp_path)
    other = write(tmp_path / "annotations" / "val.json", {"images": [], "annotations": []})
    with pytest.raises(SamplesInvalid, match=r"several files like COCO's: instances\.json, val\.json"):
        find_samples(tmp_path)

    assert len(find_samples(other.with_name("instances.json")).samples) == 3


def test_a_missing_picture_and_wrong_run_lengths_are_named(tmp_path: Path) -> None:
    path = coco(tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(SamplesInvalid, match=r"1 annotated pictures are missing: 1\.png"):
        find_samples(tmp_path)
    fields = json.loads(path.read_text())
    fields["annotations"][1]["segmentation"]["counts"] = [5, 5]
    write(path, fields)
    with pytest.raises(AnnotationsInvalid, match="run lengths do not fill 53 × 37"):
        read_coco(path)
    write(path, {"images": [{"id": 1}], "annotations": []})
    with pytest.raises(AnnotationsInvalid, match="file_name"):
        read_coco(path)


def test_labelme_shapes_are_drawn(tmp_path: Path) -> None:
    def area(kind: str, points: list[list[float]], **more: object) -> int:
        path = labelme(tmp_path, kind, points, **more)
        (sample,) = find_samples(tmp_path).samples
        assert sample.truth == path
        return int((sample.read_truth() > 0).sum())

    bitmap = io.BytesIO()
    Image.fromarray(np.array([[True, False], [True, True]])).save(bitmap, "PNG")
    encoded = base64.b64encode(bitmap.getvalue()).decode()

    assert area("polygon", [[5, 5], [15, 5], [15, 12], [5, 12]]) == 70
    assert area("rectangle", [[15, 12], [5, 5]]) == 70
    assert area("rectangle", [[5, 5], [15, 5], [15, 12], [5, 12]]) == 70
    assert area("circle", [[20, 18], [30, 18]]) == pytest.approx(np.pi * 100, rel=0.02)
    assert area("mask", [[3, 4], [4, 5]], mask=encoded) == 3


def test_a_labelme_line_is_refused_and_other_json_is_not_labelme(tmp_path: Path) -> None:
    with pytest.raises(AnnotationsInvalid, match="a linestrip encloses no pixels; draw a polygon"):
        read_labelme(labelme(tmp_path, "linestrip", [[1, 1], [5, 5]]))

    assert read_labelme(write(tmp_path / "b.json", {"version": 1})) is None
    assert read_coco(tmp_path / "b.json") is None


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([], "no outline"),
        ([[]], "no outline"),
        (None, "not valid COCO"),
        ([[5, 5, 15, 5, float("nan"), 12]], "a corner that is no number"),
        (
            {"size": [53, 37], "counts": [53 * 37]},
            "for 37 × 53 px, their picture has 53 × 37",
        ),
        ({"size": [37, 53], "counts": []}, "run lengths do not fill"),
    ],
)
def test_a_coco_region_that_cannot_be_drawn_is_refused(
    segmentation: object, words: str, tmp_path: Path
) -> None:
    path = coco(tmp_path)
    fields = json.loads(path.read_text())
    fields["annotations"][0]["segmentation"] = segmentation
    write(path, fields)

    with pytest.raises(AnnotationsInvalid, match=words):
        read_coco(path)


@pytest.mark.parametrize("kind", ["polygon", "rectangle", "circle", "mask"])
@pytest.mark.parametrize("points", [[], [[1]], [[1, 2, 3]], [[float("inf"), 1], [2, 3]]])
def test_a_labelme_shape_without_its_points_is_refused(
    kind: str, points: list[list[float]], tmp_path: Path
) -> None:
    with pytest.raises(AnnotationsInvalid, match="not valid labelme"):
        read_labelme(labelme(tmp_path, kind, points, mask=""))


def test_a_labelme_circle_of_one_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationsInvalid, match="not valid labelme"):
        read_labelme(labelme(tmp_path, "circle", [[20, 18]]))


def test_a_labelme_mask_beyond_the_edge_keeps_what_is_inside(tmp_path: Path) -> None:
    bitmap = io.BytesIO()
    Image.fromarray(np.array([[True, True], [True, False], [True, True]])).save(bitmap, "PNG")
    encoded = base64.b64encode(bitmap.getvalue()).decode()
    annotation = read_labelme(labelme(tmp_path, "mask", [[-1, -1], [0, 1]], mask=encoded))

    assert annotation is not None
    assert np.argwhere(annotation.mask()).tolist() == [[1, 0]]


def test_a_byte_order_mark_before_the_json_is_skipped(tmp_path: Path) -> None:
    path = coco(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    annotations = read_coco(path)

    assert annotations is not None
    assert len(annotations) == 3


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(AnnotationsInvalid, match="cannot be read as JSON"):
        read_coco(tmp_path / "deep.json")
