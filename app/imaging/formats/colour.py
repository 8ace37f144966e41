"""Colour: converts stored colours to sRGB, by the picture's ICC profile or its other colour metadata.

A profile of curves and a matrix is applied in three steps on whole tiles: a table to 16-bit linear light, the
matrix, a table back to 8 bits. LittleCMS applies profiles with tables (those of presses, scanners, and CMYK).
Colours outside sRGB are clipped in linear light, channel by channel, as LittleCMS does.

Of PQ and HLG, light up to half of the reference white stays as it is; brighter light is compressed towards
sRGB's white by ``1 - 0.5 exp(1 - 2 x)``, which maps the reference white to 0.82 and every highlight to at
most 1.
"""

import io
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.arrays import Rgb
from app.imaging.formats.encoding import HLG_SCALE, Encoding, luminance_weights
from app.imaging.formats.icc import (
    Floats,
    Profile,
    UnusableProfileError,
    read_curve,
    read_matrix,
    read_profile,
)

_Pixels = NDArray[np.uint8]

_TILE_PX = 65_536  # a tile and its 16-bit copy stay in a core's cache
# CIE XYZ of the sRGB primaries relative to D50 (IEC 61966-2-1, adapted by Bradford's transform), by column.
_SRGB_TO_XYZ = (
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
SHOULDER_FROM = 0.5
"""Light of a high dynamic range above which it is compressed, as a fraction of the reference white."""
_SAME = 0.75  # 8-bit levels: a profile that changes no colour by more is equivalent to sRGB


def to_srgb(stored: _Pixels, profile: bytes | None, encoding: Encoding | None = None) -> tuple[Rgb, bool]:
    """Convert stored colours to sRGB.

    Args:
        stored: uint8 (H, W) grey, (H, W, 3) RGB or (H, W, 4) CMYK with 255 for full ink.
        profile: The embedded ICC profile, or ``None``; without one, colours are taken to be sRGB, and CMYK
            is converted as Pillow does.
        encoding: The encoding of grey or RGB without a usable profile; CMYK has none.

    Returns:
        The picture, and whether its profile could not be used and was ignored.
    """
    if profile is None:
        return _without_profile(stored, encoding), False
    try:
        return _with_profile(stored, read_profile(profile)), False
    except UnusableProfileError:
        return _without_profile(stored, encoding), True


def _without_profile(stored: _Pixels, encoding: Encoding | None) -> Rgb:
    is_cmyk = stored.ndim == 3 and stored.shape[2] == 4
    return _to_rgb(stored) if encoding is None or is_cmyk else _with_encoding(stored, encoding)


def _to_rgb(stored: _Pixels) -> Rgb:
    """Convert grey or CMYK to RGB without a profile."""
    if stored.ndim == 2:
        return np.asarray(cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB), np.uint8)
    if stored.shape[2] == 3:
        return stored
    return _by_tiles(stored, _mix_inks)


def _mix_inks(cmyk: _Pixels) -> object:
    """Compute (1 - ink) (1 - black) for each ink, to the same levels as Pillow."""
    light = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(cmyk, 3)), cv2.COLOR_GRAY2RGB)
    return cv2.subtract(light, cv2.multiply(cv2.cvtColor(cmyk, cv2.COLOR_RGBA2RGB), light, scale=1 / 255))


def _with_encoding(stored: _Pixels, encoding: Encoding) -> Rgb:
    """Convert by a file's encoding, without a profile; grey is taken to have sRGB's white."""
    curve = encoding.curve(256)
    if encoding.has_high_range:
        return _tone_mapped(_to_rgb(stored), curve, encoding)
    if stored.ndim == 2:
        return _to_rgb(np.asarray(cv2.LUT(stored, _encode(np.clip(curve, 0, 1))), np.uint8))
    curves = np.clip(np.stack([curve] * 3), 0, 1)
    if _is_srgb(curves, encoding.to_srgb):
        return stored
    return _with_matrix(stored, curves, encoding.to_srgb)


def srgb_levels(encoding: Encoding) -> _Pixels:
    """Return the 8-bit level, on sRGB's curve, of each 16-bit number of an encoding: (65536,) uint8."""
    return _encode(np.clip(encoding.curve(65536), 0, 1))


def _tone_mapped(stored: _Pixels, curve: Floats, encoding: Encoding) -> Rgb:
    """Convert a high dynamic range to sRGB, compressing light above ``SHOULDER_FROM`` to below 1.

    The tone curve is evaluated at the largest of the three channels, so that hues stay.
    """
    to_linear = curve.astype(np.float32)[None]
    mixing = (65535 * encoding.to_srgb).astype(np.float32)
    to_srgb_levels = _encode(np.linspace(0, 1, 65536))
    rgb = np.empty_like(stored)
    for rows in _tiles(stored):
        light = np.asarray(cv2.LUT(stored[rows], to_linear), np.float32)
        largest = np.asarray(cv2.LUT(_largest(stored[rows]), to_linear), np.float32)
        gain = _ootf(light, encoding.ootf_gamma) if encoding.ootf_gamma != 1 else np.ones_like(largest)
        gain *= _shoulder(largest * gain)
        light = np.asarray(cv2.transform(light * gain[:, :, None], mixing), np.float32)
        np.clip(light, 0, 65535, out=light)
        rgb[rows] = cv2.LUT((light + np.float32(0.5)).astype(np.uint16), to_srgb_levels)
    return rgb


