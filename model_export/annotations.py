"""Annotations: JSON files of COCO and labelme become regions, drawn from polygons, run lengths and boxes.

A pixel belongs to a polygon if its centre is inside, by the even-odd rule. The later region covers the
earlier one: those of labelme have the order of the file, as its window draws them. COCO's have no order, so
smaller ones cover larger ones, and crowds cover nothing. A picture without regions has no subject.

References:
    Lin et al., "Microsoft COCO", 2014, arXiv:1405.0312; the run lengths are those of its ``mask`` API.
    Wada, labelme: the JSON that its window saves next to a picture.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.errors import CommandFailed

Canvas = NDArray[np.uint8]
Fields = Mapping[str, Any]  # Any: parsed JSON, checked where it is read
Draw = Callable[[Canvas, int], None]
"""Writes a value into the pixels of one region."""
CIRCLE_POINTS = 180


class AnnotationsInvalid(CommandFailed):
    """A file of annotations cannot be read; the message names it and the reason."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture: how it is drawn, the name of its category or label, and whether it is a crowd.

    A crowd is an area whose objects are not outlined one by one (COCO's ``iscrowd``).
    """

    draw: Draw
    name: str
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class Annotation:
    """The regions of one picture in the order of drawing, and the size that the file gives for it."""

    picture: Path
    height: int
    width: int
    regions: tuple[Region, ...]

    def mask(self) -> Canvas:
        """Return all regions, whatever their names, as one mask, (H, W) uint8 of 0 and 255."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        for region in self.regions:
            region.draw(canvas, 255)
        return canvas


def read_coco(path: Path) -> tuple[Annotation, ...] | None:
    """Read a COCO file; None if the file is JSON of another kind.

    Raises:
        AnnotationsInvalid: The file is not JSON, or one of its entries is incomplete.
    """
    fields = _read_json(path)
    if not isinstance(fields, dict) or not {"images", "annotations"} <= fields.keys():
        return None
    try:
        names = {each["id"]: str(each["name"]) for each in fields.get("categories", ()) if "name" in each}
        regions: dict[Any, list[tuple[float, Region]]] = {each["id"]: [] for each in fields["images"]}
        sizes = {each["id"]: (each.get("height"), each.get("width")) for each in fields["images"]}
        for each in fields["annotations"]:
            area, draw = _coco_segmentation(each["segmentation"], sizes[each["image_id"]], path)
            category = each.get("category_id")
            name = names.get(category, f"category {category}")
            regions[each["image_id"]].append((area, Region(draw, name, bool(each.get("iscrowd")))))
        return tuple(
            Annotation(
                _first_existing(path, each["file_name"]),
                int(each["height"]),
                int(each["width"]),
                _crowds_then_largest_first(regions[each["id"]]),
            )
            for each in fields["images"]
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise AnnotationsInvalid(f"{path} is not valid COCO: {error!r} is missing or wrong.") from error


def read_labelme(path: Path) -> Annotation | None:
    """Read a file of labelme; None if the file is JSON of another kind.

    Raises:
        AnnotationsInvalid: The file is not JSON, or has a shape that encloses no pixels, such as a line.
    """
    fields = _read_json(path)
    if not isinstance(fields, dict) or not {"shapes", "imagePath"} <= fields.keys():
        return None
    try:
        regions = tuple(
            Region(_labelme_shape(shape, path), str(shape.get("label", ""))) for shape in fields["shapes"]
        )
        picture = path.parent / Path(str(fields["imagePath"]).replace("\\", "/"))
        return Annotation(picture, int(fields["imageHeight"]), int(fields["imageWidth"]), regions)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        raise AnnotationsInvalid(f"{path} is not valid labelme: {error!r} is missing or wrong.") from error


def fill_polygon(canvas: Canvas, value: int, polygon: NDArray[np.float64]) -> None:
    """Write ``value`` into the pixels whose centres are inside a polygon.

    Args:
        canvas: (H, W).
        value: The value.
        polygon: (N, 2), x and y of the corners; (0, 0) is the outer corner of the first pixel.
    """
    if not len(polygon):
        return
    # Only the pixels around the polygon, since most polygons are small.
    ends = np.ceil(np.stack((polygon.min(axis=0), polygon.max(axis=0))) - 0.5)
    (left, top), (right, bottom) = np.clip(ends, 0, canvas.shape[::-1]).astype(np.int64)
    crossings = np.zeros((bottom - top, right - left + 1), np.int32)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        first, last = (int(np.clip(np.ceil(y - 0.5), top, bottom)) for y in sorted((y0, y1)))
        rows = np.arange(first, last)
        if len(rows):
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64)
            np.add.at(crossings, (rows - top, columns - left), 1)
    canvas[top:bottom, left:right][np.cumsum(crossings, axis=1)[:, :-1] % 2 == 1] = value


def decode_run_lengths(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed form: base 32, signed, differences from the fourth on."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        digit = ord(character) - 48
        value |= (digit & 0x1F) << shift
        shift += 5
        if digit & 0x20:
            continue
        if digit & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    return counts


def _read_json(path: Path) -> Any:  # Any: parsed JSON
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # tools on Windows write a byte order mark
    except (ValueError, OSError, RecursionError) as error:
        raise AnnotationsInvalid(f"{path} cannot be read as JSON: {error}") from error


def _first_existing(annotations: Path, name: str) -> Path:
    """Return the path of a COCO picture: next to the file, in ``images/`` or next to the file's folder."""
    folder = annotations.parent
    places = [folder / name, folder / "images" / name, folder.parent / "images" / name, folder.parent / name]
    return next((place for place in places if place.is_file()), places[0])


def _crowds_then_largest_first(regions: Sequence[tuple[float, Region]]) -> tuple[Region, ...]:
    ordered = sorted(regions, key=lambda each: (not each[1].is_crowd, -each[0]))
    return tuple(region for _, region in ordered)


def _coco_segmentation(
    segmentation: Any,  # Any: parsed JSON
    size: tuple[int | None, int | None],
    path: Path,
) -> tuple[float, Draw]:
    """Return the area in pixels, which need not be that of the file, and how the region is drawn."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        runs = decode_run_lengths(counts) if isinstance(counts, str) else [int(count) for count in counts]
        height, width = segmentation["size"]
        if sum(runs) != height * width or min(runs) < 0:
            raise AnnotationsInvalid(f"{path}: run lengths do not fill {width} × {height} px.")
        if (height, width) != size:
            raise AnnotationsInvalid(
                f"{path}: run lengths are for {width} × {height} px, their picture has {size[1]} × {size[0]}."
            )
        return sum(runs[1::2]), partial(_fill_runs, runs=np.array(runs))
    polygons = [_corners(each).reshape(-1, 2) for each in segmentation]
    if not any(map(len, polygons)):
        raise AnnotationsInvalid(
            f"{path}: an annotation has no outline, so no mask can be drawn from it. Outline it, or remove "
            "it if it is no subject."
        )
    return sum(map(_area, polygons)), partial(_fill_polygons, polygons=polygons)


def _corners(points: Any) -> NDArray[np.float64]:  # Any: parsed JSON
    corners = np.array(points, float)
    if not np.isfinite(corners).all():
        raise ValueError("a corner that is no number")
    return corners


def _area(polygon: NDArray[np.float64]) -> float:
    """Return the area inside the corners (N, 2), by the shoelace formula."""
    (x, y), (next_x, next_y) = polygon.T, np.roll(polygon, -1, axis=0).T
    return float(abs((x * next_y - y * next_x).sum()) / 2)


def _fill_polygons(canvas: Canvas, value: int, polygons: Sequence[NDArray[np.float64]]) -> None:
    for polygon in polygons:
        fill_polygon(canvas, value, polygon)


def _fill_runs(canvas: Canvas, value: int, runs: NDArray[np.int64]) -> None:
    """Write into the runs of odd index; runs go down the columns, from left to right."""
    marked = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    height, width = canvas.shape
    canvas[marked.reshape(width, height).T] = value


def _fill_bitmap(canvas: Canvas, value: int, bitmap: NDArray[np.bool_], top: int, left: int) -> None:
    bitmap = bitmap[max(-top, 0) :, max(-left, 0) :]  # what lies outside the picture
    top, left = max(top, 0), max(left, 0)
    window = canvas[top : top + bitmap.shape[0], left : left + bitmap.shape[1]]
    window[bitmap[: window.shape[0], : window.shape[1]]] = value


def _labelme_shape(shape: Fields, path: Path) -> Draw:
    points = _corners(shape["points"])
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of the shape {points.shape}")
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):
        return partial(fill_polygon, polygon=points)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points
        return partial(fill_polygon, polygon=np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
    if kind == "circle":
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
        return partial(fill_polygon, polygon=points[0] + np.hypot(*(points[1] - points[0])) * circle)
    if kind == "mask":
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=("PNG",)) as stored:
            bitmap = np.asarray(stored.convert("L")) > 0
        return partial(_fill_bitmap, bitmap=bitmap, top=int(points[0][1]), left=int(points[0][0]))
    raise AnnotationsInvalid(
        f"{path}: a {kind} encloses no pixels; draw a polygon, rectangle, circle or mask instead."
    )
