"""JPEG ends: a file that contains all of its pixels is decoded to exactly those; any other is refused."""

import io
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture, UnsupportedFormat
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.generated import examples
from tests.pictures import flat, jpeg, noise, photo

PICTURE = photo(45, 61)
EOI, NUL = b"\xff\xd9", b"\0"
MP4 = (
    struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"mp42", 0, b"mp42", b"isom")
    + struct.pack(">I4s", 1008, b"mdat")
    + noise((999,)).tobytes()
)


def saved(pixels: NDArray[np.uint8], mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


KINDS = {
    "4:2:0": saved(PICTURE),
    "4:4:4": saved(PICTURE, subsampling=0, quality=95),
    "grey": saved(PICTURE, "L"),
    "cmyk": saved(PICTURE, "CMYK"),
    "ycck": simplejpeg.encode_jpeg(noise((45, 61, 4)), 90, "CMYK"),
    "optimised": saved(PICTURE, optimize=True),
    "restarts": saved(PICTURE, restart_marker_blocks=2),
    "flat": saved(flat(45, 61), optimize=True),
    "progressive": saved(PICTURE, progressive=True),
    "progressive 4:4:4": saved(PICTURE, progressive=True, subsampling=0),
    "progressive grey": saved(PICTURE, "L", progressive=True),
    "progressive cmyk": saved(PICTURE, "CMYK", progressive=True),
    "progressive restarts": saved(PICTURE, progressive=True, restart_marker_blocks=2),
    "with a thumbnail": jpeg(PICTURE, exif_orientation=1),
}


def decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


WHOLE = {kind: decoded(upload).rgb for kind, upload in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "tail",
    [
        *(NUL * 3, NUL * 4096, b"\r\n", b"\xff", b"\xff" * 512, MP4, MP4 + b"\xff", MP4 + NUL),
        MP4 + b"SEFH" + b"\1\0\0\0" * 6 + b"\x18\0\0\0SEFT",
        jpeg(photo(9, 9)),
        jpeg(photo(9, 9))[:-1],
        b"\xff\xd8",
        b"\xff\xda\0",
    ],
)
def test_bytes_after_the_end_marker_are_ignored(kind: str, tail: bytes) -> None:
    actual = decoded(KINDS[kind] + tail)

    assert_array_equal(actual.rgb, WHOLE[kind])
    assert () == actual.warnings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "ending",
    [
        *(b"", b"\xff", b"\xff\xff\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8", b"\xff" + jpeg(photo(9, 9))),
        jpeg(photo(9, 9), progressive=True),
        b"\xff\xd8\xff",
    ],
)
def test_a_jpeg_without_its_end_marker_is_read_with_a_warning(kind: str, ending: bytes) -> None:
    actual = decoded(KINDS[kind].removesuffix(EOI) + ending)

    assert_array_equal(actual.rgb, WHOLE[kind])
    assert ("end_marker_missing",) == actual.warnings


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flat"])
@pytest.mark.parametrize("padding", [NUL * 40, b"\xff" + NUL * 40, NUL * 4096])
def test_zeros_instead_of_the_end_marker_are_padding(kind: str, padding: bytes) -> None:
    """Unless the picture's own data ends in zeros, as that of a flat colour may."""
    actual = decoded(KINDS[kind].removesuffix(EOI) + padding)

    assert_array_equal(actual.rgb, WHOLE[kind])
    assert ("end_marker_missing",) == actual.warnings


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "restarts" not in kind])
def test_a_trailer_instead_of_the_end_marker_is_ignored(kind: str) -> None:
    actual = decoded(KINDS[kind].removesuffix(EOI) + MP4)

    assert_array_equal(actual.rgb, WHOLE[kind])
    assert ("end_marker_missing",) == actual.warnings


@given(
    kind=st.sampled_from([*KINDS]), place=st.floats(0, 1), tail=st.sampled_from([b"", NUL * 4096, b"\xff"])
)
@examples(2)
def test_a_jpeg_cut_anywhere_is_refused_or_complete(kind: str, place: float, tail: bytes) -> None:
    check_cut(kind, int(place * len(KINDS[kind])), tail)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_near_its_end_or_at_a_marker_is_refused_or_complete(kind: str) -> None:
    upload = KINDS[kind]
    markers = [at for at in range(len(upload)) if upload[at] == 0xFF and upload[at + 1]]
    for kept in {*range(len(upload) - 16, len(upload)), *markers, *(at + 1 for at in markers)}:
        for tail in (b"", NUL * 4096):
            check_cut(kind, kept, tail)


def check_cut(kind: str, kept: int, tail: bytes) -> None:
    upload = KINDS[kind]
    in_header = (UnsupportedFormat,) if kept <= upload.index(b"\xff\xda") + 1 else ()
    try:
        actual = decoded(upload[:kept] + tail).rgb
    except (CorruptPicture, *in_header):
        return

    assert_array_equal(actual, WHOLE[kind])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("progressive")])
