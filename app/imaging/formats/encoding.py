"""Encoding: maps stored numbers to linear light, for files that define their colours without an ICC profile.

Such files use code points (ITU-T H.273: AVIF's and HEIC's nclx, PNG's cICP), or a gamma and chromaticities
(PNG's gAMA and cHRM). Light is relative to sRGB's white; in the two high dynamic ranges of ITU-R BT.2100, PQ
and HLG, it is relative to the reference white of 203 cd/m² (BT.2408), and exceeds 1.

Rule 1: BT.709's transfer function and its relatives are taken for sRGB's, as in browsers: pictures that
    declare them were viewed and edited on screens.
Rule 2: a gamma within a twentieth of 1/2.2 is taken for sRGB's, as in libpng: editors have always written it
    into pictures that are sRGB.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.imaging.formats.icc import Floats

Point = tuple[float, float]
Chromaticities = tuple[Point, Point, Point, Point]
"""CIE 1931 (x, y) of red, green, blue and white."""

_D65, _C, _E, _DCI = (0.3127, 0.3290), (0.310, 0.316), (1 / 3, 1 / 3), (0.314, 0.351)
SRGB: Chromaticities = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
_SMPTE_170M: Chromaticities = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
UNSPECIFIED = 2
PRIMARIES: Mapping[int, Chromaticities] = {
    1: SRGB,
    UNSPECIFIED: SRGB,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: _SMPTE_170M,
    7: _SMPTE_170M,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), _E),
    11: (*_P3, _DCI),
    12: (*_P3, _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""By ColourPrimaries, H.273, table 2."""

_REFERENCE_WHITE, _PQ_PEAK, _HLG_PEAK = 203.0, 10_000.0, 1_000.0  # cd/m²
_SRGB_GAMMA, _GAMMA_TOLERANCE = 1 / 2.2, 0.05
_MIN_GAMMA, _MAX_GAMMA = 0.1, 10.0
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True, slots=True)
class Encoding:
    """The mapping from a picture's numbers to sRGB light.

    Attributes:
        light: From numbers in [0, 1] to linear light, per channel.
        to_srgb: (3, 3), from linear light of the picture's primaries to that of sRGB's.
        has_high_range: Light exceeds 1, and needs tone mapping.
        ootf_gamma: With a high range, the exponent of luminance that turns scene light into display light.
        is_full_range: 8-bit numbers begin at 0 and end at 255, not at 16 and 235.
    """

    light: Callable[[Floats], Floats]
    to_srgb: Floats
    has_high_range: bool = False
    ootf_gamma: float = 1.0
    is_full_range: bool = True

    def curve(self, levels: int) -> Floats:
        """Return the light of each of ``levels`` evenly spaced numbers."""
        numbers = np.linspace(0, 1, levels)
        if not self.is_full_range:
            numbers = np.clip((numbers * 255 - 16) / 219, 0, 1)
        return self.light(numbers)

    @property
    def is_curved_as_srgb(self) -> bool:
        """Whether the numbers follow sRGB's curve, so that 8 bits are enough."""
        return self.light is _srgb and self.is_full_range

    def with_srgb_curve(self) -> "Encoding":
        """Return the encoding with the same primaries and sRGB's curve."""
        return replace(self, light=_srgb, is_full_range=True)


def encoding_of_code_points(primaries: int, transfer: int, *, is_full_range: bool = True) -> Encoding | None:
    """Return the encoding of code points, ``None`` if one of them is not supported.

    Args:
        primaries: ColourPrimaries.
        transfer: TransferCharacteristics.
        is_full_range: VideoFullRangeFlag, unless the conversion to RGB has applied it.
    """
    chromaticities, light = PRIMARIES.get(primaries), _TRANSFERS.get(transfer)
    if chromaticities is None or light is None:
        return None
    return Encoding(
        light,
        _to_srgb(chromaticities),
        has_high_range=transfer in (_PQ, _HLG),
        ootf_gamma=1.2 if transfer == _HLG else 1.0,
        is_full_range=is_full_range,
    )


