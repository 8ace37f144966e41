"""Grids: AVIF and HEIC files built box by box from coded pictures, whose sizes and counts may be wrong."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.imaging.formats.isobmff import coded_data, read_boxes


@dataclass(frozen=True, slots=True)
class Tile:
    """A coded picture: its item type, its data, its configuration box, and its declared size, if any."""

    kind: bytes
    coded: bytes
    configuration: bytes
    size: tuple[int, int] | None


def tile_of(upload: bytes, *, size: tuple[int, int] | None = None) -> Tile:
    """Extract the main picture of a file; ``size`` is the (width, height) that the tile declares."""
    boxes = read_boxes(upload)
    item = boxes.items[boxes.main]
    box = next(box for box in item.properties if box.name in (b"av1C", b"hvcC"))
    return Tile(item.kind, coded_data(upload, item), upload[box.start - 8 : box.end], size)


def grid_of(
    tiles: Sequence[Tile],
    *,
    rows: int,
    columns: int,
    size: tuple[int, int],
    declared: tuple[int, int] | None = None,
    referred: Sequence[int] | None = None,
    alpha: Tile | None = None,
    shares: bool = False,
    is_wide: bool = False,
    brand: bytes = b"avif",
) -> bytes:
    """Build a file with a grid of tiles.

    Args:
        tiles: The tiles, items 2 and following.
        rows: The number of rows in the grid item.
        columns: The number of columns in the grid item.
        size: (width, height) in the grid item.
        declared: (width, height) in the grid's ``ispe``, if it differs.
        referred: The items that the grid refers to, if not all tiles.
        alpha: The alpha channel of the grid, as an item of its own.
        shares: Whether items with equal data share one copy in the file.
        is_wide: Whether the sizes in the grid item have 32 bits.
        brand: The brand of the file.
    """
    layout = bytes((0, int(is_wide), rows - 1, columns - 1)) + struct.pack(">II" if is_wide else ">HH", *size)
    items = [(b"grid", layout, [_size(declared or size)])]
    items += [(tile.kind, tile.coded, _properties(tile)) for tile in tiles]
    numbers = range(2, 2 + len(tiles)) if referred is None else referred
    references = _box(
        b"dimg", struct.pack(">HH", 1, len(numbers)) + struct.pack(f">{len(numbers)}H", *numbers)
    )
    if alpha is not None:
        urn = _box(b"auxC", bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\x00")
        items.append((alpha.kind, alpha.coded, [*_properties(alpha), urn]))
        references += _box(b"auxl", struct.pack(">HHH", len(items), 1, 1))
    return _file(items, references, shares=shares, brand=brand)


def single(tile: Tile, *, brand: bytes = b"avif") -> bytes:
    """Build a file of one picture."""
    return _file([(tile.kind, tile.coded, _properties(tile))], b"", shares=False, brand=brand)


def _properties(tile: Tile) -> list[bytes]:
    return [tile.configuration, *([] if tile.size is None else [_size(tile.size)])]


def _size(size: tuple[int, int]) -> bytes:
    return _box(b"ispe", bytes(4) + struct.pack(">II", *size))


def _file(
    items: Sequence[tuple[bytes, bytes, Sequence[bytes]]], references: bytes, *, shares: bool, brand: bytes
) -> bytes:
    properties: list[bytes] = []
    associations = b""
    for number, (_, _, own) in enumerate(items, start=1):
        indices = []
        for box in own:
            if box not in properties:
                properties.append(box)
            indices.append(properties.index(box) + 1)
        associations += struct.pack(f">HB{len(own)}B", number, len(own), *indices)
    extents: dict[object, bytes] = {}
    for number, (_, coded, _) in enumerate(items):
        extents[coded if shares else number] = coded
    order = list(extents)
    offsets = {key: sum(len(extents[before]) for before in order[:at]) for at, key in enumerate(order)}
    head = _head(items, properties, associations, references, offsets, 0, shares=shares, brand=brand)
    start = len(head) + 8
    head = _head(items, properties, associations, references, offsets, start, shares=shares, brand=brand)
    return head + _box(b"mdat", b"".join(extents.values()))


def _head(
    items: Sequence[tuple[bytes, bytes, Sequence[bytes]]],
    properties: Sequence[bytes],
    associations: bytes,
    references: bytes,
    offsets: Mapping[object, int],
    start: int,
    *,
    shares: bool,
    brand: bytes,
) -> bytes:
    entries = b"".join(
        _box(b"infe", struct.pack(">BxxxHH4sx", 2, number, 0, kind))
        for number, (kind, _, _) in enumerate(items, start=1)
    )
    locations = b"".join(
        struct.pack(">HHHII", number, 0, 1, start + offsets[coded if shares else number - 1], len(coded))
        for number, (_, coded, _) in enumerate(items, start=1)
    )
    boxes = [
        _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        _box(b"pitm", struct.pack(">IH", 0, 1)),
        _box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)) + locations),
        _box(b"iinf", struct.pack(">IH", 0, len(items)) + entries),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _box(b"ipma", struct.pack(">II", 0, len(items)) + associations),
        ),
    ]
    if references:
        boxes.insert(3, _box(b"iref", bytes(4) + references))
    return _box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf") + _box(b"meta", bytes(4) + b"".join(boxes))


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload
