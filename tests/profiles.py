"""Profiles: ICC profiles built by hand, so that tests know the exact result of a conversion."""

import struct
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# CIE xy of the primaries, all with the white of D65.
SRGB = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
D65 = (0.3127, 0.3290)
D50_XYZ = (0.9642, 1.0, 0.8249)

SRGB_CURVE = struct.pack(
    ">4sIHH5i",
    b"para",
    0,
    3,
    0,
    *(round(65536 * x) for x in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)
GAMMA_2_2 = struct.pack(">4sIIHxx", b"curv", 0, 1, 563)  # 563 / 256, as Adobe RGB has it


def to_xyz(primaries: Sequence[tuple[float, float]]) -> Floats:
    """Return the matrix from linear light to CIE XYZ, relative to D65, for primaries' chromaticities."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    return columns * np.linalg.solve(columns, white)


def to_d50(xyz: Floats) -> Floats:
    """Adapt columns of XYZ from D65 to D50 with the Bradford transform."""
    cones = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    white = np.array([D65[0] / D65[1], 1, (1 - D65[0] - D65[1]) / D65[1]])
    gains = cones @ np.array(D50_XYZ) / (cones @ white)
    return np.linalg.inv(cones) @ np.diag(gains) @ cones @ xyz


def matrix_profile(primaries: Sequence[tuple[float, float]], curve: bytes) -> bytes:
    """Build an RGB display profile with three equal curves and a matrix."""
    columns = to_d50(to_xyz(primaries)).T
    tags = {name: xyz_tag(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    return profile(b"RGB ", {**tags, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def grey_profile(curve: bytes) -> bytes:
    """Build a grey display profile."""
    return profile(b"GRAY", {b"kTRC": curve})


def table_profile(space: bytes, to_lab: Callable[[Floats], Floats], *, points: int = 9) -> bytes:
    """Build a profile that maps device colours to D50 Lab with a table (``lut8Type``).

    Args:
        space: ``b"RGB "`` or ``b"CMYK"``.
        to_lab: Returns Lab for (n, channels) device colours in [0, 1].
        points: The number of grid points of the table per side.
    """
    channels = len(space.strip())
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, points)] * channels, indexing="ij"), axis=-1)
    lab = to_lab(grid.reshape(-1, channels)) * (2.55, 1, 1) + (0, 128, 128)
    table = np.clip(np.rint(lab), 0, 255).astype(np.uint8).tobytes()
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    head = struct.pack(">4sIBBBx", b"mft1", 0, channels, 3, points)
    ramps = bytes(range(256))
    return profile(
        space, {b"A2B0": head + identity + ramps * channels + table + ramps * 3}, connection=b"Lab "
    )


def profile(
    space: bytes, tags: Mapping[bytes, bytes], *, connection: bytes = b"XYZ ", kind: bytes = b"mntr"
) -> bytes:
    """Build a version 4 profile with the given tags."""
    table, content, start = b"", b"", 132 + 12 * (len(tags) + 1)
    for name, tag in {**tags, b"wtpt": xyz_tag(np.array(D50_XYZ))}.items():
        table += struct.pack(">4sII", name, start + len(content), len(tag))
        content += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4xI4s4s4s", start + len(content), 0x04200000, kind, space, connection)
    white = struct.pack(">3i", *(round(65536 * x) for x in D50_XYZ))
    head += bytes(12) + b"acsp" + bytes(28) + white
    return head.ljust(128, b"\x00") + struct.pack(">I", len(tags) + 1) + table + content


def xyz_tag(xyz: Floats) -> bytes:
    """Build a tag of one XYZ value."""
    return struct.pack(">4sI3i", b"XYZ ", 0, *(round(65536 * float(x)) for x in xyz))


def table_curve(samples: Sequence[int]) -> bytes:
    """Build a tone curve from 16-bit samples."""
    return struct.pack(f">4sII{len(samples)}H", b"curv", 0, len(samples), *samples)


def parametric_curve(kind: int, *parameters: float) -> bytes:
    """Build a parametric tone curve of an ICC function type."""
    fixed = [round(65536 * x) for x in parameters]
    return struct.pack(f">4sIHH{len(fixed)}i", b"para", 0, kind, 0, *fixed)


def delta_e(one: Floats, other: Floats) -> Floats:
    """Return the CIE 1976 colour differences between two arrays of sRGB in [0, 1]."""
    return np.asarray(np.linalg.norm(srgb_to_lab(one) - srgb_to_lab(other), axis=-1))


def srgb_to_lab(srgb: Floats) -> Floats:
    """Return CIE Lab of sRGB in [0, 1], relative to the white point of sRGB."""
    xyz = to_linear(srgb) @ to_xyz(SRGB).T / (to_xyz(SRGB) @ np.ones(3))
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def to_linear(srgb: Floats) -> Floats:
    """Return the linear light of sRGB in [0, 1]."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def from_linear(light: Floats) -> Floats:
    """Return sRGB of linear light, clipped to [0, 1]."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
