"""Chunks: a PNG is read as by libpng, whatever the checksums of its ancillary chunks."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture, UnsupportedFormat
from app.imaging.formats.decode import decode
from app.imaging.formats.sniff import sniff
from tests.pictures import laid_down, photo, png
from tests.profiles import DISPLAY_P3, SRGB_CURVE, matrix_profile

PICTURE = photo(24, 37)
EXIF_6 = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x112, 3, 1, 6, 0, 0)
P3 = b"p\0\0" + zlib.compress(matrix_profile(DISPLAY_P3, SRGB_CURVE))


def chunk(name: bytes, payload: bytes, *, is_broken: bool = True) -> bytes:
    checksum = zlib.crc32(name + payload) ^ is_broken
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", checksum)


def with_chunk(upload: bytes, added: bytes, *, before: bytes = b"IDAT") -> bytes:
    at = upload.index(before) - 4
    return upload[:at] + added + upload[at:]


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    ("name", "payload", "warnings"),
    [
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1), ()),
        (b"gAMA", struct.pack(">I", 100_000), ()),
        (b"cHRM", bytes(32), ()),
        (b"sRGB", b"", ()),
        (b"tIME", bytes(7), ()),
        (b"bKGD", bytes(6), ()),
        (b"caNv", bytes(16), ()),
        (b"tEXt", b"Software\0x", ()),
        (b"eXIf", EXIF_6, ("exif_ignored",)),
    ],
)
def test_an_ancillary_chunk_with_a_wrong_checksum_is_skipped_as_in_libpng(
    name: bytes, payload: bytes, warnings: tuple[str, ...], before: bytes
) -> None:
    upload = with_chunk(png(PICTURE), chunk(name, payload), before=before)
    actual = decode(upload, sniff(upload))
    by_libpng = cv2.imdecode(np.frombuffer(upload, np.uint8), cv2.IMREAD_COLOR_RGB)

    assert_array_equal(actual.rgb, PICTURE)
    assert_array_equal(actual.rgb, by_libpng)
    assert warnings == actual.warnings


@pytest.mark.parametrize(
    ("name", "payload"), [(b"pHYs", b"1"), (b"gAMA", b""), (b"cHRM", bytes(31)), (b"sRGB", b"")]
)
def test_an_ancillary_chunk_that_is_too_short_is_skipped(name: bytes, payload: bytes) -> None:
    upload = with_chunk(png(PICTURE), chunk(name, payload, is_broken=False))

    assert_array_equal(decode(upload, sniff(upload)).rgb, PICTURE)


@pytest.mark.parametrize("name", [b"acTL", b"fcTL"])
def test_an_animation_with_a_wrong_checksum_is_read_as_a_still_picture(name: bytes) -> None:
    """OpenCV is no reference here: its reader of animations refuses such files."""
    frames = [Image.fromarray(photo(24, 37, seed)) for seed in (1, 2)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    upload = bytearray(file.getvalue())
    upload[upload.index(name) + 8] ^= 1
    actual = decode(bytes(upload), sniff(bytes(upload)))

    assert_array_equal(actual.rgb, np.asarray(frames[0]))
    assert ("first_frame_only",) == actual.warnings


def test_a_long_private_chunk_with_a_wrong_checksum_is_skipped() -> None:
    upload = with_chunk(png(PICTURE), chunk(b"zzzz", bytes(70_000)))

    assert_array_equal(decode(upload, sniff(upload)).rgb, PICTURE)


@pytest.mark.parametrize("is_broken", [False, True])
def test_an_orientation_applies_only_with_a_valid_checksum(*, is_broken: bool) -> None:
    stored = laid_down(PICTURE, 6)
    upload = with_chunk(png(stored), chunk(b"eXIf", EXIF_6, is_broken=is_broken))

    assert_array_equal(decode(upload, sniff(upload)).rgb, stored if is_broken else PICTURE)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_profile_applies_only_with_a_valid_checksum(*, is_broken: bool) -> None:
    upload = with_chunk(png(PICTURE), chunk(b"iCCP", P3, is_broken=is_broken))
    actual = decode(upload, sniff(upload))

    assert (("icc_ignored",) if is_broken else ()) == actual.warnings
    assert is_broken == np.array_equal(actual.rgb, PICTURE)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_transparent_colour_applies_only_with_a_valid_checksum(*, is_broken: bool) -> None:
    colour = struct.pack(">3H", *PICTURE[0, 0].tolist())
    upload = with_chunk(png(PICTURE), chunk(b"tRNS", colour, is_broken=is_broken))
    actual = decode(upload, sniff(upload))

    assert (("transparency_ignored",) if is_broken else ()) == actual.warnings
    assert is_broken == (actual.own_alpha is None)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"XXXX"])
def test_a_critical_chunk_with_a_wrong_checksum_is_refused(name: bytes) -> None:
    upload = png(PICTURE)
    broken = (
        upload[:29] + bytes(4) + upload[33:] if name == b"IHDR" else with_chunk(upload, chunk(name, bytes(6)))
    )
    with pytest.raises((UnsupportedFormat, CorruptPicture)):
        decode(broken, sniff(broken))


@pytest.mark.parametrize("size", [(24, 37), (300, 400)])
def test_data_with_a_wrong_checksum_is_corrupt(size: tuple[int, int]) -> None:
    """The data is refused even though all of it inflates."""
    upload = png(photo(*size))
    at = upload.rindex(b"IEND") - 5
    broken = upload[:at] + bytes((upload[at] ^ 1,)) + upload[at + 1 :]

    assert cv2.imdecode(np.frombuffer(broken, np.uint8), cv2.IMREAD_COLOR_RGB) is None
    with pytest.raises(CorruptPicture):
        decode(broken, sniff(broken))


@pytest.mark.parametrize("payload", [b"", b"1", bytes(5), bytes(7)])
@pytest.mark.parametrize("pixels", [PICTURE, PICTURE[:, :, 0]], ids=["rgb", "grey"])
def test_transparency_of_a_wrong_length_is_skipped(pixels: NDArray[np.uint8], payload: bytes) -> None:
    check_opaque(with_chunk(png(pixels), chunk(b"tRNS", payload, is_broken=False)))


@pytest.mark.parametrize("pixels", [PICTURE, PICTURE[:, :, 0]], ids=["rgb", "grey"])
def test_transparency_after_the_data_is_skipped(pixels: NDArray[np.uint8]) -> None:
    colour = pixels[0, 0].reshape(-1).astype(">u2").tobytes()
    check_opaque(with_chunk(png(pixels), chunk(b"tRNS", colour, is_broken=False), before=b"IEND"))


def check_opaque(upload: bytes) -> None:
    actual = decode(upload, sniff(upload))
    by_libpng = cv2.imdecode(np.frombuffer(upload, np.uint8), cv2.IMREAD_COLOR_RGB)

    assert actual.own_alpha is None
    assert_array_equal(actual.rgb, by_libpng)
    assert ("transparency_ignored",) == actual.warnings
