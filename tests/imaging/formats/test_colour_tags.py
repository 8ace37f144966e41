"""Colour tags: a file's colour metadata is applied, in the order of the standards.

The tests compute the expected values from the standards' published constants: CSS Color 4 for the matrix of
Display P3, BT.2087 for BT.2020's, IEC 61966-2-1 for sRGB's curve, BT.2100 for PQ and HLG.
"""

import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.grids import grid_of, single, tile_of
from tests.pictures import avif, flat, heic, photo, png
from tests.profiles import ADOBE_RGB, DISPLAY_P3, GAMMA_2_2, SRGB_CURVE, matrix_profile

Floats = NDArray[np.float64]

P3_TO_SRGB = ((1.2249401, -0.2249402, 0.0), (-0.0420569, 1.0420571, 0.0), (-0.0196376, -0.0786361, 1.0982735))
BT2020_TO_709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
SAME = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
COLOURS = np.array([[200, 100, 50], [30, 60, 90], [128, 128, 128], [0, 0, 0], [255, 255, 255], [90, 140, 70]])
P3_CHUNK = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB_CHUNK = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def srgb_light(number: Floats) -> Floats:
    return np.where(number <= 0.04045, number / 12.92, ((number + 0.055) / 1.055) ** 2.4)


def srgb_number(light: Floats) -> Floats:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def converted(light: Floats, matrix: object) -> Floats:
    return 255 * srgb_number(light @ np.array(matrix).T)


