"""ICC: reads a profile's curves and matrix, which map stored numbers to linear light.

Strategy: nearly every profile in a photograph is of the simplest kind, three curves and a matrix; cameras
and phones write no other. This module reads that kind by hand, so that untrusted bytes pass through two
dozen lines of bounded Python, and so that the conversion takes a fifth of LittleCMS's time. Clauses are those
of ICC.1.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_MAX_TAGS = 100
_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
_D50 = (0.9642, 1.0, 0.8249)  # clause 7.2.16, the white of the connection space
_WHITE_TOLERANCE = 0.15  # profiles of the nineties give their white unadapted
_PARAMETERS = (1, 3, 4, 5, 7)  # of the parametric curves, by type: clause 10.18


class UnusableProfileError(Exception):
    """The profile is broken, hostile, or not for the picture's colour space."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile with a valid header and tag table; ``space`` is GRAY, RGB or CMYK."""

    encoded: bytes
    space: str
    tags: Mapping[bytes, bytes]

    @property
    def has_tables(self) -> bool:
        """Whether the profile has multi-dimensional tables, which take precedence over a matrix."""
        return any(name in self.tags for name in (b"A2B0", b"A2B1", b"D2B0", b"D2B1"))


def read_profile(encoded: bytes) -> Profile:
    """Read a profile's header and tag table (clauses 7.2, 7.3).

    Raises:
        UnusableProfileError: They are broken, or the profile's class does not occur in pictures.
    """
    if len(encoded) < 132 or encoded[36:40] != b"acsp" or encoded[12:16] not in _CLASSES:
        raise UnusableProfileError
    space = encoded[16:20].decode("latin-1").strip()
    size, count = struct.unpack_from(">I124xI", encoded)
    if space not in ("GRAY", "RGB", "CMYK") or size > len(encoded) or count > _MAX_TAGS:
        raise UnusableProfileError
    tags: dict[bytes, bytes] = {}
    contents: dict[tuple[int, int], bytes] = {}  # tags often share curves and tables: kept once in memory
    for at in range(132, 132 + 12 * count, 12):
        if at + 12 > size:
            raise UnusableProfileError
        name, start, length = struct.unpack_from(">4sII", encoded, at)
        if start + length > size:
            raise UnusableProfileError
        if (start, length) not in contents:
            contents[start, length] = encoded[start : start + length]
            if sum(map(len, contents.values())) > 2 * len(encoded):
                raise UnusableProfileError  # overlapping tags
        tags[name] = contents[start, length]
    return Profile(encoded, space, tags)


def read_curve(tag: bytes | None) -> Floats:
    """Read a curve tag: the linear light, in [0, 1], of each of a byte's 256 values.

    Raises:
        UnusableProfileError: The tag is missing, broken, not a curve, or does not rise.
    """
    if tag is None or len(tag) < 12:
        raise UnusableProfileError
    stored = np.linspace(0, 1, 256)
    with np.errstate(all="ignore"):
        light = _sampled_curve(tag, stored) if tag[:4] == b"curv" else _parametric_curve(tag, stored)
    if not np.isfinite(light).all() or light[-1] <= light[0]:
        raise UnusableProfileError
    return np.clip(light, 0, 1)


def read_matrix(profile: Profile) -> Floats:
    """Read the matrix from linear device colours to CIE XYZ relative to D50, (3, 3).

    Raises:
        UnusableProfileError: The matrix is missing, broken or singular, or its white is far from D50.
    """
    if profile.encoded[20:24] != b"XYZ ":
        raise UnusableProfileError
    columns = [_xyz(profile.tags.get(name)) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    matrix = np.array(columns).T
    if abs(np.linalg.det(matrix)) < 1e-4 or np.abs(matrix.sum(axis=1) - _D50).max() > _WHITE_TOLERANCE:
        raise UnusableProfileError
    return matrix


def _xyz(tag: bytes | None) -> Floats:
    if tag is None or len(tag) < 20 or tag[:4] != b"XYZ ":
        raise UnusableProfileError
    return _fixed(tag, 8, 3)


def _sampled_curve(tag: bytes, stored: Floats) -> Floats:
    """Read a curve of no samples (the identity), one (a gamma) or many (a table): clause 10.6."""
    (count,) = struct.unpack_from(">I", tag, 8)
    if 12 + 2 * count > len(tag):
        raise UnusableProfileError
    if count == 0:
        return stored
    samples = np.frombuffer(tag, ">u2", count, 12)
    if count == 1:
        return np.asarray(np.power(stored, samples[0] / 256), np.float64)
    return np.interp(stored, np.linspace(0, 1, count), samples / 65535)


def _parametric_curve(tag: bytes, stored: Floats) -> Floats:
    """Read a curve ``(a x + b)^g + e``, which is the line ``c x + f`` below ``d``: clause 10.18."""
    kind = int.from_bytes(tag[8:10], "big")
    if tag[:4] != b"para" or kind >= len(_PARAMETERS) or len(tag) < 12 + 4 * _PARAMETERS[kind]:
        raise UnusableProfileError
    parameters = _fixed(tag, 12, _PARAMETERS[kind]).tolist()
    g, a, b, c, d, e, f = parameters + [0.0] * (7 - len(parameters))
    if kind == 0:
        a, d = 1.0, 0.0
    elif kind in (1, 2):
        if a == 0:
            raise UnusableProfileError
        c, d, e, f = 0.0, -b / a, c, c
    above = np.power(np.maximum(a * stored + b, 0), g) + e
    return np.asarray(np.where(stored >= d, above, c * stored + f), np.float64)


def _fixed(tag: bytes, start: int, count: int) -> Floats:
    """Read fixed-point numbers with 16 bits before and 16 after the point."""
    return np.asarray(np.frombuffer(tag, ">i4", count, start) / 65536, np.float64)
