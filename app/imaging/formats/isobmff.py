"""ISO base media files: reads the boxes of an AVIF or HEIC that describe its main picture, without decoding.

Both formats are ISO base media files (ISO 14496-12): boxes inside boxes. The ``meta`` box (ISO 23008-12)
lists numbered *items*, one of which is the main picture, with the properties (size, rotation, profile) and
the byte ranges of each. Every list is read once, and is limited: no camera's picture has thousands of items.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.errors import CorruptPicture, PictureTooComplex
from app.imaging.formats.containers import Segment

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
STRUCTURAL_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
"""Brands that define a file's structure, but not the coding of its pictures."""
SEQUENCE_BRANDS = frozenset({b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})

_BROKEN = "The picture file's boxes are broken or cut off."
_TOO_LONG = "The picture file's lists are longer than any camera's. Save it anew."
_FULL_BOX_BYTES = 4  # version and flags
_MAX_BOXES = 4096  # in one box; no decoder takes a picture of more than a thousand items
_MAX_LIST_BYTES = 262_144
_MAX_OVERLAP = 2  # sum of the items' byte ranges, in lengths of the file
# EXIF orientations by imir (0: top and bottom are swapped, 1: left and right), which applies after irot,
# and then by irot's number of quarter turns counterclockwise.
_ORIENTATIONS: Mapping[int | None, tuple[int, int, int, int]] = {
    None: (1, 8, 3, 6),
    0: (4, 5, 2, 7),
    1: (2, 7, 4, 5),
}


@dataclass(frozen=True, slots=True)
class Item:
    """A coded picture or metadata block of the file: its kind (``av01``, ``Exif``, …) and properties.

    ``kind_at`` is the position of the kind in the file; ``extents`` are the item's (start, end) byte ranges.
    """

    kind: bytes
    kind_at: int
    properties: tuple[Segment, ...] = ()
    extents: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Boxes:
    """The items of a file, the number of its main picture, and the references between items.

    ``references`` has the numbers that an item refers to, by kind and item: ``dimg`` from a picture to its
    tiles, ``auxl`` from an auxiliary picture, such as an alpha channel, to its picture.
    """

    items: Mapping[int, Item]
    main: int
    references: Mapping[tuple[bytes, int], tuple[int, ...]] = field(default_factory=dict)


def brands(upload: bytes) -> frozenset[bytes]:
    """Return the brands that an ISO base media file declares, none for any other file."""
    if upload[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(upload[:4], "big"), len(upload), 512)
    return frozenset({upload[8:12], *(upload[at : at + 4] for at in range(16, end - 3, 4))})


def read_boxes(upload: bytes) -> Boxes:
    """Read the items of a file from its ``meta`` box.

    Raises:
        CorruptPicture: The box is missing, broken or cut off, or has no main picture.
        PictureTooComplex: One of its lists is longer than any camera's.
    """
    try:
        meta = next(box for box in _boxes(upload, 0, len(upload)) if box.name == b"meta")
        children = {box.name: box for box in _boxes(upload, meta.start + _FULL_BOX_BYTES, meta.end)}
        primary_item = _Fields(upload, children[b"pitm"])
        main = primary_item.take(2 if primary_item.version == 0 else 4)
        items = _read_items(upload, children)
        if main not in items:
            raise CorruptPicture(_BROKEN)
        # Items may share all of their bytes, as writers do with equal tiles; they are then read once.
        distinct = {item.extents for item in items.values()}
        if sum(end - start for extents in distinct for start, end in extents) > _MAX_OVERLAP * len(upload):
            raise PictureTooComplex("The picture file's parts lie on top of each other. Save it anew.")
        references = _references(upload, children[b"iref"]) if b"iref" in children else {}
    except (StopIteration, LookupError, struct.error) as error:
        raise CorruptPicture(_BROKEN) from error
    return Boxes(items, main, references)


def main_kind(upload: bytes) -> bytes:
    """Return the kind of a file's main picture, or of its first tile.

    Raises:
        CorruptPicture, PictureTooComplex: As ``read_boxes``.
    """
    boxes = read_boxes(upload)
    tiles = [number for number in boxes.references.get((b"dimg", boxes.main), ()) if number in boxes.items]
    return boxes.items[tiles[0] if tiles else boxes.main].kind


def coded_data(upload: bytes, item: Item) -> bytes:
    """Return the bytes of an item, joined from its extents."""
    return b"".join(upload[start:end] for start, end in item.extents)


def declared_size(upload: bytes, item: Item) -> tuple[int, int]:
    """Return (width, height) of an item as stored, in pixels.

    Raises:
        CorruptPicture: The item declares no size.
    """
    for box in item.properties:
        if box.name == b"ispe" and box.end - box.start >= 12:
            return struct.unpack_from(">II", upload, box.start + _FULL_BOX_BYTES)
    raise CorruptPicture(_BROKEN)


def declared_orientation(upload: bytes, item: Item) -> int:
    """Return the EXIF orientation equivalent to an item's ``irot`` and ``imir`` properties."""
    turns, mirror = 0, None
    for box in item.properties:
        if box.end == box.start:
            continue
        if box.name == b"irot":
            turns = upload[box.start] & 3
        elif box.name == b"imir":
            mirror = upload[box.start] & 1
    return _ORIENTATIONS[mirror][turns]


