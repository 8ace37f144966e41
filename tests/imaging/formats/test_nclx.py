"""Code points of an AVIF or HEIC: its colours are converted by its nclx box, or by its coded data."""

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from tests.grids import grid_of, single, tile_of
from tests.imaging.colours import (
    BT2020_TO_709,
    IGNORED,
    MODERN,
    P3_TO_SRGB,
    PATCH,
    SAME,
    converted,
    decoded,
    srgb_light,
    with_nclx,
)
from tests.pictures import avif, flat, heic, photo
from tests.profiles import ADOBE_RGB, DISPLAY_P3, GAMMA_2_2, SRGB_CURVE, matrix_profile


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
