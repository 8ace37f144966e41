import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from app.imaging.formats.icc import UnusableProfileError, read_curve, read_matrix, read_profile
from tests.peaks import peak_bytes
from tests.profiles import (
    ADOBE_RGB,
    D50_XYZ,
    DISPLAY_P3,
    GAMMA_2_2,
    SRGB,
    SRGB_CURVE,
    grey_profile,
    matrix_profile,
    parametric_curve,
    profile,
    table_curve,
    to_d50,
    to_linear,
    to_xyz,
    xyz_tag,
)

LEVELS = np.arange(256) / 255
PROFILE = matrix_profile(DISPLAY_P3, SRGB_CURVE)


def test_header_and_tags_are_read() -> None:
    actual = read_profile(PROFILE)

    assert ("RGB", False, SRGB_CURVE) == (actual.space, actual.has_tables, actual.tags[b"gTRC"])


@pytest.mark.parametrize("primaries", [SRGB, DISPLAY_P3, ADOBE_RGB])
def test_the_matrix_is_that_of_the_primaries(primaries: tuple[tuple[float, float], ...]) -> None:
    actual = read_matrix(read_profile(matrix_profile(primaries, SRGB_CURVE)))

    assert_allclose(actual, to_d50(to_xyz(primaries)), atol=1 / 65536)


def test_a_gamma_is_a_power() -> None:
    assert_allclose(read_curve(GAMMA_2_2), LEVELS ** (563 / 256), atol=1e-12)


def test_a_curve_without_samples_is_the_identity() -> None:
    assert_allclose(read_curve(table_curve([])), LEVELS)


def test_a_table_is_interpolated() -> None:
    """Three samples at 0, 1/2 and 1 give one line up to the middle and another from there."""
    expected = [2 * x * 0.2 if x <= 0.5 else 0.2 + (2 * x - 1) * 0.8 for x in LEVELS]

    assert_allclose(read_curve(table_curve([0, 13107, 65535])), expected, atol=1e-5)


def test_the_srgb_curve_is_the_published_one() -> None:
    assert_allclose(read_curve(SRGB_CURVE), to_linear(LEVELS), atol=1e-4)


@pytest.mark.parametrize("kind", range(5))
def test_every_parametric_curve_follows_its_formula(kind: int) -> None:
    g, a, b, c, d, e, f = 2.0, 0.75, 0.25, 0.5, 0.125, 0.03125, 0.0625
    given_ = ((g,), (g, a, -b), (g, a, -b, c), (g, a, b, c, d), (g, a, b, c, d, e, f))[kind]
    formula = (
        lambda x: x**g,
        lambda x: (a * x - b) ** g if x >= b / a else 0,
        lambda x: (a * x - b) ** g + c if x >= b / a else c,
        lambda x: (a * x + b) ** g if x >= d else c * x,
        lambda x: (a * x + b) ** g + e if x >= d else c * x + f,
    )[kind]
    expected = np.clip([formula(x) for x in LEVELS], 0, 1)

    assert_allclose(read_curve(parametric_curve(kind, *given_)), expected, atol=1e-9)


@pytest.mark.parametrize(
    "tag",
    [
        None,
        b"",
        b"curv" + bytes(4),
        struct.pack(">4sII", b"curv", 0, 2**31),
        table_curve([65535, 0]),
        table_curve([7, 7, 7]),
        parametric_curve(9, 1.0),
        parametric_curve(3, 2.4),
        parametric_curve(1, 2.4, 0.0, 1.0),
        parametric_curve(0, -1.0),
        xyz_tag(np.ones(3)),
    ],
    ids=[
        "none", "empty", "cut", "countless", "falling", "level", "unknown", "few", "no slope", "pole", "XYZ"
    ],
)  # fmt: skip
def test_a_broken_curve_is_unusable(tag: bytes | None) -> None:
    with pytest.raises(UnusableProfileError):
        read_curve(tag)


def _columns(**tags: bytes) -> bytes:
    columns = to_d50(to_xyz(SRGB)).T
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    known = {name: xyz_tag(column) for name, column in zip(names, columns, strict=True)}
    return profile(b"RGB ", {**known, **{name.encode(): tag for name, tag in tags.items()}})


@pytest.mark.parametrize(
    "encoded",
    [
        _columns(gXYZ=b"XYZ "),
        _columns(gXYZ=SRGB_CURVE),
        _columns(gXYZ=xyz_tag(np.zeros(3))),
        _columns(gXYZ=xyz_tag(np.array(D50_XYZ) * 30)),
        profile(b"RGB ", {}),
        profile(b"RGB ", {}, connection=b"Lab "),
    ],
    ids=["cut", "a curve", "no inverse", "blinding white", "missing", "Lab"],
)
def test_a_broken_matrix_is_unusable(encoded: bytes) -> None:
    with pytest.raises(UnusableProfileError):
        read_matrix(read_profile(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        PROFILE[:131],
        PROFILE[:-1],
        bytes(400),
        profile(b"Lab ", {}),
        profile(b"RGB ", {}, kind=b"link"),
        PROFILE[:128] + struct.pack(">I", 2**31) + PROFILE[132:],
        PROFILE[:136] + struct.pack(">II", 2**31, 2**31) + PROFILE[144:],
    ],
    ids=[
        "empty",
        "cut header",
        "cut end",
        "zeros",
        "Lab pictures",
        "device link",
        "countless tags",
        "far tag",
    ],
)
def test_a_broken_profile_is_unusable(encoded: bytes) -> None:
    with pytest.raises(UnusableProfileError):
        read_profile(encoded)


@given(at=st.integers(0, len(PROFILE) - 1), junk=st.binary(min_size=1, max_size=8), is_grey=st.booleans())
def test_any_mutation_raises_only_unusable_profile_errors(at: int, junk: bytes, is_grey: bool) -> None:
    whole = grey_profile(GAMMA_2_2) if is_grey else PROFILE
    try:
        actual = read_profile(whole[:at] + junk + whole[at + len(junk) :])
        curve = read_curve(actual.tags.get(b"kTRC" if is_grey else b"rTRC"))
        matrix = np.eye(3) if is_grey else read_matrix(actual)
    except UnusableProfileError:
        return

    assert np.isfinite(curve).all()
    assert np.isfinite(matrix).all()


def test_overlapping_tags_are_refused_and_shared_tags_are_kept_once() -> None:
    """A hundred tags of a profile may share a curve, but must not overlap in part."""
    size, count = 400_000, 100
    header = bytearray(bytes(132))
    struct.pack_into(">I124xI", header, 0, size, count)
    header[12:16], header[16:20], header[36:40] = b"mntr", b"RGB ", b"acsp"
    shared, nested = (
        b"".join(struct.pack(">4sII", b"t%03d" % n, 2000 + step * n, size - 4000) for n in range(count))
        for step in (0, 1)
    )
    one = read_profile((bytes(header) + shared).ljust(size, b"\x00"))

    assert len(one.tags) == count
    assert len({id(tag) for tag in one.tags.values()}) == 1

    def read_nested() -> None:
        with pytest.raises(UnusableProfileError):
            read_profile((bytes(header) + nested).ljust(size, b"\x00"))

    assert peak_bytes(read_nested) <= 5 * size + 2**20
