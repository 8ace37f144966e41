"""Boxes: what an AVIF or HEIC file says of its main picture, read from its boxes and never decoded.

Both are ISO base media files (ISO 14496-12): boxes inside boxes. The ``meta`` box (ISO 23008-12) names the
main picture among numbered *items*, gives each item its properties (size, turn, profile) and says where
its bytes lie. Every list is walked once, and is short: nobody's picture has thousands of items.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.errors import CorruptPicture, PictureTooComplex
from app.imaging.formats.containers import Part

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
STRUCTURAL_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})
"""What says how a file is put together, and not how its pictures are coded."""
SEQUENCE_BRANDS = frozenset({b"avis", b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"})

_BROKEN = "The picture file's boxes are broken or cut off."
_TOO_LONG = "The picture file's lists are longer than any camera's. Save it anew."
_FULL_BOX_BYTES = 4  # version and flags
_MAX_BOXES = 4096  # in one box; no decoder takes a picture of more than a thousand items
_MAX_LIST_BYTES = 262_144
_MAX_OVERLAP = 2  # parts of a file that are read, in lengths of the file
# EXIF orientations by imir (0: top and bottom change places, 1: left and right), which comes after irot,
# and then by irot's quarter turns to the left.
_ORIENTATIONS: Mapping[int | None, tuple[int, int, int, int]] = {
    None: (1, 8, 3, 6),
    0: (4, 5, 2, 7),
    1: (2, 7, 4, 5),
}


@dataclass(frozen=True, slots=True)
class Item:
    """One coded picture or piece of metadata of the file: its kind (``av01``, ``Exif``, …) and properties.

    ``kind_at`` is where the kind stands in the file; ``extents`` is where the item's bytes lie.
    """

    kind: bytes
    kind_at: int
    properties: tuple[Part, ...] = ()
    extents: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Boxes:
    """The items of a file, which of them is the picture to show, and what refers to what.

    ``references`` has the numbers that each item refers to, by kind: ``dimg`` from a picture to its parts,
    ``auxl`` from what belongs to a picture, such as its alpha.
    """

    items: Mapping[int, Item]
    main: int
    references: Mapping[tuple[bytes, int], tuple[int, ...]] = field(default_factory=dict)


def brands(upload: bytes) -> frozenset[bytes]:
    """Return the brands that an ISO base media file claims, none for any other file."""
    if upload[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(upload[:4], "big"), len(upload), 512)
    return frozenset({upload[8:12], *(upload[at : at + 4] for at in range(16, end - 3, 4))})


def read_boxes(upload: bytes) -> Boxes:
    """Read the items of a file from its ``meta`` box.

    Raises:
        CorruptPicture: The box is missing, broken or cut off, or names no main picture.
        PictureTooComplex: One of its lists is longer than any camera's.
    """
    try:
        meta = next(box for box in _boxes(upload, 0, len(upload)) if box.name == b"meta")
        parts = {box.name: box for box in _boxes(upload, meta.start + _FULL_BOX_BYTES, meta.end)}
        chosen = _Fields(upload, parts[b"pitm"])
        main = chosen.take(2 if chosen.version == 0 else 4)
        items = _read_items(upload, parts)
        if main not in items:
            raise CorruptPicture(_BROKEN)
        # Items may share all of their bytes, as writers do it with equal tiles, and are then read once.
        places = {item.extents for item in items.values()}
        if sum(end - start for place in places for start, end in place) > _MAX_OVERLAP * len(upload):
            raise PictureTooComplex("The picture file's parts lie on top of each other. Save it anew.")
        references = _references(upload, parts[b"iref"]) if b"iref" in parts else {}
    except (StopIteration, LookupError, struct.error) as error:
        raise CorruptPicture(_BROKEN) from error
    return Boxes(items, main, references)


def main_kind(upload: bytes) -> bytes:
    """Return the kind of a file's main picture, or of the first part that it is put together from.

    Raises:
        CorruptPicture, PictureTooComplex: As ``read_boxes``.
    """
    boxes = read_boxes(upload)
    parts = [part for part in boxes.references.get((b"dimg", boxes.main), ()) if part in boxes.items]
    return boxes.items[parts[0] if parts else boxes.main].kind


def coded_data(upload: bytes, item: Item) -> bytes:
    """Return the bytes of an item, put together where they lie in pieces."""
    return b"".join(upload[start:end] for start, end in item.extents)


def declared_size(upload: bytes, item: Item) -> tuple[int, int]:
    """Return (width, height) of an item as stored, in pixels.

    Raises:
        CorruptPicture: The item has none.
    """
    for part in item.properties:
        if part.name == b"ispe" and part.end - part.start >= 12:
            return struct.unpack_from(">II", upload, part.start + _FULL_BOX_BYTES)
    raise CorruptPicture(_BROKEN)


def declared_orientation(upload: bytes, item: Item) -> int:
    """Return the EXIF orientation that an item's ``irot`` and ``imir`` properties amount to."""
    turns, mirror = 0, None
    for part in item.properties:
        if part.end == part.start:
            continue
        if part.name == b"irot":
            turns = upload[part.start] & 3
        elif part.name == b"imir":
            mirror = upload[part.start] & 1
    return _ORIENTATIONS[mirror][turns]