def encoding_of_gamma(gamma: float | None, chromaticities: Chromaticities | None) -> Encoding | None:
    """Return the encoding of PNG's gAMA and cHRM, ``None`` if they are unusable.

    Args:
        gamma: Exponent from light to numbers, such as 0.45455; ``None`` is that of sRGB.
        chromaticities: ``None`` are those of sRGB.
    """
    light: Callable[[Floats], Floats] = _srgb
    if gamma is not None:
        if not _MIN_GAMMA <= gamma <= _MAX_GAMMA:
            return None
        if abs(gamma / _SRGB_GAMMA - 1) > _GAMMA_TOLERANCE:
            light = _power(1 / gamma)
    try:
        matrix = _to_srgb(chromaticities or SRGB)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    return Encoding(light, matrix) if np.isfinite(matrix).all() and np.abs(matrix).max() < 100 else None


def _to_srgb(chromaticities: Chromaticities) -> Floats:
    """Return the matrix from linear light of the given primaries to sRGB's, mapping white to white."""
    if chromaticities == SRGB:
        return np.eye(3)
    return np.linalg.inv(_to_xyz(SRGB)) @ _adaptation(chromaticities[3], SRGB[3]) @ _to_xyz(chromaticities)


def _to_xyz(chromaticities: Chromaticities) -> Floats:
    """Return the matrix from linear light to CIE XYZ, in which white has a Y of 1 (SMPTE RP 177)."""
    *primaries, white = chromaticities
    columns = np.array([(x, y, 1 - x - y) for x, y in primaries]).T
    return columns * np.linalg.solve(columns, _white(white))


def _white(point: Point) -> Floats:
    x, y = point
    return np.array((x / y, 1.0, (1 - x - y) / y))


def _adaptation(source: Point, target: Point) -> Floats:
    """Return Bradford's chromatic adaptation matrix from one white to another."""
    gains = (_BRADFORD @ _white(target)) / (_BRADFORD @ _white(source))
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD, np.float64)


def _srgb(numbers: Floats) -> Floats:
    """Decode sRGB (IEC 61966-2-1)."""
    return np.where(numbers <= 0.04045, numbers / 12.92, np.power((numbers + 0.055) / 1.055, 2.4))


def _power(exponent: float, scale: float = 1.0) -> Callable[[Floats], Floats]:
    return lambda numbers: np.asarray(scale * np.power(numbers, exponent), np.float64)


def _pq(numbers: Floats) -> Floats:
    """Apply the EOTF of PQ (ITU-R BT.2100, table 4)."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = np.power(numbers, 1 / m2)
    light = np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)
    return np.asarray(light * (_PQ_PEAK / _REFERENCE_WHITE), np.float64)


def _hlg(numbers: Floats) -> Floats:
    """Apply the inverse OETF of HLG (ITU-R BT.2100, table 5), scaled for a display of 1000 cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(numbers <= 0.5, numbers**2 / 3, (np.exp((numbers - c) / a) + b) / 12)
    return np.asarray(scene * (_HLG_PEAK / _REFERENCE_WHITE), np.float64)


def luminance_weights() -> Sequence[float]:
    """Return the weights of red, green and blue in the luminance of BT.2100, table 5."""
    return 0.2627, 0.6780, 0.0593


HLG_SCALE = _HLG_PEAK / _REFERENCE_WHITE
_PQ, _HLG = 16, 18
_TRANSFERS: Mapping[int, Callable[[Floats], Floats]] = {
    **dict.fromkeys((1, UNSPECIFIED, 6, 7, 11, 12, 13, 14, 15), _srgb),
    4: _power(2.2),
    5: _power(2.8),
    8: _power(1.0),
    _PQ: _pq,
    17: _power(2.6, 52.37 / 48),
    _HLG: _hlg,
}
"""By TransferCharacteristics, H.273, table 3."""
