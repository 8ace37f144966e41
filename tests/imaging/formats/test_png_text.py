import struct
import zlib
from collections.abc import Callable

import pytest

from app.errors import PictureTooComplex
from app.imaging.formats.decode import decode
from app.imaging.formats.png_text import MAX_TEXT_BYTES, check_texts
from app.imaging.formats.sniff import sniff
from tests.bombs import animated, international_text, png_of, rows, text


@pytest.mark.parametrize("make", [text, international_text])
def test_comments_up_to_the_limit_are_accepted(make: object) -> None:
    assert callable(make)
    check_texts(png_of(8, 8, make(MAX_TEXT_BYTES), rows(8, 8)))
    check_texts(png_of(8, 8, make(MAX_TEXT_BYTES // 2), rows(8, 8), make(MAX_TEXT_BYTES // 2)))

    for chunks in ([make(MAX_TEXT_BYTES + 1)], [make(MAX_TEXT_BYTES // 2 + 1)] * 2):
        with pytest.raises(PictureTooComplex):
            check_texts(png_of(8, 8, *chunks, rows(8, 8)))
        with pytest.raises(PictureTooComplex):
            check_texts(png_of(8, 8, rows(8, 8), *chunks))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", b"Comment\x00" + b"x" * (2 * MAX_TEXT_BYTES)),
        (b"iTXt", b"Comment\x00\x00\x00en\x00Kommentar\x00" + b"x" * (2 * MAX_TEXT_BYTES)),
        (b"zTXt", b"Comment\x00\x00" + b"no zlib"),
        (b"zTXt", b""),
        (b"iTXt", b"\x00"),
        (b"iTXt", b"Comment\x00\x01\x00"),
    ],
    ids=["plain", "plain international", "broken", "empty", "no text", "no language"],
)
def test_uncompressed_and_broken_comments_are_ignored(chunk: tuple[bytes, bytes]) -> None:
    upload = png_of(8, 8, chunk, rows(8, 8), chunk)

    assert decode(upload, sniff(upload)).rgb.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("frames", "is_refused"), [(10_000, False), (10_001, True), (2**31, True), (2**32 - 1, False)]
)
def test_the_number_of_frames_is_limited(frames: int, is_refused: bool) -> None:
    upload = animated(frames)
    assert struct.pack(">I", frames) in upload

    if is_refused:
        with pytest.raises(PictureTooComplex):
            sniff(upload)
        return
    assert sniff(upload).width_px == 8


@pytest.mark.parametrize("make", [text, international_text])
@pytest.mark.parametrize("broken_at", [0.02, 0.5, -4, -1])
def test_comments_that_break_off_count_with_their_inflated_size(
    make: Callable[[int], tuple[bytes, bytes]], broken_at: float
) -> None:
    name, payload = make(MAX_TEXT_BYTES)
    start = payload.index(b"\x78\xda")
    at = len(payload) + broken_at if broken_at < 0 else start + broken_at * (len(payload) - start)
    broken = payload[: int(at)] + b"\xff" * (len(payload) - int(at))
    few, many = [(name, broken)], [(name, broken)] * 60

    assert decode(png_of(8, 8, *few, rows(8, 8)), sniff(png_of(8, 8, *few, rows(8, 8)))) is not None
    with pytest.raises(PictureTooComplex):
        check_texts(png_of(8, 8, *many, rows(8, 8)))


def test_empty_comments_count_with_a_minimum() -> None:
    for payload in (b"a\x00\x00x", b"a\x00\x00" + zlib.compress(b"")[:4], b"a\x00\x00" + zlib.compress(b"")):
        check_texts(png_of(8, 8, *[(b"zTXt", payload)] * 100, rows(8, 8)))
        with pytest.raises(PictureTooComplex):
            check_texts(png_of(8, 8, *[(b"zTXt", payload)] * 20_000, rows(8, 8)))