def test_a_progressive_jpeg_that_lacks_its_last_scan_is_refused(kind: str) -> None:
    """With an end marker alone, decoders would make a coarser picture of it without a warning."""
    cut = KINDS[kind][: KINDS[kind].rindex(b"\xff\xda")]
    assert cv2.imdecode(np.frombuffer(cut + EOI, np.uint8), cv2.IMREAD_COLOR) is not None
    for upload in (cut, cut + b"\xff", cut + KINDS[kind]):
        with pytest.raises(CorruptPicture):
            decoded(upload)


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize(
    ("first", "last", "bits"), [(0, 0, 0), (0, 64, 0), (0, 63, 1), (1, 63, 0), (0, 63, 0x10), (5, 2, 0)]
)
def test_the_coefficient_range_of_a_sequential_scan_is_ignored(
    first: int, last: int, bits: int, *, is_marked: bool
) -> None:
    upload = KINDS["4:2:0"]
    start = upload.index(b"\xff\xda") + 2
    end = start + int.from_bytes(upload[start : start + 2], "big")
    irregular = upload[: end - 3] + bytes((first, last, bits)) + upload[end:]

    assert_array_equal(decoded(irregular if is_marked else irregular.removesuffix(EOI)).rgb, WHOLE["4:2:0"])


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize(
    "stray",
    [bytes(range(1, 60)), b"\xff\xdc\0\4" + struct.pack(">H", 45), b"\xff\xfe\0\5abc", b"\xff\xe5\0\2"],
    ids=["junk", "DNL", "comment", "application"],
)
def test_stray_segments_before_the_end_marker_are_ignored(stray: bytes, *, is_marked: bool) -> None:
    upload = KINDS["4:2:0"].removesuffix(EOI) + stray + (EOI if is_marked else b"")

    assert_array_equal(decoded(upload).rgb, WHOLE["4:2:0"])


def test_a_jfif_of_another_version_is_read_without_its_end_marker() -> None:
    upload = KINDS["4:2:0"]
    irregular = upload[:11] + b"\2\1" + upload[13:]

    assert_array_equal(decoded(irregular).rgb, WHOLE["4:2:0"])
    assert_array_equal(decoded(irregular.removesuffix(EOI)).rgb, WHOLE["4:2:0"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "flat"])
@pytest.mark.parametrize("place", [0.1, 0.7, 0.9])
def test_data_that_breaks_off_before_the_end_marker_is_corrupt(kind: str, place: float) -> None:
    upload = KINDS[kind]
    start = upload.index(b"\xff\xda") + 14
    kept = start + int(place * (len(upload) - start))

    with pytest.raises(CorruptPicture):
        decoded(upload[:kept].removesuffix(b"\xff") + EOI)


def test_data_that_breaks_off_after_an_unusual_header_is_corrupt() -> None:
    upload = KINDS["4:2:0"]
    irregular = upload[:11] + b"\2\1" + upload[13:]

    with pytest.raises(CorruptPicture):
        decoded(irregular[: len(irregular) * 3 // 4] + EOI)


@pytest.mark.parametrize("kind", ["restarts", "grey restarts"])
@pytest.mark.parametrize("is_whole_interval", [False, True])
def test_data_lost_between_restart_markers_gives_a_warning(kind: str, *, is_whole_interval: bool) -> None:
    """The decoder continues after the next marker, so only the middle of the picture is lost."""
    upload = {**KINDS, "grey restarts": saved(photo(64, 64), "L", restart_marker_blocks=2)}[kind]
    first, second = upload.index(b"\xff\xd1"), upload.index(b"\xff\xd2")
    lost = upload[:first] + upload[second:] if is_whole_interval else upload[: first + 4] + upload[second:]
    whole, actual = decoded(upload), decoded(lost)

    assert ("data_damaged",) == actual.warnings
    assert_array_equal(actual.rgb[:8, :16], whole.rgb[:8, :16])
    assert_array_equal(actual.rgb[-8:, -8:], whole.rgb[-8:, -8:])


def test_a_last_block_that_lacks_bits_is_decoded_with_a_warning() -> None:
    """Cameras have been sold whose encoders do not write them."""
    upload = KINDS["4:4:4"]
    actual = decoded(upload[:-3] + EOI)

    assert_array_equal(actual.rgb[:40, :56], WHOLE["4:4:4"][:40, :56])
    assert ("data_damaged",) == actual.warnings


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("progressive")])
def test_a_progressive_jpeg_that_omits_its_last_scan_has_a_warning(kind: str) -> None:
    cut = KINDS[kind][: KINDS[kind].rindex(b"\xff\xda")]

    assert ("data_damaged",) == decoded(cut + EOI).warnings
