import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from app.imaging.png import encode_png
from tests.pictures import flat, noise, opened, photo

CHANNELS = st.sampled_from([(), (3,), (4,)])


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=CHANNELS, seed=st.integers(0, 9))
@settings(max_examples=100, deadline=None)
def test_pillow_reads_back_what_was_written(
    height: int, width: int, channels: tuple[int, ...], seed: int
) -> None:
    pixels = noise((height, width, *channels), seed)

    assert_array_equal(opened(encode_png(pixels)), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (1200, 900, 4), (3, 400_000, 3)])
def test_strips_join_to_one_picture(shape: tuple[int, ...]) -> None:
    pixels = noise(shape)

    assert_array_equal(opened(encode_png(pixels)), pixels)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_view_of_any_layout_is_written(channels: tuple[int, ...]) -> None:
    pixels = noise((30, 40, *channels))[::2, ::-3]

    assert_array_equal(opened(encode_png(pixels)), pixels)


def test_chunks_are_in_order_and_their_checksums_hold() -> None:
    chunks = _chunks(encode_png(photo(20, 30)))

    assert [b"IHDR", b"sRGB", b"IDAT", b"IEND"] == list(dict.fromkeys(name for name, _ in chunks))


def test_a_grey_map_carries_no_colour_space() -> None:
    chunks = _chunks(encode_png(noise((5, 5))))

    assert [b"IHDR", b"IDAT", b"IEND"] == [name for name, _ in chunks]


def test_the_stream_holds_exactly_the_filtered_rows() -> None:
    pixels = photo(20, 30)
    rows = zlib.decompress(
        b"".join(payload for name, payload in _chunks(encode_png(pixels)) if name == b"IDAT")
    )

    assert 20 * (1 + 3 * 30) == len(rows)


def test_a_flat_picture_is_small() -> None:
    assert len(encode_png(flat(1000, 1000))) < 20_000


@pytest.mark.parametrize(
    "pixels", [noise((4, 4, 2)), noise((4,)), noise((0, 4)), np.zeros((4, 4), dtype=np.float32)]
)
def test_what_is_no_8_bit_picture_is_refused(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with pytest.raises(ValueError, match="a PNG"):
        encode_png(pixels)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_pngcheck_finds_nothing(tmp_path: Path, channels: tuple[int, ...]) -> None:
    pngcheck = shutil.which("pngcheck")
    if pngcheck is None:
        pytest.skip("pngcheck is not installed")
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(noise((600, 700, *channels))))
    checked = subprocess.run([pngcheck, "-q", str(path)], capture_output=True, check=False)

    assert (0, b"") == (checked.returncode, checked.stderr)


def _chunks(encoded: bytes) -> list[tuple[bytes, bytes]]:
    """Take a PNG apart, and hold every checksum against zlib's."""
    position, chunks = 8, []
    while position < len(encoded):
        length, name = struct.unpack_from(">I4s", encoded, position)
        payload = encoded[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack_from(">I", encoded, position + 8 + length)

        assert zlib.crc32(name + payload) == checksum
        chunks.append((name, payload))
        position += 12 + length
    return chunks
