"""Coded: computes how many pixels a decoder allocates for an AVIF or HEIC, from its coded pictures.

A file declares a size, but its decoder allocates by the coded pictures: the tiles of a grid, the frames in an
item. This module inspects each of them before anything is decoded, and refuses files that contradict
themselves.

Rule 1: a coded picture is not larger than its item declares. HEVC codes whole blocks, so its frame may exceed
    the declared size by less than a block.
Rule 2: the tiles of a grid have one size and the declared number, and none lies wholly outside the grid. A
    grid of grids is refused.
Rule 3: libavif and libheif decode all tiles of a grid before they release the first, so the size of a grid is
    the sum of its tiles.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.errors import CorruptPicture
from app.imaging.formats import av1, hevc
from app.imaging.formats.containers import Segment
from app.imaging.formats.isobmff import Boxes, Item, coded_data, declared_size, read_boxes

_CODED = frozenset({b"av01", b"hvc1", b"hev1"})
_BLOCK_PX = 64  # HEVC's maximum
_ALPHA = frozenset(
    {
        b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
        b"urn:mpeg:hevc:2015:auxid:1",
        b"urn:mpeg:avc:2015:auxid:1",
    }
)
_CONTRADICTION = "The picture file's tiles do not fit the picture that it declares."
_BROKEN = "The picture file's data is broken or cut off."
_LARGER = "The picture file holds larger pictures than it declares."
_RARE = "The picture file is put together in a rare way. Save it anew."

Size = tuple[int, int]
"""(width, height) in pixels."""


@dataclass(frozen=True, slots=True)
class CodedSize:
    """The declared size of a file's main picture, and the maximum number of pixels that decoding it makes."""

    width_px: int
    height_px: int
    coded_px: int


def measure(upload: bytes) -> CodedSize:
    """Measure the main picture of a file.

    Raises:
        CorruptPicture: The file contradicts itself, or is broken or cut off.
        PictureTooComplex: The file has more boxes or items than any camera's.
    """
    boxes = read_boxes(upload)
    frames = _FrameSizes(upload)
    width, height = declared_size(upload, boxes.items[boxes.main])
    coded_px = max(_coded_px(number, boxes, frames) for number in _decoded_items(upload, boxes))
    for item in boxes.items.values():
        if item.kind == b"av01":
            frames.size(item)
    return CodedSize(width, height, coded_px)


class _FrameSizes:
    """The sizes of coded pictures; bytes or properties that items share are read once."""

    def __init__(self, upload: bytes) -> None:
        self.upload = upload
        self._cache: dict[object, list[Size]] = {}

    def size(self, item: Item) -> Size:
        """Return the size of an item's largest frame.

        Raises:
            CorruptPicture: The frame is larger than the item declares, or the item has none.
        """
        if item.kind == b"av01":
            sizes = self._read((item.kind, item.extents), lambda: [av1.largest_frame(self._data(item))])
        else:
            sizes = self._read((item.kind, item.extents), lambda: hevc.sizes_in_data(self._data(item)))
            for box in item.properties:
                if box.name == b"hvcC":
                    sizes = sizes + self._read(box, partial(self._sizes_in_configuration, box))
        if not sizes:
            raise CorruptPicture(_BROKEN)
        frame = max(width for width, _ in sizes), max(height for _, height in sizes)
        padding = 0 if item.kind == b"av01" else _BLOCK_PX - 1
        declared = _declared_size_if_any(self.upload, item)
        if declared and (frame[0] > declared[0] + padding or frame[1] > declared[1] + padding):
            raise CorruptPicture(_LARGER)
        return frame

    def _read(self, key: object, read: Callable[[], list[Size]]) -> list[Size]:
        if key not in self._cache:
            self._cache[key] = read()
        return self._cache[key]

    def _data(self, item: Item) -> bytes:
        return coded_data(self.upload, item)

    def _sizes_in_configuration(self, box: Segment) -> list[Size]:
        return hevc.sizes_in_configuration(self.upload[box.start : box.end])


def _declared_size_if_any(upload: bytes, item: Item) -> Size | None:
    has_size = any(box.name == b"ispe" for box in item.properties)
    return declared_size(upload, item) if has_size else None


def _decoded_items(upload: bytes, boxes: Boxes) -> list[int]:
    """Return the numbers of the items that are decoded: the main picture, and its alpha or its tiles'."""
    tiles = {boxes.main, *boxes.references.get((b"dimg", boxes.main), ())}
    alphas = [
        number
        for (kind, number), referred in boxes.references.items()
        if kind == b"auxl" and number in boxes.items and tiles.intersection(referred)
        and _is_alpha(upload, boxes.items[number])
    ]  # fmt: skip
    return [boxes.main, *alphas]


def _is_alpha(upload: bytes, item: Item) -> bool:
    return any(
        upload[box.start + 4 : box.end].split(b"\x00", 1)[0] in _ALPHA
        for box in item.properties
        if box.name == b"auxC"
    )


def _coded_px(number: int, boxes: Boxes, frames: _FrameSizes) -> int:
    """Return the pixels of a coded picture, or of all tiles of a grid together."""
    item = boxes.items[number]
    tile_numbers = boxes.references.get((b"dimg", number), ())
    if item.kind in _CODED:
        return _area(frames.size(item))
    if item.kind == b"iden" and len(tile_numbers) == 1:
        tiles = _coded_items(tile_numbers, boxes)
    elif item.kind == b"grid":
        tiles = _coded_items(tile_numbers, boxes)
        _check_grid(frames.upload, item, tiles)
    else:
        raise CorruptPicture(_RARE)
    return sum(_area(frames.size(tile)) for tile in tiles)


def _coded_items(numbers: tuple[int, ...], boxes: Boxes) -> list[Item]:
    tiles = [boxes.items[number] for number in numbers if number in boxes.items]
    if len(tiles) != len(numbers) or any(tile.kind not in _CODED for tile in tiles):
        raise CorruptPicture(_CONTRADICTION)
    return tiles


def _check_grid(upload: bytes, item: Item, tiles: list[Item]) -> None:
    """Refuse a grid (ISO 23008-12, 6.6.2.3) whose declared numbers and tiles contradict each other."""
    layout = coded_data(upload, item)
    if len(layout) < 4 or len(layout) < (12 if layout[1] & 1 else 8):
        raise CorruptPicture(_CONTRADICTION)
    rows, columns = layout[2] + 1, layout[3] + 1
    width, height = struct.unpack_from(">II" if layout[1] & 1 else ">HH", layout, 4)
    sizes = {declared_size(upload, tile) for tile in tiles}
    if len(tiles) != rows * columns or len(sizes) != 1 or (width, height) != declared_size(upload, item):
        raise CorruptPicture(_CONTRADICTION)
    ((tile_width, tile_height),) = sizes
    fits_across = tile_width * (columns - 1) < width <= tile_width * columns
    fits_down = tile_height * (rows - 1) < height <= tile_height * rows
    if not (fits_across and fits_down):
        raise CorruptPicture(_CONTRADICTION)


def _area(size: Size) -> int:
    return size[0] * size[1]
