"""Clean apertures, structural brands and RIFF sizes: unusual but valid files of modern formats."""

import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.errors import CorruptPicture, UnsupportedFormat
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.imaging.properties import clap, with_property
from tests.pictures import avif, heic, noise, photo, webp

PICTURE = photo(96, 128)


def decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


@pytest.mark.parametrize(
    ("aperture", "rows", "columns"),
    [
        (clap(128, 96), slice(0, 96), slice(0, 128)),
        (clap(100, 60), slice(18, 78), slice(14, 114)),
        (clap(100, 60, (-14, 1), (-18, 1)), slice(0, 60), slice(0, 100)),
        (clap(100, 60, (14, 1), (18, 1)), slice(36, 96), slice(28, 128)),
        (clap(99, 61, (1, 2), (-1, 2)), slice(17, 78), slice(15, 114)),
        (clap(1, 1, (127, 2), (95, 2)), slice(95, 96), slice(127, 128)),
    ],
)
def test_an_avif_is_cropped_to_its_clean_aperture(aperture: bytes, rows: slice, columns: slice) -> None:
    """First row: offset + (height - visible height) / 2, by ISO 14496-12, 12.1.4."""
    whole = decoded(avif(PICTURE)).rgb
    actual = decoded(with_property(avif(PICTURE), b"clap", aperture))

    assert_array_equal(actual.rgb, whole[rows, columns])
    assert () == actual.warnings


def test_the_aperture_is_applied_before_the_rotation() -> None:
    upload = avif(PICTURE, exif_orientation=6)
    actual = decoded(with_property(upload, b"clap", clap(100, 60, (14, 1), (18, 1))))
    expected = np.rot90(decoded(avif(PICTURE)).rgb[36:96, 28:128], -1)

    assert_array_equal(actual.rgb, expected)


def test_alpha_is_cropped_with_its_colours() -> None:
    rgba = np.dstack([PICTURE, np.tile(np.arange(128, dtype=np.uint8), (96, 1))])
    actual = decoded(with_property(avif(rgba), b"clap", clap(100, 60)))

    assert actual.own_alpha is not None
    assert np.abs(actual.own_alpha.astype(int) - rgba[18:78, 14:114, 3]).max() <= 3


@pytest.mark.parametrize(
    "aperture",
    [
        *(clap(129, 96), clap(0, 96), clap(100, 60, (15, 1)), clap(100, 60, (0, 0))),
        struct.pack(">IIIIiIiI", 100, 0, 60, 1, 0, 1, 0, 1),
    ],
)
def test_an_unusable_aperture_is_ignored_with_a_warning(aperture: bytes) -> None:
    actual = decoded(with_property(avif(PICTURE), b"clap", aperture))

    assert (PICTURE.shape, ("crop_ignored",)) == (actual.rgb.shape, actual.warnings)


def test_a_heic_is_cropped_to_its_clean_aperture() -> None:
    pytest.importorskip("pillow_heif")
    upload = heic(PICTURE)
    actual = decoded(with_property(upload, b"clap", clap(100, 60, (14, 1), (18, 1))))

    assert_array_equal(actual.rgb, decoded(upload).rgb[36:96, 28:128])


def branded(upload: bytes, major: bytes, *others: bytes) -> bytes:
    """Replace the brands of a file; surplus entries repeat the last brand."""
    end = int.from_bytes(upload[:4], "big")
    count = (end - 16) // 4
    listed = [*others, *[others[-1]] * count][:count]
    return upload[:8] + major + upload[12:16] + b"".join(listed) + upload[end:]


@pytest.mark.parametrize("others", [(b"mif1",), (b"mif1", b"miaf"), (b"miaf",)])
@pytest.mark.parametrize("kind", ["avif", "heic"])
def test_a_heif_with_structural_brands_is_identified_by_its_picture(
    kind: str, others: tuple[bytes, ...]
) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif")
    upload = {"avif": avif, "heic": heic}[kind](PICTURE)
    actual = branded(upload, b"mif1", *others)

    assert (kind, 128, 96) == (sniff(actual).format, sniff(actual).width_px, sniff(actual).height_px)
    assert_array_equal(decoded(actual).rgb, decoded(upload).rgb)


def test_a_heif_of_another_coding_is_refused_by_its_coding() -> None:
    upload = branded(avif(PICTURE), b"mif1", b"mif1").replace(b"av01", b"vvc1")
    with pytest.raises(UnsupportedFormat, match="HEIF whose picture is coded as vvc1"):
        sniff(upload)


def with_declared_size(upload: bytes, by: int) -> bytes:
    return upload[:4] + struct.pack("<I", int.from_bytes(upload[4:8], "little") + by) + upload[8:]


RGBA = np.dstack([PICTURE, noise((96, 128))])
WEBPS = {
    "lossy": webp(PICTURE),
    "lossless": webp(PICTURE, lossless=True),
    "with alpha": webp(RGBA),
    "extended": webp(PICTURE, exif_orientation=1),
    "lossy 2": webp(photo(50, 70, 3), quality=40),
    "lossless 2": webp(photo(51, 71, 4), lossless=True),
}


@pytest.mark.parametrize("kind", WEBPS)
@pytest.mark.parametrize(("by", "tail"), [(1, b""), (1, b"\0"), (-1, b""), (-1, b"\0")])
def test_a_webp_that_declares_one_byte_too_many_or_too_few_is_read(kind: str, by: int, tail: bytes) -> None:
    whole, actual = decoded(WEBPS[kind]), decoded(with_declared_size(WEBPS[kind], by) + tail)

    assert_array_equal(actual.rgb, whole.rgb)
    assert whole.warnings == actual.warnings
    if whole.own_alpha is not None:
        assert_array_equal(actual.own_alpha, whole.own_alpha)


@pytest.mark.parametrize("kind", WEBPS)
@pytest.mark.parametrize("by", [2, 3, 8, 100])
def test_a_webp_that_declares_more_bytes_is_corrupt(kind: str, by: int) -> None:
    with pytest.raises(CorruptPicture):
        decoded(with_declared_size(WEBPS[kind], by))


def test_a_webp_without_the_padding_of_its_last_chunk_is_read() -> None:
    padded = [upload for upload in WEBPS.values() if last_chunk_bytes(upload) & 1]
    assert padded
    for upload in padded:
        assert_array_equal(decoded(upload[:-1]).rgb, decoded(upload).rgb)


@pytest.mark.parametrize("kind", WEBPS)
def test_a_webp_that_lacks_a_byte_of_its_picture_is_corrupt(kind: str) -> None:
    kept = -1 - (last_chunk_bytes(WEBPS[kind]) & 1)
    with pytest.raises(CorruptPicture):
        decoded(WEBPS[kind][:kept])


def last_chunk_bytes(upload: bytes) -> int:
    position = 12
    while True:
        (length,) = struct.unpack_from("<I", upload, position + 4)
        position += 8 + length + (length & 1)
        if position >= len(upload):
            return int(length)