def _boxes(upload: bytes, start: int, end: int) -> Iterator[Segment]:
    """Yield the boxes between two positions; the name is the box's type."""
    for _ in range(_MAX_BOXES):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", upload, start)
        content = start + 8
        if size == 1:
            (size,), content = struct.unpack_from(">Q", upload, content), content + 8
        stop = end if size == 0 else start + size
        if not content <= stop <= end:
            raise CorruptPicture(_BROKEN)
        yield Segment(name, content, stop)
        start = stop
    raise PictureTooComplex(_TOO_LONG)


def _read_items(upload: bytes, children: Mapping[bytes, Segment]) -> dict[int, Item]:
    properties, extents = _associations(upload, children[b"iprp"]), _locations(upload, children)
    items = {}
    item_list = children[b"iinf"]
    first = item_list.start + _FULL_BOX_BYTES + (2 if upload[item_list.start] == 0 else 4)
    for entry in _boxes(upload, first, item_list.end):
        fields = _Fields(upload, entry)
        if entry.name == b"infe" and fields.version in (2, 3):
            number_bytes = 2 if fields.version == 2 else 4
            number = fields.take(number_bytes)
            kind_at = entry.start + _FULL_BOX_BYTES + number_bytes + 2  # after its protection scheme
            kind = upload[kind_at : kind_at + 4]
            items[number] = Item(kind, kind_at, properties.get(number, ()), extents.get(number, ()))
    return items


def _associations(upload: bytes, iprp: Segment) -> dict[int, tuple[Segment, ...]]:
    """Read the properties of each item."""
    children = list(_boxes(upload, iprp.start, iprp.end))
    container = next(box for box in children if box.name == b"ipco")
    properties = list(_boxes(upload, container.start, container.end))
    associations: dict[int, tuple[Segment, ...]] = {}
    for box in [box for box in children if box.name == b"ipma"][:4]:  # one for each version and index width
        fields = _Fields(upload, box)
        number_bytes, index_bytes = 2 if fields.version == 0 else 4, 2 if fields.flags & 1 else 1
        mask = (1 << (8 * index_bytes - 1)) - 1  # the top bit marks an essential property
        for _ in range(fields.take(4)):
            number = fields.take(number_bytes)
            indices = [fields.take(index_bytes) & mask for _ in range(fields.take(1))]
            associations[number] = tuple(
                properties[index - 1] for index in indices if 0 < index <= len(properties)
            )
    return associations


def _locations(upload: bytes, children: Mapping[bytes, Segment]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Read the byte ranges of each item, as (start, end) in the file."""
    fields = _Fields(upload, children[b"iloc"])
    sizes = fields.take(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if fields.version else 0
    number_bytes = 2 if fields.version < 2 else 4
    locations = {}
    for _ in range(fields.take(number_bytes)):
        number = fields.take(number_bytes)
        is_in_idat = fields.version > 0 and fields.take(2) & 15 == 1
        fields.take(2)  # data_reference_index: always this file
        base = fields.take(base_bytes) + (children[b"idat"].start if is_in_idat else 0)
        extents = []
        for _ in range(fields.take(2)):
            fields.take(index_bytes)
            start, length = base + fields.take(offset_bytes), fields.take(length_bytes)
            extents.append((start, min(start + length, len(upload)) if length else len(upload)))
        locations[number] = tuple(extents)
    return locations


def _references(upload: bytes, iref: Segment) -> dict[tuple[bytes, int], tuple[int, ...]]:
    """Read the references between items, by kind and referring item."""
    number_bytes = 2 if _Fields(upload, iref).version == 0 else 4
    references: dict[tuple[bytes, int], list[int]] = {}
    for box in _boxes(upload, iref.start + _FULL_BOX_BYTES, iref.end):
        fields = _Fields(upload, box, start=0)
        referred = references.setdefault((box.name, fields.take(number_bytes)), [])
        referred.extend(fields.take(number_bytes) for _ in range(fields.take(2)))
    return {key: tuple(referred) for key, referred in references.items()}


class _Fields:
    """Reads the numbers in a box one after the other, never more than the box has bytes.

    ``start`` is the offset of the first number; in a full box it follows the version and flags.
    """

    def __init__(self, upload: bytes, box: Segment, *, start: int = _FULL_BOX_BYTES) -> None:
        if box.end - box.start > _MAX_LIST_BYTES:
            raise PictureTooComplex(_TOO_LONG)
        self._content = upload[box.start : box.end]
        self._at = start
        self._empty_reads_left = _MAX_LIST_BYTES
        self.version = self._content[0]
        self.flags = self._content[3]

    def take(self, size: int) -> int:
        """Read a big-endian number of ``size`` bytes; 0 if ``size`` is 0.

        Raises:
            CorruptPicture: The box ends before, or too many numbers have no bytes.
        """
        end = self._at + size
        self._empty_reads_left -= not size
        if end > len(self._content) or self._empty_reads_left < 0:
            raise CorruptPicture(_BROKEN)
        number = int.from_bytes(self._content[self._at : end], "big")
        self._at = end
        return number
