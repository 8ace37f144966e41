import io
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.png16 import is_png16, round_to_8_bits
from app.imaging.formats.sniff import sniff
from tests.pictures import photo, png
from tests.profiles import GAMMA_2_2, grey_profile

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of a PNG, by samples per pixel
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def test_every_sample_is_rounded_to_the_nearest_level() -> None:
    samples = np.arange(65_536)
    expected = (samples * 255 * 2 + 65_535) // (2 * 65_535)  # half up, but there is no half: 257 is odd
    actual = round_to_8_bits((samples >> 8).astype(np.uint8), (samples & 255).astype(np.uint8))

    assert_array_equal(actual, expected)


@pytest.mark.parametrize("is_interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize("filtering", [0, 1, 2, 4], ids=["none", "sub", "up", "paeth"])
@pytest.mark.parametrize("channels", COLOUR_TYPES)
def test_all_colour_types_are_rounded_exactly(channels: int, filtering: int, is_interlaced: bool) -> None:
    samples = _noise_16_bit(21, 34, channels)
    actual = _decoded(_png16(samples, filtering=filtering, is_interlaced=is_interlaced))
    rounded = ((samples.astype(np.int64) + 128) // 257).astype(np.uint8)

    colours = rounded[:, :, :-1] if channels in (2, 4) else rounded
    assert_array_equal(actual.rgb, np.broadcast_to(colours, (21, 34, 3)))
    if channels in (2, 4):
        assert_array_equal(actual.own_alpha, rounded[:, :, -1])


def test_a_transparent_colour_is_compared_in_all_16_bits() -> None:
    samples = np.array([[[300, 5, 9], [301, 5, 9], [300, 5, 8]]], dtype=np.uint16)
    actual = _decoded(_png16(samples, transparent=(300, 5, 9)))

    assert_array_equal(actual.own_alpha, [[0, 255, 255]])


def test_a_transparent_grey_is_compared_in_all_16_bits() -> None:
    actual = _decoded(_png16(np.array([[[300], [301]]], dtype=np.uint16), transparent=(300,)))

    assert_array_equal(actual.own_alpha, [[0, 255]])


def test_a_grey_profile_applies_to_grey_with_alpha() -> None:
    profile = zlib.compress(grey_profile(GAMMA_2_2))
    upload = _png16(_noise_16_bit(5, 6, 2), chunks={b"iCCP": b"grey\x00\x00" + profile})

    assert () == _decoded(upload).warnings


def test_a_truncated_16_bit_picture_is_corrupt() -> None:
    upload = _png16(_noise_16_bit(40, 40, 3))
    with pytest.raises(CorruptPicture):
        _decoded(upload[: len(upload) // 2] + upload[-12:])


def test_an_8_bit_png_is_not_a_png16() -> None:
    assert not is_png16(png(photo(5, 5)), sniff(png(photo(5, 5))))


def test_the_builder_of_16_bit_files_agrees_with_pillow() -> None:
    """Validates the oracle itself: grey is the only colour type that Pillow opens in 16 bits."""
    samples = _noise_16_bit(13, 19, 1)
    for is_interlaced in (False, True):
        with Image.open(
            io.BytesIO(_png16(samples, filtering=4, is_interlaced=is_interlaced))
        ) as opened_image:
            assert_array_equal(np.asarray(opened_image), samples[:, :, 0])


def _decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


def _noise_16_bit(height: int, width: int, channels: int) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 65_536, (height, width, channels), dtype=np.uint16)


def _png16(
    samples: NDArray[np.uint16],
    *,
    filtering: int = 0,
    is_interlaced: bool = False,
    transparent: tuple[int, ...] = (),
    chunks: dict[bytes, bytes] | None = None,
) -> bytes:
    height, width, channels = samples.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, is_interlaced)
    steps = ADAM7 if is_interlaced else ((0, 0, 1, 1),)
    passes = (samples[top::down, left::right] for top, left, down, right in steps)
    lines = b"".join(_filtered(one_pass, filtering) for one_pass in passes if one_pass.size)
    named = {b"IHDR": header, **(chunks or {})}
    if transparent:
        named[b"tRNS"] = struct.pack(f">{len(transparent)}H", *transparent)
    named |= {b"IDAT": zlib.compress(lines), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
        for name, payload in named.items()
    )


def _filtered(samples: NDArray[np.uint16], filtering: int) -> bytes:
    """Filter the lines of one pass by the definitions of the PNG specification (9.2)."""
    height, width, channels = samples.shape
    raw = np.frombuffer(samples.astype(">u2").tobytes(), np.uint8).reshape(height, width, 2 * channels)
    padded = np.zeros((height + 1, width + 1, 2 * channels), np.int64)
    padded[1:, 1:] = raw
    left, above, corner = padded[1:, :-1], padded[:-1, 1:], padded[:-1, :-1]
    predicted = {0: 0 * left, 1: left, 2: above, 4: _paeth(left, above, corner)}[filtering]
    lines = ((raw - predicted) % 256).astype(np.uint8).reshape(height, -1)
    return b"".join(bytes((filtering,)) + line.tobytes() for line in lines)


def _paeth(left: NDArray[np.int64], above: NDArray[np.int64], corner: NDArray[np.int64]) -> NDArray[np.int64]:
    guess = left + above - corner
    far_left, far_above, far_corner = abs(guess - left), abs(guess - above), abs(guess - corner)
    is_left = (far_left <= far_above) & (far_left <= far_corner)
    return np.where(is_left, left, np.where(far_above <= far_corner, above, corner))
