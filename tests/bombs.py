"""Bombs: small files that are expensive to decode, each aimed at one weakness of decoders."""

import struct
import zlib

import numpy as np

from tests.pictures import jpeg, png, scan_bomb

MEBIBYTE = 1024 * 1024


def png_of(height: int, width: int, *chunks: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """Build a grey PNG of a size from the chunks between its header and its end."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlaced)
    every = ((b"IHDR", header), *chunks, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, payload) for name, payload in every)


def rows(height: int, width: int) -> tuple[bytes, bytes]:
    """Return the IDAT chunk of a black picture in grey mode."""
    compressor = zlib.compressobj(9)
    compressed = [compressor.compress(bytes(width + 1)) for _ in range(height)]
    return b"IDAT", b"".join([*compressed, compressor.flush()])


def text(size: int, keyword: bytes = b"Comment") -> tuple[bytes, bytes]:
    """Return a zTXt chunk that inflates to ``size`` bytes."""
    return b"zTXt", keyword + b"\x00\x00" + zlib.compress(b"x" * size, 9)


def international_text(size: int) -> tuple[bytes, bytes]:
    """Return a compressed iTXt chunk that inflates to ``size`` bytes."""
    return b"iTXt", b"Comment\x00\x01\x00en\x00Kommentar\x00" + zlib.compress(b"x" * size, 9)


def animated(frames: int) -> bytes:
    """Build an APNG that declares ``frames`` frames and contains one."""
    control = struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)
    return png_of(8, 8, (b"acTL", struct.pack(">II", frames, 0)), (b"fcTL", control), rows(8, 8))


def many_frames(frames: int) -> bytes:
    """Build an APNG that contains ``frames`` frames of one pixel each."""
    chunks = [(b"acTL", struct.pack(">II", frames, 0)), (b"fcTL", _frame(0)), rows(8, 8)]
    pixel = zlib.compress(b"\x00\x00")
    for number in range(1, frames):
        chunks.append((b"fcTL", _frame(2 * number - 1)))
        chunks.append((b"fdAT", struct.pack(">I", 2 * number) + pixel))
    return png_of(8, 8, *chunks)


def webp_canvas(height: int, width: int) -> bytes:
    """Build an extended WebP that declares a canvas and contains no picture."""
    sizes = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sizes
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_screen(height: int, width: int) -> bytes:
    """Build a GIF of 44 bytes that declares a screen and an image of the same size."""
    image = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + image + b";"


def resized(upload: bytes, height: int, width: int) -> bytes:
    """Return a JPEG with another size in its frame header."""
    at = max(upload.find(b"\xff\xc0"), upload.find(b"\xff\xc2")) + 5
    return upload[:at] + struct.pack(">HH", height, width) + upload[at + 4 :]


def bombs() -> dict[str, bytes]:
    """Return all bombs by name; the service must refuse each of them."""
    small = jpeg(np.zeros((8, 8), np.uint8))
    return {
        "pixels: png, 90 gigapixels, no data": png_of(300_000, 300_000),
        "pixels: png, 400 megapixels, whole": png_of(20_000, 20_000, rows(20_000, 20_000)),
        "pixels: png, 49 megapixels, 64 rows": png_of(7000, 7000, rows(64, 7000)),
        "pixels: gif, 4 gigapixels": gif_screen(65_535, 65_535),
        "pixels: jpeg, 4 gigapixels": resized(small, 65_500, 65_500),
        "pixels: webp, 268 megapixels": webp_canvas(16_384, 16_384),
        **{
            f"scans: {n} of 49 megapixels": scan_bomb(7000, 7000, extra_scans=n) for n in (100, 1000, 100_000)
        },
        **{f"scans: {n} of 64 pixels": scan_bomb(8, 8, extra_scans=n) for n in (100, 1000, 10_000, 100_000)},
        "text: one of 64 MiB": png_of(8, 8, text(64 * MEBIBYTE), rows(8, 8)),
        "text: 64 of 1 MiB": png_of(8, 8, *(text(MEBIBYTE) for _ in range(64)), rows(8, 8)),
        "text: 64 of 1 MiB at the end": png_of(8, 8, rows(8, 8), *(text(MEBIBYTE) for _ in range(64))),
        "text: 20,000 of 16 KiB": png_of(8, 8, *(text(16_384, b"%d" % n) for n in range(20_000)), rows(8, 8)),
        "text: international": png_of(8, 8, international_text(64 * MEBIBYTE), rows(8, 8)),
        "parts: 200,000 chunks": png_of(8, 8, *[(b"tEXt", b"a\x00")] * 200_000, rows(8, 8)),
        "interlaced: 400 megapixels, whole": png_of(20_000, 20_000, rows(20_000, 20_000), interlaced=True),
        "interlaced: 49 megapixels, no data": png_of(7000, 7000, rows(1, 1), interlaced=True),
        "frames: a million declared": animated(1_000_000),
        "frames: 100,000 there": many_frames(100_000),
        "aspect: 65,500 by 1": resized(small, 1, 65_500),
        "aspect: 1 by 65,500": resized(small, 65_500, 1),
        "aspect: png, 16,385 by 1": png(np.zeros((1, 16_385), np.uint8)),
        "aspect: png, 2 gigapixels by 1": png_of(1, 2**31 - 1),
    }


def _frame(sequence: int) -> bytes:
    return struct.pack(">IIIIIHHBB", sequence, 1, 1, 0, 0, 1, 10, 0, 0)


def _chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