def with_chunks(upload: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    added = b"".join(
        struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
        for name, payload in chunks
    )
    return upload[:33] + added + upload[33:]


def tagged(*chunks: tuple[bytes, bytes]) -> bytes:
    return with_chunks(png(COLOURS[None].astype(np.uint8)), *chunks)


def with_nclx(upload: bytes, primaries: int, transfer: int) -> bytes:
    at = upload.index(b"colrnclx") + 8
    return upload[:at] + struct.pack(">HH", primaries, transfer) + upload[at + 4 :]


def decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


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
IGNORED = ("colours_ignored",)


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


def with_profile(profile: bytes) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(flat(64, 64, PATCH))
    picture.save(file, "AVIF", quality=100, subsampling="4:4:4", icc_profile=profile)
    return file.getvalue()


@pytest.mark.parametrize(("transfer", "more"), [(13, set()), (16, {"tone_mapped"})], ids=["p3", "pq"])
def test_an_unusable_profile_in_an_avif_is_skipped_for_code_points(transfer: int, more: set[str]) -> None:
    broken = with_nclx(with_profile(bytes(200)), 12, transfer)
    by_points, actual = decoded(broken.replace(b"colrprof", b"freeprof")), decoded(broken)

    assert actual.rgb[0, 0].tolist() == by_points.rgb[0, 0].tolist() != list(PATCH)
    assert {"icc_ignored", *more} == set(actual.warnings)


def test_a_profile_takes_precedence_over_code_points_of_a_high_range() -> None:
    plain = with_profile(matrix_profile(DISPLAY_P3, SRGB_CURVE))
    actual = decoded(with_nclx(plain, 9, 16))

    assert_array_equal(actual.rgb, decoded(plain).rgb)
    assert () == actual.warnings


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
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    bare = b"\x89PNG\r\n\x1a\n" + with_chunks(bytes(33), *parts)[33:]
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


PATCH = (200, 100, 50)
MODERN = [avif, heic]


@pytest.mark.parametrize("encode", MODERN, ids=["avif", "heic"])
@pytest.mark.parametrize(
    ("primaries", "transfer", "light", "matrix"),
    [
        (1, 13, srgb_light, SAME),
        (2, 2, srgb_light, SAME),
        (1, 1, srgb_light, SAME),
        (12, 13, srgb_light, P3_TO_SRGB),
        (1, 8, lambda number: number, SAME),
        (9, 14, srgb_light, BT2020_TO_709),
        (12, 4, lambda number: number**2.2, P3_TO_SRGB),
    ],
)
def test_an_avif_and_a_heic_are_converted_by_their_nclx(  # type: ignore[no-untyped-def]
    encode, primaries: int, transfer: int, light, matrix: object
) -> None:
    if encode is heic:
        pytest.importorskip("pillow_heif")
    upload = with_nclx(encode(flat(64, 64, PATCH)), primaries, transfer)
    read_as_srgb = decoded(with_nclx(upload, 1, 13)).rgb[32, 32] / 255
    actual = decoded(upload)

    assert np.abs(255 * read_as_srgb - PATCH).max() < 4
    assert np.abs(actual.rgb[32, 32] - converted(light(read_as_srgb), matrix)).max() <= 1.01
    assert () == actual.warnings


def avif_of_code_points(primaries: int, transfer: int, *, is_grid: bool) -> bytes:
    """Build an AVIF without a colour box, whose sequence header has the code points."""
    tile = tile_of(avif(flat(64, 64, PATCH)), size=(64, 64))
    bits = f"{int.from_bytes(tile.coded, 'big'):0{8 * len(tile.coded)}b}"
    own_points = f"{1:08b}{13:08b}{6:08b}"
    assert bits[:200].count(own_points) == 1
    changed = bits.replace(own_points, f"{primaries:08b}{transfer:08b}{6:08b}", 1)
    tile = replace(tile, coded=int(changed, 2).to_bytes(len(tile.coded), "big"))
    return grid_of([tile] * 2, rows=1, columns=2, size=(128, 64)) if is_grid else single(tile)


@pytest.mark.parametrize(
    ("primaries", "transfer", "light", "matrix", "warnings"),
    [
        (1, 13, srgb_light, SAME, ()),
        (12, 13, srgb_light, P3_TO_SRGB, ()),
        (1, 8, lambda number: number, SAME, ()),
        (200, 13, srgb_light, SAME, IGNORED),
    ],
)
@pytest.mark.parametrize("is_grid", [False, True])
def test_an_avif_without_a_colour_box_is_converted_by_its_coded_data(  # type: ignore[no-untyped-def]
    primaries: int, transfer: int, light, matrix: object, warnings: tuple[str, ...], *, is_grid: bool
) -> None:
    """As decoders do (AV1 Image File Format, 2.2.1)."""
    plain = avif_of_code_points(1, 13, is_grid=is_grid)
    read_as_srgb = decoded(plain).rgb[32, 32] / 255
    actual = decoded(avif_of_code_points(primaries, transfer, is_grid=is_grid))

    assert np.abs(255 * read_as_srgb - PATCH).max() < 4
    assert np.abs(actual.rgb[32, 32] - converted(light(read_as_srgb), matrix)).max() <= 1.01
    assert warnings == actual.warnings


def test_unsupported_code_points_are_ignored_with_a_warning() -> None:
    assert IGNORED == decoded(with_nclx(avif(photo(20, 30)), 200, 13)).warnings


def test_the_profile_of_an_avif_takes_precedence_over_code_points() -> None:
    file = io.BytesIO()
    profile = matrix_profile(ADOBE_RGB, GAMMA_2_2)
    Image.fromarray(flat(64, 64, PATCH)).save(
        file, "AVIF", quality=100, subsampling="4:4:4", icc_profile=profile
    )
    by_profile, by_points = (
        decoded(upload).rgb[0, 0].tolist()
        for upload in (file.getvalue(), file.getvalue().replace(b"colrnclx", b"freenclx"))
    )

    assert by_profile == by_points
    assert abs(by_profile[0] - 200) > 10


def pq_number(nits: float) -> float:
    """BT.2100, table 4: the inverse EOTF."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    y = (nits / 10_000) ** m1
    return float(((c1 + c2 * y) / (1 + c3 * y)) ** m2)


def hlg_number(nits: float) -> float:
    """BT.2100, table 5, for a grey on a display of 1000 cd/m²: inverse OOTF, then OETF."""
    scene = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return float(np.sqrt(3 * scene) if scene <= 1 / 12 else a * np.log(12 * scene - b) + c)


def tone_mapped(nits: float) -> float:
    """Apply the documented curve: unchanged up to half of 203 cd/m², then approaching 1."""
    light = nits / 203
    return light if light <= 0.5 else float(1 - 0.5 * np.exp(1 - 2 * light))


HIGH_RANGES = [(16, pq_number), (18, hlg_number)]


@pytest.mark.parametrize(("transfer", "number_of"), HIGH_RANGES, ids=["pq", "hlg"])
@pytest.mark.parametrize("nits", [0.0, 20.3, 101.5, 203.0, 500.0, 1000.0])
@pytest.mark.parametrize("primaries", [1, 9])
def test_a_grey_of_a_high_range_is_tone_mapped(  # type: ignore[no-untyped-def]
    transfer: int, number_of, nits: float, primaries: int
) -> None:
    level = round(255 * number_of(nits))
    upload = with_chunks(png(flat(4, 4, (level,) * 3)), (b"cICP", bytes((primaries, transfer, 0, 1))))
    actual = decoded(upload)
    darker, lighter = (255 * srgb_number(np.array(tone_mapped(part * nits))) for part in (0.94, 1.06))

    assert np.ptp(actual.rgb[0, 0].astype(int)) <= 1
    assert darker - 1.5 <= actual.rgb[0, 0, 0] <= lighter + 1.5
    assert ("tone_mapped",) == actual.warnings


def test_moderate_light_of_a_high_range_is_not_compressed() -> None:
    nits = np.array([60.0, 80.0, 40.0])
    red, green, blue = (round(255 * pq_number(float(n))) for n in nits)
    upload = with_chunks(png(flat(4, 4, (red, green, blue))), (b"cICP", bytes((9, 16, 0, 1))))

    assert np.abs(decoded(upload).rgb[0, 0] - converted(nits / 203, BT2020_TO_709)).max() < 5


@pytest.mark.parametrize("transfer", [16, 18])
def test_tone_mapping_is_monotonic(transfer: int) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    levels = decoded(with_chunks(png(ramp), (b"cICP", bytes((9, transfer, 0, 1))))).rgb[0, :, 1].astype(int)

    assert np.diff(levels).min() >= 0
    assert levels[0] == 0
    assert levels[-1] >= 254


@pytest.mark.parametrize("encode", MODERN, ids=["avif", "heic"])
@pytest.mark.parametrize(("transfer", "number_of"), HIGH_RANGES, ids=["pq", "hlg"])
def test_an_avif_and_a_heic_of_a_high_range_are_tone_mapped(  # type: ignore[no-untyped-def]
    encode, transfer: int, number_of
) -> None:
    if encode is heic:
        pytest.importorskip("pillow_heif")
    level = round(255 * number_of(203.0))
    actual = decoded(with_nclx(encode(flat(64, 64, (level,) * 3)), 9, transfer))

    assert np.abs(actual.rgb[32, 32] - 255 * srgb_number(np.array(tone_mapped(203.0)))).max() < 4
    assert ("tone_mapped",) == actual.warnings
