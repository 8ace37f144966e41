"""Colour tags: a file's colour metadata is applied, in the order of the standards.

The expected values are computed from the standards' published constants, in ``tests/imaging/colours.py``.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.imaging.colours import (
    BT2020_TO_709,
    IGNORED,
    P3_TO_SRGB,
    SAME,
    Floats,
    converted,
    decoded,
    srgb_light,
    srgb_number,
    with_chunks,
)
from tests.pictures import flat, png
from tests.profiles import DISPLAY_P3, SRGB_CURVE, matrix_profile

COLOURS = np.array([[200, 100, 50], [30, 60, 90], [128, 128, 128], [0, 0, 0], [255, 255, 255], [90, 140, 70]])
P3_CHUNK = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_CHUNK = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def tagged(*chunks: tuple[bytes, bytes]) -> bytes:
    return with_chunks(png(COLOURS[None].astype(np.uint8)), *chunks)


def check(
    upload: bytes, expected: Floats, *, warnings: tuple[str, ...] = (), tolerance: float = 1.01
) -> None:
    actual = decoded(upload)

    assert np.abs(actual.rgb[0] - expected).max() <= tolerance
    assert warnings == actual.warnings


STORED = COLOURS / 255
SRGB_VALUES = COLOURS.astype(np.float64)
P3_VALUES = converted(srgb_light(STORED), P3_TO_SRGB)
LINEAR_VALUES = converted(STORED, SAME)


@pytest.mark.parametrize(
    ("primaries", "transfer", "expected"),
    [
        (1, 13, SRGB_VALUES),
        (1, 1, SRGB_VALUES),
        (12, 13, P3_VALUES),
        (12, 1, P3_VALUES),
        (1, 8, LINEAR_VALUES),
        (12, 8, converted(STORED, P3_TO_SRGB)),
        (9, 13, converted(srgb_light(STORED), BT2020_TO_709)),
        (9, 8, converted(STORED, BT2020_TO_709)),
        (1, 4, converted(STORED**2.2, SAME)),
        (1, 5, converted(STORED**2.8, SAME)),
        (1, 17, converted(52.37 / 48 * STORED**2.6, SAME)),
    ],
)
def test_a_png_is_converted_by_its_code_points(primaries: int, transfer: int, expected: Floats) -> None:
    check(tagged((b"cICP", bytes((primaries, transfer, 0, 1)))), expected)


def test_a_narrow_range_is_scaled_to_full_range() -> None:
    check(tagged((b"cICP", bytes((1, 13, 0, 0)))), np.clip((SRGB_VALUES - 16) / 219 * 255, 0, 255))


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (100_000, LINEAR_VALUES),
        (45_455, SRGB_VALUES),  # equivalent to sRGB
        (45_000, SRGB_VALUES),
        (55_556, converted(STORED**1.8, SAME)),
        (35_000, converted(STORED ** (1 / 0.35), SAME)),
        (250_000, converted(STORED**0.4, SAME)),
    ],
)
def test_a_png_is_converted_by_its_gamma(gamma: int, expected: Floats) -> None:
    chunk = (b"gAMA", struct.pack(">I", gamma))

    check(tagged(chunk), expected)
    check(tagged(chunk, (b"cHRM", SRGB_CHUNK)), expected)


@pytest.mark.parametrize("gamma", [None, 45_455, 100_000])
def test_a_png_is_converted_by_its_chromaticities(gamma: int | None) -> None:
    chunks = () if gamma is None else ((b"gAMA", struct.pack(">I", gamma)),)
    light = STORED if gamma == 100_000 else srgb_light(STORED)

    check(tagged(*chunks, (b"cHRM", P3_CHUNK)), converted(light, P3_TO_SRGB))


CICP, ICCP, SRGB, GAMA, CHRM = (
    (b"cICP", bytes((1, 8, 0, 1))),
    (b"iCCP", b"p\0\0" + zlib.compress(matrix_profile(DISPLAY_P3, SRGB_CURVE))),
    (b"sRGB", b"\0"),
    (b"gAMA", struct.pack(">I", 55_556)),
    (b"cHRM", P3_CHUNK),
)


@pytest.mark.parametrize(
    ("chunks", "expected", "warnings"),
    [
        ((CICP, ICCP, SRGB, GAMA, CHRM), LINEAR_VALUES, ()),
        ((CHRM, GAMA, SRGB, ICCP, CICP), LINEAR_VALUES, ()),
        ((ICCP, SRGB, GAMA, CHRM), P3_VALUES, ()),
        ((SRGB, GAMA, CHRM), SRGB_VALUES, ()),
        ((GAMA, CHRM), converted(STORED**1.8, P3_TO_SRGB), ()),
        (((b"cICP", bytes((99, 13, 0, 1))), ICCP, GAMA), P3_VALUES, IGNORED),
        (((b"cICP", bytes((12, 13, 1, 1))), SRGB), SRGB_VALUES, IGNORED),
        (((b"cICP", bytes((2, 2, 0, 1))), GAMA), converted(STORED**1.8, SAME), IGNORED),
        (((b"cICP", b"12"),), SRGB_VALUES, IGNORED),
        (((b"gAMA", bytes(4)),), SRGB_VALUES, IGNORED),
        (((b"cHRM", bytes(32)),), SRGB_VALUES, IGNORED),
        (((b"cHRM", struct.pack(">8I", *[33333] * 8)),), SRGB_VALUES, IGNORED),
        (((b"cHRM", b"\xff" * 32),), SRGB_VALUES, IGNORED),
    ],
)
def test_the_first_usable_entry_applies(
    chunks: tuple[tuple[bytes, bytes], ...], expected: Floats, warnings: tuple[str, ...]
) -> None:
    """PNG, third edition: cICP, iCCP, sRGB, gAMA and cHRM."""
    check(tagged(*chunks), expected, warnings=warnings, tolerance=1.6)


NO_PROFILE = (b"iCCP", b"p\0\0" + zlib.compress(bytes(200)))
ICC_IGNORED = ("icc_ignored",)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((NO_PROFILE, GAMA), converted(STORED**1.8, SAME)),
        ((NO_PROFILE, CHRM), P3_VALUES),
        ((NO_PROFILE, SRGB, GAMA, CHRM), SRGB_VALUES),
        ((NO_PROFILE, (b"gAMA", bytes(4))), SRGB_VALUES),
        ((NO_PROFILE,), SRGB_VALUES),
    ],
)
def test_an_unusable_profile_is_skipped_for_the_next_entry(
    chunks: tuple[tuple[bytes, bytes], ...], expected: Floats
) -> None:
    check(tagged(*chunks), expected, warnings=ICC_IGNORED)


def test_greys_and_palettes_are_converted() -> None:
    grey = with_chunks(png(np.array([[0, 64, 188, 255]], np.uint8)), (b"gAMA", struct.pack(">I", 100_000)))
    file = io.BytesIO()
    Image.fromarray(flat(4, 4, (200, 100, 50))).quantize(4).save(file, "PNG")
    palette = with_chunks(file.getvalue(), (b"cICP", bytes((12, 13, 0, 1))))

    expected = 255 * srgb_number(np.array([0, 64, 188, 255]) / 255)

    assert np.abs(decoded(grey).rgb[0, :, 0] - expected).max() < 1
    assert np.abs(decoded(palette).rgb[0, 0] - P3_VALUES[0]).max() < 1.01


def png16_of(pixels: NDArray[np.uint16], *chunks: tuple[bytes, bytes]) -> bytes:
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[pixels.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks_of_file = (
        (b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    bare = b"\x89PNG\r\n\x1a\n" + with_chunks(bytes(33), *chunks_of_file)[33:]
    return with_chunks(bare, *chunks)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_shadows_of_16_bit_linear_light_are_kept(channels: int) -> None:
    """If rounded to 8 bits first, the two darkest would be about 0 and 13, where sRGB has 1, 4 and 6."""
    light = np.array([20, 79, 130, 500, 5000, 65535])
    pixels = np.repeat(light[None, :, None], channels, axis=2)
    if channels in (2, 4):
        pixels[:, :, -1] = 32896  # 128
    actual = decoded(png16_of(pixels.astype(np.uint16), (b"gAMA", struct.pack(">I", 100_000))))

    assert np.abs(actual.rgb[0] - 255 * srgb_number(light / 65535)[:, None]).max() <= 0.51
    if channels in (2, 4):
        assert actual.own_alpha is not None
        assert {128} == set(actual.own_alpha.ravel().tolist())


def test_16_bit_linear_p3_is_converted() -> None:
    light = np.array([[0.2, 0.4, 0.1], [0.01, 0.02, 0.015]])
    pixels = np.rint(65535 * light)[None].astype(np.uint16)
    actual = decoded(png16_of(pixels, (b"cICP", bytes((12, 8, 0, 1)))))

    assert np.abs(actual.rgb[0] - converted(light, P3_TO_SRGB)).max() <= 1.2
