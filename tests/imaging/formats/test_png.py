import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from app.imaging.formats.png import encode_png
from tests.imaging.containers import png_chunks
from tests.pictures import flat, noise, opened, photo

CHANNELS = st.sampled_from([(), (3,), (4,)])


@given(height=st.integers(1, 40), width=st.integers(1, 40), channels=CHANNELS, seed=st.integers(0, 9))
def test_pillow_decodes_the_encoded_pixels(
    height: int, width: int, channels: tuple[int, ...], seed: int
) -> None:
    pixels = noise((height, width, *channels), seed)

    assert_array_equal(opened(encode_png(pixels)), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (1200, 900, 4), (3, 400_000, 3)])
def test_a_picture_of_several_strips_is_encoded_exactly(shape: tuple[int, ...]) -> None:
    pixels = noise(shape)

    assert_array_equal(opened(encode_png(pixels)), pixels)


@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_view_of_any_memory_layout_is_encoded(channels: tuple[int, ...]) -> None:
    pixels = noise((30, 40, *channels))[::2, ::-3]

    assert_array_equal(opened(encode_png(pixels)), pixels)


def test_chunks_are_in_order_with_valid_checksums() -> None:
    chunks = png_chunks(encode_png(photo(20, 30)))

    assert [b"IHDR", b"sRGB", b"IDAT", b"IEND"] == list(dict.fromkeys(name for name, _ in chunks))


def test_a_grey_map_has_no_colour_space() -> None:
    chunks = png_chunks(encode_png(noise((5, 5))))

    assert [b"IHDR", b"IDAT", b"IEND"] == [name for name, _ in chunks]


def picture_for(filter_type: int, side_px: int) -> NDArray[np.uint8]:
    """Build a grey picture that deflates best with one of the filters: none, left pixel, row above."""
    specks = noise((side_px, side_px)) // 255 * np.uint8(255)  # so rare that a difference only doubles them
    walks = np.cumsum(noise((side_px, side_px)) // 128, axis=1, dtype=np.uint8)  # rows are independent
    return (specks, walks, walks.T)[filter_type]


@pytest.mark.parametrize("side_px", [60, 1200])  # of a part of a strip, and of several
@pytest.mark.parametrize("filter_type", [0, 1, 2])
def test_the_filter_is_chosen_by_the_picture(filter_type: int, side_px: int) -> None:
    pixels = picture_for(filter_type, side_px)
    encoded = encode_png(pixels)
    stream = b"".join(payload for name, payload in png_chunks(encoded) if name == b"IDAT")

    assert {filter_type} == set(zlib.decompress(stream)[:: 1 + side_px])
    assert_array_equal(opened(encoded), pixels)


def test_the_stream_contains_exactly_the_filtered_rows() -> None:
    pixels = photo(20, 30)
    rows = zlib.decompress(
        b"".join(payload for name, payload in png_chunks(encode_png(pixels)) if name == b"IDAT")
    )

    assert 20 * (1 + 3 * 30) == len(rows)


def test_a_flat_picture_is_small() -> None:
    assert len(encode_png(flat(1000, 1000))) < 20_000


@pytest.mark.parametrize(
    "pixels", [noise((4, 4, 2)), noise((4,)), noise((0, 4)), np.zeros((4, 4), dtype=np.float32)]
)
def test_arrays_that_are_not_8_bit_pictures_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="a PNG"):
        encode_png(pixels)


@pytest.mark.process
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_pngcheck_reports_no_error(tmp_path: Path, channels: tuple[int, ...]) -> None:
    pngcheck = shutil.which("pngcheck")
    if pngcheck is None:
        pytest.skip("pngcheck is not installed")
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(noise((600, 700, *channels))))
    checked = subprocess.run([pngcheck, "-q", str(path)], capture_output=True, check=False)

    assert (0, b"") == (checked.returncode, checked.stderr)
