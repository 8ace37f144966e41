"""Grids: AVIF and HEIC files put together box by box from coded pictures, with numbers that may lie."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.imaging.formats.isobmff import coded_data, read_boxes


@dataclass(frozen=True, slots=True)
class Tile:
    """A coded picture: its kind, its data, its configuration box, and the size that it declares, if any."""

    kind: bytes
    coded: bytes
    configuration: bytes
    size: tuple[int, int] | None


def tile_of(upload: bytes, *, size: tuple[int, int] | None = None) -> Tile:
    """Take the main picture out of a file, to be declared as (width, height)."""
    boxes = read_boxes(upload)
    item = boxes.items[boxes.main]
    part = next(part for part in item.properties if part.name in (b"av1C", b"hvcC"))
    return Tile(item.kind, coded_data(upload, item), upload[part.start - 8 : part.end], size)


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
    """Put tiles together.

    Args:
        tiles: Items 2 and following.
        rows: What the grid says.
        columns: Likewise.
        size: (width, height) that it says.
        declared: What its ``ispe`` says, if something else.
        referred: The items that it refers to, if others than all tiles.
        alpha: Of the grid: an item of its own.
        shares: Equal data of several items lies in the file once.
        is_wide: The grid's numbers have 32 bits.
        brand: Of the file.
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
    """Put a file of one picture together."""
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
        for one in own:
            if one not in properties:
                properties.append(one)
            indices.append(properties.index(one) + 1)
        associations += struct.pack(f">HB{len(own)}B", number, len(own), *indices)
    pieces: dict[object, bytes] = {}
    for number, (_, coded, _) in enumerate(items):
        pieces[coded if shares else number] = coded
    order = list(pieces)
    places = {key: sum(len(pieces[before]) for before in order[:at]) for at, key in enumerate(order)}
    head = _head(items, properties, associations, references, places, 0, shares=shares, brand=brand)
    start = len(head) + 8
    head = _head(items, properties, associations, references, places, start, shares=shares, brand=brand)
    return head + _box(b"mdat", b"".join(pieces.values()))


def _head(
    items: Sequence[tuple[bytes, bytes, Sequence[bytes]]],
    properties: Sequence[bytes],
    associations: bytes,
    references: bytes,
    places: Mapping[object, int],
    start: int,
    *,
    shares: bool,
    brand: bytes,
) -> bytes:
    entries = b"".join(
        _box(b"infe", struct.pack(">BxxxHH4sx", 2, number, 0, kind))
        for number, (kind, _, _) in enumerate(items, start=1)
    )
    located = b"".join(
        struct.pack(">HHHII", number, 0, 1, start + places[coded if shares else number - 1], len(coded))
        for number, (_, coded, _) in enumerate(items, start=1)
    )
    parts = [
        _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        _box(b"pitm", struct.pack(">IH", 0, 1)),
        _box(b"iloc", struct.pack(">IHH", 0, 0x4400, len(items)) + located),
        _box(b"iinf", struct.pack(">IH", 0, len(items)) + entries),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _box(b"ipma", struct.pack(">II", 0, len(items)) + associations),
        ),
    ]
    if references:
        parts.insert(3, _box(b"iref", bytes(4) + references))
    return _box(b"ftyp", brand + bytes(4) + brand + b"mif1miaf") + _box(b"meta", bytes(4) + b"".join(parts))


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload
