"""Truncated, mutated and hostile uploads: decoding raises our own errors, or succeeds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from app.errors import CorruptPicture, CutoutError, UnsupportedFormat
from app.imaging.formats.containers import jpeg_segments
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import check_size, sniff
from tests.generated import examples
from tests.imaging.damage import damaged
from tests.pictures import avif, gif, jpeg, photo, png, webp

PICTURE = photo(24, 37)
BROKEN = "The picture's data is broken or cut off."


def test_an_arithmetically_coded_jpeg_is_read(shared_data: Path) -> None:
    """Of the hostile files that a decoder accepts, a few have an SOF9 or SOF10 frame."""
    names = [
        path.name
        for path in sorted((shared_data / "hostile" / "ok").glob("*.jpg"))
        if any(segment.name in (b"\xc9", b"\xca") for segment in jpeg_segments(path.read_bytes()))
        and _outcome(path.read_bytes()) == "ok"
    ]

    assert names


@pytest.mark.parametrize("cut", ["1%", "25%", "50%", "99%", "-4"])
@pytest.mark.parametrize(
    "upload",
    [
        jpeg(photo(90, 120)),
        jpeg(photo(90, 120), progressive=True),
        png(photo(90, 120)),
        webp(photo(90, 120)),
        webp(photo(90, 120), lossless=True),
        gif(photo(90, 120)),
        avif(photo(90, 120)),
    ],
    ids=["jpeg", "progressive", "png", "webp", "lossless webp", "gif", "avif"],
)
def test_a_truncated_file_is_refused(upload: bytes, cut: str) -> None:
    kept = len(upload) - 4 if cut == "-4" else len(upload) * int(cut[:-1]) // 100
    with pytest.raises((CorruptPicture, UnsupportedFormat)):
        _decoded(upload[:kept])


def test_error_texts_of_libraries_are_not_exposed() -> None:
    upload = bytearray(png(PICTURE))
    upload[60] ^= 255
    with pytest.raises(CorruptPicture) as raised:
        _decoded(bytes(upload))

    assert BROKEN == str(raised.value)


@given(mutated=damaged(PICTURE, before=1500))
@examples(2)
def test_any_mutation_raises_only_cutout_errors(mutated: bytes) -> None:
    try:
        header = sniff(mutated)
        check_size(header, limit_px=1_000_000, limit_side_px=5_000)
        actual = decode(mutated, header)
    except CutoutError:
        return

    assert np.uint8 == actual.rgb.dtype


@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_hostile_files_are_refused_with_the_expected_error(shared_data: Path) -> None:
    folder = shared_data / "hostile"
    unexpected = []
    for line in (folder / "expected.tsv").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *_, expected = line.split("\t")
        upload = (folder / name).read_bytes()
        actual = _outcome(upload)
        if actual not in _tolerated(expected, upload):
            unexpected.append((name, expected, actual))

    assert [] == unexpected


def _outcome(upload: bytes) -> str:
    try:
        header = sniff(upload)
        check_size(header, limit_px=50_000_000, limit_side_px=16_384)
        decode(upload, header)
    except CutoutError as error:
        return type(error).__name__
    return "ok"


def _tolerated(expected: str, upload: bytes) -> set[str]:
    """Return the outcomes that agree with the list, which supports more formats and does not sniff.

    Of the formats that we accept, the list calls "unidentified" all files that Pillow does not open; we
    refuse some of them as broken pictures, and the other way round. It does not have ``PictureTooComplex``,
    which has the same status as corrupt data.
    """
    is_ours = upload.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF87a", b"GIF89a", b"BM")) or (
        upload[8:12] == b"WEBP" or upload[4:12] == b"ftypavif"
    )
    if not is_ours:
        return {"UnsupportedFormat"}
    return {
        "ok": {"ok"},
        "ok_otherfmt": {"ok"},
        "corrupt": {"CorruptPicture", "PictureTooComplex", "PictureTooLarge", "UnsupportedFormat"},
        "too_large": {"PictureTooLarge"},
        "unidentified": {"UnsupportedFormat", "CorruptPicture", "PictureTooComplex", "PictureTooLarge"},
    }[expected]


def _decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))
