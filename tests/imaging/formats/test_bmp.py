"""Bitmaps: reading every kind of header, and refusing files that take too long to decode."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture, CutoutError, PictureTooComplex
from app.imaging.formats.bmp import MAX_RUNS_BYTES, bmp_size, check_runs
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from tests.pictures import noise, photo


def bmp(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "BMP")
    return file.getvalue()


def runs(height: int, width: int, pairs: bytes) -> bytes:
    """Build a grey bitmap in run lengths of 8 bits."""
    palette = b"".join(bytes((n, n, n, 0)) for n in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pairs), 0, 0, 256, 0)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(pairs), 0, 0, start) + header + palette + pairs


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_bitmap_is_read_as_written(mode: str) -> None:
    picture = Image.fromarray(noise((31, 45, 3))).convert(mode)
    upload = bmp(picture)
    header = sniff(upload)

    assert (header.format, header.width_px, header.height_px) == ("bmp", 45, 31)
    assert np.array_equal(np.asarray(picture.convert("RGB")), _as_rgb(decode(upload, header).rgb))


def test_top_down_rows_and_a_header_of_twelve_bytes_are_read() -> None:
    rgb = photo(20, 30)
    upload = bmp(Image.fromarray(rgb))
    flipped = bytearray(bmp(Image.fromarray(rgb[::-1])))
    struct.pack_into("<i", flipped, 22, -20)
    core = b"BM" + struct.pack("<IHHI", 0, 0, 0, 26) + struct.pack("<IHHHH", 12, 30, 20, 1, 24) + upload[54:]

    for variant in (bytes(flipped), core):
        assert np.array_equal(rgb, decode(variant, sniff(variant)).rgb)


def test_run_lengths_are_read_in_small_files_only() -> None:
    upload = runs(4, 200, bytes((200, 7, 0, 0)) * 3 + bytes((200, 9, 0, 0, 0, 1)))
    assert _as_rgb(decode(upload, sniff(upload)).rgb)[:, 0, 0].tolist() == [9, 7, 7, 7]

    with pytest.raises(PictureTooComplex):
        sniff(runs(7000, 7000, bytes((1, 7)) * (MAX_RUNS_BYTES // 2)))


def test_a_truncated_bitmap_is_corrupt() -> None:
    upload = bmp(Image.fromarray(photo(20, 30)))
    for length in (18, 25, 40, 54, len(upload) // 2, len(upload) - 3):
        with pytest.raises(CorruptPicture):
            decode(upload[:length], sniff(upload[:length]))


@given(st.binary(max_size=200))
def test_any_header_raises_only_cutout_errors(junk: bytes) -> None:
    try:
        width_px, height_px = bmp_size(b"BM" + junk)
    except CutoutError:
        return

    assert min(width_px, height_px) >= 0


def _as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


@pytest.mark.parametrize("compression", [1, 2])
@pytest.mark.parametrize(("width", "height", "is_refused"), [(16_000, 3000, True), (1000, 1000, False)])
def test_run_lengths_of_many_pixels_are_refused(
    compression: int, width: int, height: int, is_refused: bool
) -> None:
    """Reading thirteen kilobytes of run lengths took twenty seconds."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8 // compression, compression, 0, 0, 0, 0, 0)
    upload = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + header + b"\1\5\0\0" * height + b"\0\1"
    if is_refused:
        with pytest.raises(PictureTooComplex):
            check_runs(upload)
    else:
        check_runs(upload)
        assert bmp_size(upload) == (width, height)