def _largest(tile: _Pixels) -> _Pixels:
    red, green, blue = cv2.split(tile)
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.uint8)


def _ootf(light: NDArray[np.float32], gamma: float) -> NDArray[np.float32]:
    """Return the gain of BT.2100's OOTF on scene light: its luminance to the power of gamma - 1."""
    weights = np.asarray([luminance_weights()], np.float32) / np.float32(HLG_SCALE)
    return np.asarray(cv2.pow(cv2.transform(light, weights), gamma - 1), np.float32)


def _shoulder(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the tone curve's gain on light: 1 up to ``SHOULDER_FROM``, smoothly decreasing above it."""
    headroom = np.float32(1 - SHOULDER_FROM)
    excess = np.maximum(light - np.float32(SHOULDER_FROM), 0)
    compressed = np.float32(1) - headroom * np.asarray(cv2.exp(excess / -headroom), np.float32)
    return np.where(excess > 0, compressed / np.maximum(light, np.float32(SHOULDER_FROM)), np.float32(1))


def _with_profile(stored: _Pixels, profile: Profile) -> Rgb:
    """Convert by a profile.

    Raises:
        UnusableProfileError: The profile is for another colour space, or is broken.
    """
    space = {1: "GRAY", 3: "RGB", 4: "CMYK"}[1 if stored.ndim == 2 else stored.shape[2]]
    if profile.space != space:
        raise UnusableProfileError
    if space == "GRAY":
        curve = read_curve(profile.tags.get(b"kTRC"))
        return _to_rgb(np.asarray(cv2.LUT(stored, _encode(curve).astype(np.uint8)), np.uint8))
    if space == "CMYK" or profile.has_tables:
        return _with_tables(stored, profile)
    curves = np.stack([read_curve(profile.tags.get(name)) for name in (b"rTRC", b"gTRC", b"bTRC")])
    matrix = np.linalg.inv(_SRGB_TO_XYZ) @ read_matrix(profile)
    return stored if _is_srgb(curves, matrix) else _with_matrix(stored, curves, matrix)


def _is_srgb(curves: Floats, matrix: Floats) -> bool:
    """Return whether a conversion changes each colour of a test grid by less than ``_SAME`` levels."""
    levels = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    linear = np.stack([curve[grid[:, channel]] for channel, curve in enumerate(curves)], axis=1)
    return bool(np.abs(255 * _gamma(np.clip(linear @ matrix.T, 0, 1)) - grid).max() < _SAME)


def _with_matrix(stored: _Pixels, curves: Floats, matrix: Floats) -> Rgb:
    to_linear = np.rint(65535 * curves.T).astype(np.uint16)[None]
    if (to_linear == to_linear[:, :, :1]).all():
        to_linear = to_linear[:, :, :1]  # one table for all three is faster
    to_linear, mixing = np.ascontiguousarray(to_linear), matrix.astype(np.float32)
    to_srgb_levels = _encode(np.linspace(0, 1, 65536))
    rgb = np.empty_like(stored)
    for rows in _tiles(stored):
        linear = cv2.transform(cv2.LUT(stored[rows], to_linear), mixing)
        rgb[rows] = cv2.LUT(linear, to_srgb_levels)
    return rgb


def _with_tables(stored: _Pixels, profile: Profile) -> Rgb:
    """Convert with LittleCMS: relative colorimetric, with black point compensation."""
    mode = profile.space
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile.encoded)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError) as error:
        raise UnusableProfileError from error
    return _by_tiles(stored, lambda tile: transform.apply(_to_image(tile, mode)))


def _by_tiles(stored: _Pixels, convert: Callable[[_Pixels], object]) -> Rgb:
    rgb = np.empty((*stored.shape[:2], 3), np.uint8)
    for rows in _tiles(stored):
        rgb[rows] = np.asarray(convert(stored[rows]), np.uint8)
    return rgb


def _tiles(stored: _Pixels) -> Iterator[slice]:
    height, width = stored.shape[:2]
    step = max(1, _TILE_PX // width)
    return (slice(top, top + step) for top in range(0, height, step))


def _to_image(tile: _Pixels, mode: str) -> Image.Image:
    height, width = tile.shape[:2]
    return Image.frombytes(mode, (width, height), tile.tobytes())


def _encode(linear: Floats) -> _Pixels:
    """Return the 8-bit sRGB level of linear light in [0, 1], rounded half to even."""
    return np.rint(255 * _gamma(linear)).astype(np.uint8)


def _gamma(linear: Floats) -> Floats:
    """Apply the sRGB transfer function (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, 1 / 2.4) - 0.055)
