"""Coded: how many pixels a decoder comes to make of an AVIF or HEIC, from what its pictures hold.

A file declares a size, but its decoder allocates by the coded pictures: the tiles of a grid, the frames in an
item. Each is looked at before anything is decoded, and what contradicts itself is refused.

Rule 1: a coded picture is no larger than its item declares. HEVC codes whole blocks, so it may reach beyond
    by less than one.
Rule 2: the tiles of a grid have one size, there are as many as it says, and none lies wholly outside of it.
    A grid of grids is none.
Rule 3: libavif and libheif decode all tiles of a grid before they let go of the first, so a grid counts with
    the sum of its tiles.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.errors import CorruptPicture
from app.imaging.formats import av1, hevc
from app.imaging.formats.containers import Part
from app.imaging.formats.isobmff import Boxes, Item, coded_data, declared_size, read_boxes

_CODED = frozenset({b"av01", b"hvc1", b"hev1"})
_BLOCK_PX = 64  # the largest of HEVC
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
class Coded:
    """The declared size of a file's main picture, and the pixels that decoding it may make."""

    width_px: int
    height_px: int
    coded_px: int


def measure(upload: bytes) -> Coded:
    """Measure the main picture of a file.

    Raises:
        CorruptPicture: The file contradicts itself, or is broken or cut off.
        PictureTooComplex: It is in more parts than any camera makes.
    """
    boxes = read_boxes(upload)
    frames = _Frames(upload)
    width, height = declared_size(upload, boxes.items[boxes.main])
    coded_px = max(_coded_px(number, boxes, frames) for number in _shown(upload, boxes))
    for item in boxes.items.values():
        if item.kind == b"av01":
            frames.size(item)
    return Coded(width, height, coded_px)


class _Frames:
    """The sizes of coded pictures; what items share, their bytes or their properties, is read once."""

    def __init__(self, upload: bytes) -> None:
        self.upload = upload
        self._known: dict[object, list[Size]] = {}

    def size(self, item: Item) -> Size:
        """Return the largest frame of an item, which is no larger than it declares."""
        if item.kind == b"av01":
            sizes = self._read((item.kind, item.extents), lambda: [av1.largest_frame(self._data(item))])
        else:
            sizes = self._read((item.kind, item.extents), lambda: hevc.sizes_in_data(self._data(item)))
            for part in item.properties:
                if part.name == b"hvcC":
                    sizes = sizes + self._read(part, partial(self._configured, part))
        if not sizes:
            raise CorruptPicture(_BROKEN)
        frame = max(width for width, _ in sizes), max(height for _, height in sizes)
        beyond = 0 if item.kind == b"av01" else _BLOCK_PX - 1
        declared = _size_if_any(self.upload, item)
        if declared and (frame[0] > declared[0] + beyond or frame[1] > declared[1] + beyond):
            raise CorruptPicture(_LARGER)
        return frame

    def _read(self, key: object, read: Callable[[], list[Size]]) -> list[Size]:
        if key not in self._known:
            self._known[key] = read()
        return self._known[key]

    def _data(self, item: Item) -> bytes:
        return coded_data(self.upload, item)

    def _configured(self, part: Part) -> list[Size]:
        return hevc.sizes_in_configuration(self.upload[part.start : part.end])


def _size_if_any(upload: bytes, item: Item) -> Size | None:
    """Return the size that an item declares, ``None`` where it declares none."""
    has_size = any(part.name == b"ispe" for part in item.properties)
    return declared_size(upload, item) if has_size else None


def _shown(upload: bytes, boxes: Boxes) -> list[int]:
    """Return the numbers of what is decoded: the main picture, and the alpha of it or of its tiles."""
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
        upload[part.start + 4 : part.end].split(b"\x00", 1)[0] in _ALPHA
        for part in item.properties
        if part.name == b"auxC"
    )


def _coded_px(number: int, boxes: Boxes, frames: _Frames) -> int:
    """Return the pixels of a coded picture, or of all tiles of a grid together."""
    item = boxes.items[number]
    parts = boxes.references.get((b"dimg", number), ())
    if item.kind in _CODED:
        return _area(frames.size(item))
    if item.kind == b"iden" and len(parts) == 1:
        tiles = _coded_items(parts, boxes)
    elif item.kind == b"grid":
        tiles = _coded_items(parts, boxes)
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
    """Refuse a grid (ISO 23008-12, 6.6.2.3) whose numbers and tiles contradict each other."""
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
