"""Properties: adds properties to the items of an AVIF or HEIC, as an editor would write them."""

import struct


def with_property(upload: bytes, name: bytes, payload: bytes, *, item: int = 1) -> bytes:
    """Append a property to an item: enlarges the boxes around it, and moves the items' byte ranges."""
    box = struct.pack(">I4s", len(payload) + 8, name) + payload
    changed = bytearray(upload)

    def enlarge(at: int, by: int) -> None:
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", changed, at)[0] + by)

    container, association = upload.index(b"ipco") - 4, upload.index(b"ipma") - 4
    container_bytes = struct.unpack_from(">I", upload, container)[0]
    inside, count = container + 8, 0
    while inside < container + container_bytes:
        inside, count = inside + struct.unpack_from(">I", upload, inside)[0], count + 1
    at = association + 16
    while struct.unpack_from(">H", changed, at)[0] != item:
        at += 3 + changed[at + 2]
    end = at + 3 + changed[at + 2]
    changed[at + 2] += 1
    for start in (container, upload.index(b"iprp") - 4, upload.index(b"meta") - 4):
        enlarge(start, len(box))
    for start in (association, upload.index(b"iprp") - 4, upload.index(b"meta") - 4):
        enlarge(start, 1)
    changed[end:end] = bytes((0x80 | (count + 1),))
    changed[inside:inside] = box
    return moved(bytes(changed), len(box) + 1)


def moved(upload: bytes, by: int) -> bytes:
    """Shift the items' byte ranges, in an ``iloc`` of version 0 or 1 with offsets of 4 bytes."""
    at = upload.index(b"iloc")
    version, changed = upload[at + 4], bytearray(upload)
    assert upload[at + 8] == 0x44
    base_bytes = upload[at + 9] >> 4
    position = at + 12
    for _ in range(struct.unpack_from(">H", upload, at + 10)[0]):
        position += (6 if version else 4) + base_bytes
        extents = struct.unpack_from(">H", upload, position)[0]
        position += 2
        for _ in range(extents):
            struct.pack_into(">I", changed, position, struct.unpack_from(">I", changed, position)[0] + by)
            position += 8
    return bytes(changed)


def clap(width: int, height: int, right: tuple[int, int] = (0, 1), down: tuple[int, int] = (0, 1)) -> bytes:
    return struct.pack(">IIIIiIiI", width, 1, height, 1, *right, *down)
