import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.imaging.formats.colour import to_srgb
from tests.generated import examples
from tests.pictures import noise, photo
from tests.profiles import (
    ADOBE_RGB,
    D50_XYZ,
    DISPLAY_P3,
    GAMMA_2_2,
    SRGB,
    SRGB_CURVE,
    delta_e,
    from_linear,
    grey_profile,
    matrix_profile,
    parametric_curve,
    table_curve,
    table_profile,
    to_d50,
    to_linear,
    to_xyz,
)

Floats = NDArray[np.float64]

PICTURE = photo(40, 60)
P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE)
WORKING_SPACES = {
    "DisplayP3": (DISPLAY_P3, to_linear),
    "AdobeCompat": (ADOBE_RGB, lambda stored: stored ** (563 / 256)),
}
FILES = [
    f"{name}-{version}.icc"
    for name, versions in {
        "AdobeCompat": ("v2", "v4"),
        "DisplayP3": ("v2-magic", "v2-micro", "v4"),
        "DisplayP3Compat": ("v2-magic", "v2-micro", "v4"),
        "ProPhoto": ("v2-magic", "v2-micro", "v4"),
        "Rec2020": ("v2-magic", "v2-micro", "v4"),
        "Rec2020-g24": ("v4",),
    }.items()
    for version in versions
]


def test_without_a_profile_colours_are_unchanged() -> None:
    rgb, is_ignored = to_srgb(PICTURE, None)

    assert (True, False) == (rgb is PICTURE, is_ignored)


@pytest.mark.parametrize("name", [name for name in FILES if name.partition("-")[0] in WORKING_SPACES])
def test_a_published_profile_agrees_with_the_published_formulas(shared_data: Path, name: str) -> None:
    """P3 and Adobe RGB have the white of sRGB, so the chromaticities alone give the reference."""
    profile = (shared_data / "icc" / name).read_bytes()
    for stored in (PICTURE, noise((64, 64, 3))):
        rgb, is_ignored = to_srgb(stored, profile)
        difference = delta_e(rgb / 255, _reference(stored / 255, name.partition("-")[0]))

        assert not is_ignored
        assert difference.mean() < 0.5
        assert difference.max() < 4


@pytest.mark.parametrize("name", FILES)
def test_a_matrix_profile_agrees_with_littlecms(shared_data: Path, name: str) -> None:
    profile, stored = (shared_data / "icc" / name).read_bytes(), noise((128, 128, 3))
    rgb, _ = to_srgb(stored, profile)

    assert np.abs(rgb.astype(int) - _littlecms(stored, profile)).max() <= 1


@pytest.mark.parametrize("version", ["v2-magic", "v2-micro", "v2-nano", "v4"])
def test_every_srgb_profile_is_recognised(shared_data: Path, version: str) -> None:
    rgb, is_ignored = to_srgb(PICTURE, (shared_data / "icc" / f"sRGB-{version}.icc").read_bytes())

    assert (True, False) == (rgb is PICTURE, is_ignored)


def test_each_channel_has_its_own_curve() -> None:
    columns = matrix_profile(SRGB, SRGB_CURVE)
    steep = columns.replace(SRGB_CURVE, parametric_curve(0, 3.0) + bytes(16), 1)  # of the red one, the first
    rgb, _ = to_srgb(PICTURE, steep)
    expected = np.rint(255 * from_linear((PICTURE[:, :, 0] / 255) ** 3.0))

    assert np.abs(rgb[:, :, 0] - expected).max() <= 1
    assert_array_equal(rgb[:, :, 1:], PICTURE[:, :, 1:])


def test_a_grey_profile_gives_neutral_greys() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    rgb, is_ignored = to_srgb(ramp, grey_profile(parametric_curve(0, 1.8)))
    expected = np.rint(255 * from_linear((np.arange(256) / 255) ** 1.8))

    assert not is_ignored
    assert_array_equal(rgb[0], np.stack([expected] * 3, axis=1))


