"""PNGs of every depth, palette and kind of transparency, decoded to 8-bit RGB and alpha."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.pictures import noise, photo, png
from tests.profiles import DISPLAY_P3, SRGB_CURVE, matrix_profile

PICTURE = photo(24, 37)
P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE)


def test_a_16_bit_grey_is_scaled_and_not_clipped() -> None:
    samples = np.array([[0, 128, 129, 300, 32896, 65535]], dtype=np.uint16)
    actual = _decoded(_png16(samples))

    assert [0, 0, 1, 1, 128, 255] == actual.rgb[0, :, 0].tolist()


def test_a_transparent_16_bit_grey_is_compared_in_full_depth() -> None:
    samples = np.array([[0, 300, 301]], dtype=np.uint16)
    actual = _decoded(_png16(samples, transparency=300))

    assert actual.own_alpha is not None
    assert [255, 0, 255] == actual.own_alpha[0].tolist()


@pytest.mark.parametrize(
    ("bits", "transparent", "expected"), [(1, 1, [255, 0]), (2, 1, [255, 0]), (4, 3, [255, 0])]
)
def test_a_transparent_grey_is_compared_in_the_files_depth(
    bits: int, transparent: int, expected: list[int]
) -> None:
    packed = bytes([0, (0 << (8 - bits)) | (transparent << (8 - 2 * bits))])
    actual = _decoded(_png(1, 2, bits, 0, packed, {b"tRNS": struct.pack(">H", transparent)}))

    assert actual.own_alpha is not None
    assert expected == actual.own_alpha[0].tolist()


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth_are_converted_to_rgb(bits: int, is_interlaced: bool) -> None:
    colours = noise((2**bits, 3))
    indices = np.arange(8) % 2**bits
    packed = int("".join(f"{index:0{bits}b}" for index in indices), 2).to_bytes(bits, "big")
    rows = _adam7_of_a_row(indices, bits) if is_interlaced else b"\x00" + packed
    actual = _decoded(_png(1, 8, bits, 3, rows, {b"PLTE": colours.tobytes()}, is_interlaced=is_interlaced))

    assert_array_equal(actual.rgb[0], colours[indices])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_greys_are_scaled_to_all_levels(bits: int) -> None:
    levels = np.arange(8) % 2**bits
    packed = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(bits, "big")
    actual = _decoded(_png(1, 8, bits, 0, b"\x00" + packed, {}))

    assert_array_equal(actual.rgb[0, :, 0], levels * 255 // (2**bits - 1))


def test_a_palette_with_transparency_gives_colours_and_alpha() -> None:
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    upload = _png(1, 3, 8, 3, bytes([0, 0, 1, 2]), {b"PLTE": palette, b"tRNS": bytes([255, 128, 0])})
    actual = _decoded(upload)

    assert actual.own_alpha is not None
    assert [[255, 0, 0], [0, 255, 0], [0, 0, 255]] == actual.rgb[0].tolist()
    assert [255, 128, 0] == actual.own_alpha[0].tolist()


def test_a_transparent_colour_gives_alpha() -> None:
    upload = _png(1, 2, 8, 2, bytes([0, 9, 8, 7, 9, 8, 6]), {b"tRNS": struct.pack(">HHH", 9, 8, 7)})
    actual = _decoded(upload)

    assert actual.own_alpha is not None
    assert [0, 255] == actual.own_alpha[0].tolist()


def test_an_opaque_alpha_channel_is_dropped() -> None:
    opaque = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, dtype=np.uint8)])

    assert _decoded(png(opaque)).own_alpha is None


def test_a_grey_with_alpha_is_split() -> None:
    pixels = Image.fromarray(noise((5, 6, 2)), "LA")
    actual = _decoded(_saved(pixels, "PNG"))

    assert actual.own_alpha is not None
    assert_array_equal(np.dstack([actual.rgb[:, :, 0], actual.own_alpha]), np.asarray(pixels))


def test_a_png_profile_with_a_wrong_checksum_does_not_fail_the_picture() -> None:
    upload = _saved(Image.fromarray(PICTURE), "PNG", icc_profile=P3)
    at = upload.index(b"iCCP") + 20

    assert ("icc_ignored",) == _decoded(upload[:at] + b"????" + upload[at + 4 :]).warnings


def test_a_picture_beyond_pillows_own_limit_is_decoded() -> None:
    side = 9_600  # 92 megapixels: Pillow warns from 89
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = _decoded(_png_of(side, side, 1, 0, rows))

    assert (side, side, 3) == actual.rgb.shape


def _decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


def _png16(grey: NDArray[np.uint16], transparency: int | None = None) -> bytes:
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in grey)
    extra = {} if transparency is None else {b"tRNS": struct.pack(">H", transparency)}
    return _png(*grey.shape, 16, 0, rows, extra)


def _png(
    height: int,
    width: int,
    bits: int,
    colour: int,
    rows: bytes,
    extra: dict[bytes, bytes],
    *,
    is_interlaced: bool = False,
) -> bytes:
    return _png_of(height, width, bits, colour, zlib.compress(rows), extra, is_interlaced=is_interlaced)


def _png_of(
    height: int,
    width: int,
    bits: int,
    colour: int,
    deflated: bytes,
    extra: dict[bytes, bytes] | None = None,
    *,
    is_interlaced: bool = False,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, is_interlaced)
    chunks = {b"IHDR": header, **(extra or {}), b"IDAT": deflated, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
        for name, payload in chunks.items()
    )


def _adam7_of_a_row(samples: NDArray[np.int64], bits: int) -> bytes:
    """Pack a picture of one row of eight in the four passes that contain the first row."""
    passes = (samples[0::8], samples[4::8], samples[2::4], samples[1::2])
    texts = ("".join(f"{sample:0{bits}b}" for sample in one_pass) for one_pass in passes)
    padded = [text + "0" * (-len(text) % 8) for text in texts]
    return b"".join(b"\x00" + int(text, 2).to_bytes(len(text) // 8, "big") for text in padded)
