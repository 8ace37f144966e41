"""Colours: the standards' published constants and curves, and uploads with colour metadata.

The constants are those of CSS Color 4 for the matrix of Display P3, BT.2087 for BT.2020's, and IEC 61966-2-1
for sRGB's curve.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.pictures import avif, heic

Floats = NDArray[np.float64]
P3_TO_SRGB = ((1.2249401, -0.2249402, 0.0), (-0.0420569, 1.0420571, 0.0), (-0.0196376, -0.0786361, 1.0982735))
BT2020_TO_709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
SAME = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
PATCH = (200, 100, 50)
MODERN = [avif, heic]
IGNORED = ("colours_ignored",)


def srgb_light(number: Floats) -> Floats:
    """Decode sRGB numbers in [0, 1] to linear light."""
    return np.where(number <= 0.04045, number / 12.92, ((number + 0.055) / 1.055) ** 2.4)


def srgb_number(light: Floats) -> Floats:
    """Encode linear light as sRGB numbers, clipped to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def converted(light: Floats, matrix: object) -> Floats:
    """Return the sRGB levels, 0 to 255, of linear light that a matrix converts to sRGB's primaries."""
    return 255 * srgb_number(light @ np.array(matrix).T)


def with_chunks(upload: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Insert (name, payload) chunks into a PNG, after its header."""
    added = b"".join(
        struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
        for name, payload in chunks
    )
    return upload[:33] + added + upload[33:]


def with_nclx(upload: bytes, primaries: int, transfer: int) -> bytes:
    """Replace the code points in the nclx box of an AVIF or HEIC."""
    at = upload.index(b"colrnclx") + 8
    return upload[:at] + struct.pack(">HH", primaries, transfer) + upload[at + 4 :]


def decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))