def test_cmyk_is_converted_by_its_profiles_tables() -> None:
    """The profile's press prints magenta from the cyan channel, yellow from the magenta one, and so on."""
    inks = noise((48, 48, 4))
    profile = table_profile(b"CMYK", lambda ink: _lab((1 - ink[:, [2, 0, 1]]) * (1 - ink[:, 3:])))
    rgb, is_ignored = to_srgb(inks, profile)
    ink = inks / 255
    expected = 255 * (1 - ink[:, :, [2, 0, 1]]) * (1 - ink[:, :, 3:])

    assert not is_ignored
    assert np.abs(rgb - expected).mean() < 1.5


def test_rgb_is_converted_by_its_profiles_tables() -> None:
    stored = noise((48, 48, 3))
    rgb, is_ignored = to_srgb(stored, table_profile(b"RGB ", lambda c: _lab(c[:, [2, 0, 1]]), points=17))

    assert not is_ignored
    assert np.abs(rgb - stored[:, :, [2, 0, 1]].astype(float)).mean() < 1


def test_cmyk_without_a_profile_is_converted_as_by_pillow() -> None:
    inks = noise((300, 400, 4))
    rgb, _ = to_srgb(inks, None)
    expected = np.asarray(Image.frombytes("CMYK", (400, 300), inks.tobytes()).convert("RGB"))

    assert_array_equal(rgb, expected)


@pytest.mark.parametrize("stored", [PICTURE, PICTURE[:, :, 0], noise((4, 5, 4))], ids=["rgb", "grey", "cmyk"])
def test_a_profile_for_another_colour_space_is_ignored(stored: NDArray[np.uint8]) -> None:
    spaces = {
        2: [P3, table_profile(b"CMYK", lambda ink: _lab(1 - ink[:, :3]), points=3)],
        3: [grey_profile(GAMMA_2_2), table_profile(b"CMYK", lambda ink: _lab(1 - ink[:, :3]), points=3)],
    }
    others = [P3, grey_profile(GAMMA_2_2)] if stored.shape[2:] == (4,) else spaces[stored.ndim]
    for profile in others:
        rgb, is_ignored = to_srgb(stored, profile)

        assert is_ignored
        assert_array_equal(rgb, to_srgb(stored, None)[0])


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"not a profile",
        P3[:300],
        matrix_profile(DISPLAY_P3, table_curve([9, 9])),
        table_profile(b"RGB ", lambda c: 100 * c, points=3).replace(b"mft1", b"xxxx"),
    ],
    ids=["empty", "text", "cut", "flat curves", "unknown tables"],
)
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    rgb, is_ignored = to_srgb(PICTURE, profile)

    assert (True, True) == (rgb is PICTURE, is_ignored)


def test_tiles_leave_no_seam() -> None:
    stored = noise((9, 70_000, 3))
    whole, _ = to_srgb(stored, P3)
    parts = [to_srgb(np.ascontiguousarray(stored[row : row + 1]), P3)[0] for row in range(9)]

    assert_array_equal(whole, np.concatenate(parts))


def test_the_stored_colours_are_not_modified() -> None:
    stored = PICTURE.copy()
    to_srgb(stored, P3)

    assert_array_equal(stored, PICTURE)


@given(at=st.integers(0, 5000), junk=st.binary(min_size=1, max_size=8), has_tables=st.booleans())
@examples(2)
def test_no_mutated_profile_fails_the_picture(at: int, junk: bytes, has_tables: bool) -> None:
    whole = table_profile(b"RGB ", lambda c: 100 * c, points=3) if has_tables else P3
    position = at % len(whole)
    rgb, _ = to_srgb(PICTURE, whole[:position] + junk + whole[position + len(junk) :])

    assert PICTURE.shape == rgb.shape


def _reference(stored: Floats, space: str) -> Floats:
    primaries, linearise = WORKING_SPACES[space]
    return from_linear(linearise(stored) @ (np.linalg.inv(to_xyz(SRGB)) @ to_xyz(primaries)).T)


def _littlecms(stored: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    return np.asarray(transform.apply(Image.fromarray(stored)))


def _lab(srgb: Floats) -> Floats:
    """Return CIE Lab, relative to D50, of sRGB in [0, 1]."""
    xyz = to_linear(srgb) @ to_d50(to_xyz(SRGB)).T / np.array(D50_XYZ)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[:, 0], root[:, 1], root[:, 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
