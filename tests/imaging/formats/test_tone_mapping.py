"""Tone mapping: PQ and HLG, by the curves of BT.2100, are compressed to sRGB's range."""

import numpy as np
import pytest

from tests.imaging.colours import (
    BT2020_TO_709,
    MODERN,
    converted,
    decoded,
    srgb_number,
    with_chunks,
    with_nclx,
)
from tests.pictures import flat, heic, png


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