def _boxes(upload: bytes, start: int, end: int) -> Iterator[Part]:
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
        yield Part(name, content, stop)
        start = stop
    raise PictureTooComplex(_TOO_LONG)


def _read_items(upload: bytes, parts: Mapping[bytes, Part]) -> dict[int, Item]:
    properties, extents = _associations(upload, parts[b"iprp"]), _locations(upload, parts)
    items = {}
    listed = parts[b"iinf"]
    first = listed.start + _FULL_BOX_BYTES + (2 if upload[listed.start] == 0 else 4)
    for entry in _boxes(upload, first, listed.end):
        fields = _Fields(upload, entry)
        if entry.name == b"infe" and fields.version in (2, 3):
            number_bytes = 2 if fields.version == 2 else 4
            number = fields.take(number_bytes)
            kind_at = entry.start + _FULL_BOX_BYTES + number_bytes + 2  # after its protection scheme
            kind = upload[kind_at : kind_at + 4]
            items[number] = Item(kind, kind_at, properties.get(number, ()), extents.get(number, ()))
    return items


def _associations(upload: bytes, iprp: Part) -> dict[int, tuple[Part, ...]]:
    """Read which properties belong to which item."""
    inside = list(_boxes(upload, iprp.start, iprp.end))
    container = next(box for box in inside if box.name == b"ipco")
    known = list(_boxes(upload, container.start, container.end))
    found: dict[int, tuple[Part, ...]] = {}
    for box in [box for box in inside if box.name == b"ipma"][:4]:  # one for each version and width
        fields = _Fields(upload, box)
        number_bytes, index_bytes = 2 if fields.version == 0 else 4, 2 if fields.flags & 1 else 1
        mask = (1 << (8 * index_bytes - 1)) - 1  # the top bit says that the property is essential
        for _ in range(fields.take(4)):
            number = fields.take(number_bytes)
            indices = [fields.take(index_bytes) & mask for _ in range(fields.take(1))]
            found[number] = tuple(known[index - 1] for index in indices if 0 < index <= len(known))
    return found


def _locations(upload: bytes, parts: Mapping[bytes, Part]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Read where the bytes of each item lie, as (start, end) in the file."""
    fields = _Fields(upload, parts[b"iloc"])
    sizes = fields.take(2)
    offset_bytes, length_bytes, base_bytes = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_bytes = sizes & 15 if fields.version else 0
    number_bytes = 2 if fields.version < 2 else 4
    found = {}
    for _ in range(fields.take(number_bytes)):
        number = fields.take(number_bytes)
        is_in_idat = fields.version > 0 and fields.take(2) & 15 == 1
        fields.take(2)  # which file: always this one
        base = fields.take(base_bytes) + (parts[b"idat"].start if is_in_idat else 0)
        extents = []
        for _ in range(fields.take(2)):
            fields.take(index_bytes)
            start, length = base + fields.take(offset_bytes), fields.take(length_bytes)
            extents.append((start, min(start + length, len(upload)) if length else len(upload)))
        found[number] = tuple(extents)
    return found


def _references(upload: bytes, iref: Part) -> dict[tuple[bytes, int], tuple[int, ...]]:
    """Read which items refer to which, by kind."""
    number_bytes = 2 if _Fields(upload, iref).version == 0 else 4
    found: dict[tuple[bytes, int], list[int]] = {}
    for box in _boxes(upload, iref.start + _FULL_BOX_BYTES, iref.end):
        fields = _Fields(upload, box, start=0)
        referred = found.setdefault((box.name, fields.take(number_bytes)), [])
        referred.extend(fields.take(number_bytes) for _ in range(fields.take(2)))
    return {key: tuple(referred) for key, referred in found.items()}


class _Fields:
    """The numbers in a box, one after the other; there are never more than its bytes.

    Those of a full box begin behind its version and flags, which is where ``start`` is.
    """

    def __init__(self, upload: bytes, box: Part, *, start: int = _FULL_BOX_BYTES) -> None:
        if box.end - box.start > _MAX_LIST_BYTES:
            raise PictureTooComplex(_TOO_LONG)
        self._content = upload[box.start : box.end]
        self._at = start
        self._empty_left = _MAX_LIST_BYTES
        self.version = self._content[0]
        self.flags = self._content[3]

    def take(self, size: int) -> int:
        """Read a big-endian number of so many bytes; of none, it is 0."""
        end = self._at + size
        self._empty_left -= not size
        if end > len(self._content) or self._empty_left < 0:
            raise CorruptPicture(_BROKEN)
        number = int.from_bytes(self._content[self._at : end], "big")
        self._at = end
        return number
