"""PNG rows: every PNG that lacks rows is refused, even if its stream is valid, whatever its pixels."""

import io
import struct
import threading
import time
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from app.errors import CorruptPicture
from app.imaging.formats.decode import decode
from app.imaging.formats.pillow import load
from app.imaging.formats.png_rows import is_dense, lacks_rows
from app.imaging.formats.sniff import sniff
from tests.pictures import noise, photo

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def pictures(height: int, width: int) -> dict[str, Image.Image]:
    """Return one picture of each kind that a PNG can hold, with and without detail."""
    detailed = Image.fromarray(noise((height, width, 3)))
    pictures_by_kind = {mode: detailed.convert(mode) for mode in MODES[:-1]}
    pictures_by_kind["I;16"] = Image.fromarray(noise((height, width)).astype(np.uint16) * 257)
    flat = {f"flat {mode}": Image.new(mode, (width, height), 1) for mode in MODES}
    return {**pictures_by_kind, **flat}


def encoded(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def cut_short(upload: bytes, rows: int) -> bytes:
    """Keep the first rows of a PNG, as a whole and valid zlib stream."""
    start = upload.index(b"IDAT") - 4
    end = upload.index(b"IEND") - 4
    data, at = b"", start
    while at < end:
        (length,) = struct.unpack_from(">I", upload, at)
        data += upload[at + 8 : at + 8 + length]
        at += 12 + length
    raw = zlib.decompress(data)
    height = int.from_bytes(upload[20:24], "big")
    kept = zlib.compress(raw[: len(raw) // height * rows])
    chunk = struct.pack(">I", len(kept)) + b"IDAT" + kept + struct.pack(">I", zlib.crc32(b"IDAT" + kept))
    return upload[:start] + chunk + upload[end:]


@pytest.mark.parametrize("kind", pictures(4, 4))
def test_a_picture_that_lacks_rows_is_refused(kind: str) -> None:
    whole = encoded(pictures(24, 40)[kind])
    assert not lacks_rows(whole)
    decode(whole, sniff(whole))

    for rows in (0, 1, 12, 23):
        short = cut_short(whole, rows)
        assert lacks_rows(short)
        with pytest.raises(CorruptPicture):
            decode(short, sniff(short))


def test_photographs_are_dense_and_flat_pictures_are_not() -> None:
    """Files that are not dense are measured first; noise and photographs are checked by their last row."""
    assert is_dense(encoded(Image.fromarray(noise((60, 80, 3)))))
    assert not is_dense(encoded(Image.new("RGB", (800, 600))))


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    bits=st.sampled_from([1, 2, 4, 8, 16]),
    kind=st.sampled_from([0, 2, 3, 4, 6]),
)
def test_the_expected_bytes_of_an_interlaced_picture_are_those_of_its_seven_passes(
    height: int, width: int, bits: int, kind: int
) -> None:
    """The oracle counts the pattern of the specification pixel by pixel (PNG, section 8.2)."""
    pattern = ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    total = 0
    for number in "1234567":
        for row in range(height):
            columns = sum(pattern[row % 8][column % 8] == number for column in range(width))
            total += 1 + (columns * channels * bits + 7) // 8 if columns else 0
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 1)
    for size, lacks in ((total, False), (total - 1, True)):
        data = zlib.compress(bytes(size))
        upload = b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(payload)) + name + payload + bytes(4)
            for name, payload in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
        )
        assert lacks_rows(upload) is lacks


@pytest.mark.parametrize("colour", [(0, 0, 0), (173, 74, 201)], ids=["black", "a colour"])
def test_a_last_row_of_one_colour_is_decoded(colour: tuple[int, int, int]) -> None:
    rgb = photo(50, 70)
    rgb[-1] = colour
    upload = encoded(Image.fromarray(rgb))

    assert np.array_equal(rgb, decode(upload, sniff(upload)).rgb)


def test_decoding_16_bit_greys_leaves_the_interpreter_to_other_threads() -> None:
    """Filling such a picture took the interpreter 2 ms a megapixel, and the event loop waited for it."""
    samples = np.random.default_rng(0).integers(0, 2**16, (4000, 4000), np.uint16)
    upload = bytes(cv2.imencode(".png", samples, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes())
    assert is_dense(upload)
    header = sniff(upload)

    # A pause may be that of a busy machine; if the interpreter is held, each try has a long one.
    assert any(longest_pause_s(lambda: load(upload, header)) < 0.015 for _ in range(20))


def longest_pause_s(call: Callable[[], object]) -> float:
    """Return the longest time that a thread which sleeps for half a millisecond was not run during a call."""
    pauses_s: list[float] = []
    is_over = threading.Event()

    def tick() -> None:
        last_s = time.perf_counter()
        while not is_over.wait(0.0005):
            pauses_s.append(time.perf_counter() - last_s)
            last_s = time.perf_counter()

    thread = threading.Thread(target=tick)
    thread.start()
    call()
    is_over.set()
    thread.join()
    return max(pauses_s)


@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_a_broken_stream_is_a_corrupt_picture(at: int, bit: int, is_flat: bool) -> None:
    """With both checks: by measuring first, or by decoding."""
    whole = encoded(Image.new("RGB", (200, 150)) if is_flat else Image.fromarray(noise((30, 40, 3))))
    start, end = whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8
    damaged = bytearray(whole)
    damaged[start + at % (end - start)] ^= 1 << bit
    try:
        rgb = decode(bytes(damaged), sniff(bytes(damaged))).rgb
    except CorruptPicture:
        return

    assert rgb.shape == ((150, 200, 3) if is_flat else (30, 40, 3))


@example(height=512, width=512, edges=[100, 400, 100, 400], level=6)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    edges=st.lists(st.integers(0, 700), min_size=4, max_size=4),
    level=st.integers(1, 9),
)
def test_a_whole_picture_of_little_data_lacks_no_rows(
    height: int, width: int, edges: list[int], level: int
) -> None:
    """Such data ends within the last slice, with output still pending."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[edges[0] : edges[1], edges[2] : edges[3]] = 128
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=level)

    assert not lacks_rows(file.getvalue())
    assert decode(file.getvalue(), sniff(file.getvalue())).rgb.shape == (height, width, 3)
