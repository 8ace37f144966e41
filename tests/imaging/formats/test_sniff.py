import contextlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given

from app.errors import CorruptPicture, CutoutError, PictureTooComplex, PictureTooLarge, UnsupportedFormat
from app.imaging.formats.containers import SLICE_BYTES
from app.imaging.formats.sniff import ACCEPTED, Header, check_size, sniff
from tests.generated import examples
from tests.imaging.damage import damaged
from tests.pictures import avif, gif, heic, jpeg, noise, photo, png, png_header, scan_bomb, webp

PICTURE = photo(30, 47)


@pytest.mark.parametrize(
    ("upload", "expected"),
    [
        (jpeg(PICTURE), Header("jpeg", 47, 30, "image/jpeg")),
        (jpeg(PICTURE, progressive=True), Header("jpeg", 47, 30, "image/jpeg")),
        (jpeg(PICTURE[:, :, 0]), Header("jpeg", 47, 30, "image/jpeg")),
        (png(PICTURE), Header("png", 47, 30, "image/png")),
        (webp(PICTURE), Header("webp", 47, 30, "image/webp")),
        (webp(PICTURE, lossless=True), Header("webp", 47, 30, "image/webp")),
        (webp(PICTURE, exif_orientation=1), Header("webp", 47, 30, "image/webp")),
        (webp(noise((30, 47, 4))), Header("webp", 47, 30, "image/webp")),
        (gif(PICTURE), Header("gif", 47, 30, "image/gif")),
        (gif(PICTURE, photo(30, 47, seed=1)), Header("gif", 47, 30, "image/gif", is_animated=True)),
        (avif(PICTURE), Header("avif", 47, 30, "image/avif")),
        (avif(PICTURE, exif_orientation=6), Header("avif", 47, 30, "image/avif")),
    ],
    ids=[
        "jpeg",
        "progressive",
        "grey",
        "png",
        "lossy webp",
        "lossless webp",
        "extended webp",
        "webp with alpha",
        "gif",
        "animated gif",
        "avif",
        "turned avif",
    ],
)
def test_format_and_size_are_read_from_the_bytes(upload: bytes, expected: Header) -> None:
    actual = sniff(upload)

    assert expected == actual


def test_the_size_is_as_stored_whatever_the_orientation() -> None:
    actual = sniff(jpeg(PICTURE, exif_orientation=6))

    assert (47, 30) == (actual.width_px, actual.height_px)


@pytest.mark.parametrize(
    "upload",
    [
        b"GIF88a" + bytes(40),
        b"BM is a magic of two letters"[:17],
        b"<svg/>",
        b"\xff",
        b"RIFF\x00\x00\x00\x00WAVE" + bytes(40),
        b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isommp42",
    ],
    ids=["gif 88", "a text", "svg", "a byte", "wave", "mp4"],
)
def test_bytes_of_other_formats_are_refused(upload: bytes) -> None:
    with pytest.raises(UnsupportedFormat) as raised:
        sniff(upload)

    assert ACCEPTED == raised.value.accepted


def test_a_heic_is_accepted_with_the_extra() -> None:
    pytest.importorskip("pillow_heif")

    assert Header("heic", 128, 64, "image/heic") == sniff(heic(photo(64, 128)))
    assert {"image/heic", "image/heif"} <= set(ACCEPTED)


@pytest.mark.process
def test_without_the_extra_a_heic_is_refused_with_a_hint_at_it() -> None:
    """In a separate process, where the package is hidden before it is imported."""
    script = (
        "import sys\n"
        "sys.modules['pillow_heif'] = None\n"
        "from app.errors import UnsupportedFormat\n"
        "from app.imaging.formats.sniff import ACCEPTED, sniff\n"
        "assert 'image/heic' not in ACCEPTED\n"
        "try:\n"
        "    sniff(b'\\0\\0\\0\\x18ftypheic\\0\\0\\0\\0mif1heic')\n"
        "except UnsupportedFormat as error:\n"
        "    print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert "cutout-server[heif]" in output


def test_a_gif_is_enlarged_to_its_first_frame() -> None:
    upload = bytearray(gif(PICTURE))
    struct.pack_into("<HH", upload, 6, 10, 90)

    assert (47, 90) == (sniff(bytes(upload)).width_px, sniff(bytes(upload)).height_px)


GIF_SCREEN = b"GIF89a" + struct.pack("<HHBBB", 5, 5, 0, 0, 0)


def test_a_gif_without_an_image_is_refused() -> None:
    with pytest.raises(UnsupportedFormat, match="begins like a GIF"):
        sniff(GIF_SCREEN + b";")


def test_an_avif_larger_than_it_declares_is_corrupt() -> None:
    upload = avif(photo(300, 400))
    size = upload.index(b"ispe") + 8
    with pytest.raises(CorruptPicture, match="larger"):
        sniff(upload[:size] + struct.pack(">II", 16, 16) + upload[size + 8 :])


def frame(*, bits: int = 8, height: int = 9, components: int = 1) -> bytes:
    """Build a JPEG of a frame header, and a scan without data."""
    return (
        b"\xff\xd8\xff\xc0"
        + struct.pack(">HBHHB", 11, bits, height, 9, components)
        + b"\x01\x11\x00\xff\xda\x00\x02\xff\xd9"
    )


@pytest.mark.parametrize(
    "upload",
    [
        *(b"", jpeg(PICTURE)[:30], png(PICTURE)[:20]),
        *(b"BM" + bytes(40), avif(PICTURE)[:60], avif(PICTURE)[:-1]),
        frame()[:-6] + b"\xff\xd9",  # no scan
    ],
)
def test_a_truncated_file_of_a_known_format_is_corrupt(upload: bytes) -> None:
    with pytest.raises(CorruptPicture):
        sniff(upload)


@pytest.mark.parametrize(
    ("kind", "upload"),
    [
        ("PNG", png(PICTURE)[:15]),
        ("PNG", png(PICTURE)[:33] + b"\0\0\0\3PLTE\0\0\0\0\0\0\0" + png(PICTURE)[33:]),  # not its checksum
        ("PNG", png(PICTURE)[:33] + b"\0\0\0\0a\0MA" + bytes(4) + png(PICTURE)[33:]),
        ("PNG", png(PICTURE)[:33] + b"\0\0\xff\xff\xff\xff\xff\xff"),  # a chunk without a name, cut off
        ("PNG", png_header(0, 5) + bytes(4)),
        ("PNG", png_header(5, 0) + bytes(4)),
        ("PNG", png(PICTURE)[:20] + bytes((png(PICTURE)[20] ^ 1,)) + png(PICTURE)[21:]),  # not its checksum
        ("PNG", b"\x89PNG\r\n\x1a\n" + bytes(60)),
        ("JPEG", frame(height=0)),
        ("JPEG", jpeg(PICTURE)[:20]),
        ("JPEG", jpeg(PICTURE)[:20] + b"\xff\x01" + jpeg(PICTURE)[20:]),
        ("JPEG", jpeg(PICTURE)[:20] + b"\xff\x90\0\2" + jpeg(PICTURE)[20:]),
        ("JPEG", jpeg(PICTURE)[:20] + b"\xff\x90\xff\xff" + jpeg(PICTURE)[20:]),  # the same, cut off
        ("JPEG", frame()[:-6] + b"\xff\x90\xff\xff"),
        ("JPEG", frame()[:-6] + b"\xff\xf8\0\x10\xff\3\xff\xff"),  # a reserved marker is not a segment
        ("JPEG", frame()[:-6] + b"\xff\xf8\0\x10\xff\3"),
        ("JPEG", frame(bits=12)),
        ("JPEG", frame(components=2)),
        ("JPEG", b"\xff\xd8\xff\xdb\x00\x05\x00\x01\x02" + jpeg(PICTURE)[2:]),  # half a quantization table
        ("JPEG", b"\xff\xd8\xff\xda\x00\x03\x00" + jpeg(PICTURE)[2:]),  # a scan before the frame
        ("WebP", webp(PICTURE)[:20]),
        ("WebP", b"RIFF\x40\x00\x00\x00WEBPABCD" + bytes(60)),
        ("GIF", gif(PICTURE)[:12]),
        ("GIF", GIF_SCREEN + b",\0\0"),  # half a descriptor
        ("GIF", GIF_SCREEN + b"!\xf9"),
        ("GIF", GIF_SCREEN + b"," + struct.pack("<HHHHB", 0, 0, 5, 5, 0)),  # no data after it
        ("GIF", GIF_SCREEN + b"!\xf9\3\1\0\0\0" + gif(PICTURE)[13:]),  # a short graphic control block
    ],
)
def test_an_invalid_header_is_refused_by_its_format(kind: str, upload: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match=f"begins like a {kind}"):
        sniff(upload)


@pytest.mark.parametrize("components", [1, 3, 4])
def test_frame_headers_of_1_3_or_4_components_are_accepted(components: int) -> None:
    assert sniff(frame(components=components)).height_px == 9


@pytest.mark.parametrize("upload", [png(PICTURE), webp(PICTURE), gif(PICTURE)])
def test_a_file_without_its_last_byte_is_not_whole(upload: bytes) -> None:
    assert (True, False) == (sniff(upload).is_whole, sniff(upload[:-1]).is_whole)


def test_a_scan_bomb_is_too_complex() -> None:
    with pytest.raises(PictureTooComplex):
        sniff(scan_bomb(64, 64, extra_scans=60))


def test_scans_count_with_their_megapixels() -> None:
    """A grey progressive JPEG has 6 scans of its own: 21 over 49 megapixels are 1029."""
    with pytest.raises(PictureTooComplex):
        sniff(_with_size(scan_bomb(16, 16, extra_scans=15), 7000, 7000))

    assert 7000 == sniff(_with_size(scan_bomb(16, 16, extra_scans=14), 7000, 7000)).width_px


def test_bytes_that_look_like_scans_inside_a_comment_do_not_count() -> None:
    comment = b"\xff\xda\x00\x02" * 1000
    upload = jpeg(PICTURE)
    commented = upload[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + upload[2:]

    assert 47 == sniff(commented).width_px


@pytest.mark.slow
@pytest.mark.parametrize(
    "filling",
    [b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\xfe\x00\x02", b"\x00"],
    ids=["fill bytes", "stuffed bytes", "restarts", "empty comments", "zeros"],
)
@pytest.mark.parametrize("where", ["header", "scan"])
def test_a_long_jpeg_takes_a_few_lines_of_python_a_slice(filling: bytes, where: str) -> None:
    """Only a search in C grows with the file; lines are counted, since seconds depend on the machine."""
    short, long = (_filled(filling, where, size_bytes) for size_bytes in (1_000_000, 20_000_000))
    slices = (len(long) - len(short)) / SLICE_BYTES

    assert 4 * slices >= _lines_run(lambda: sniff(long)) - _lines_run(lambda: sniff(short))


def _filled(filling: bytes, where: str, size_bytes: int) -> bytes:
    upload = jpeg(PICTURE)
    cut = 2 if where == "header" else upload.rindex(b"\xff\xda") + 20
    return upload[:cut] + filling * (size_bytes // len(filling)) + upload[cut:]


def _lines_run(call: Callable[[], object]) -> int:
    """Count the lines of Python that a call runs, whether it raises or not."""
    lines = 0

    def count(_: FrameType, event: str, __: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    tracing = sys.gettrace()
    sys.settrace(count)
    try:
        with contextlib.suppress(CutoutError):
            call()
    finally:
        sys.settrace(tracing)
    return lines


def test_a_png_of_countless_chunks_is_too_complex() -> None:
    upload, chunk = png(PICTURE), bytes(4) + b"teXt" + zlib.crc32(b"teXt").to_bytes(4, "big")
    with pytest.raises(PictureTooComplex):
        sniff(upload[:33] + chunk * 70_000 + upload[33:])


@pytest.mark.parametrize(
    ("width", "height", "is_refused"),
    [(100, 100, False), (101, 100, True), (200, 1, False), (201, 1, True), (1, 201, True)],
)
def test_the_limits_are_on_pixels_and_on_sides(width: int, height: int, is_refused: bool) -> None:
    header = Header("png", width, height, "image/png")
    try:
        check_size(header, limit_px=10_000, limit_side_px=200)
        actual = False
    except PictureTooLarge:
        actual = True

    assert is_refused == actual


@given(mutated=damaged(PICTURE, before=400))
@examples(2)
def test_any_mutation_raises_only_cutout_errors(mutated: bytes) -> None:
    try:
        header = sniff(mutated)
    except CutoutError:
        return

    assert header.width_px > 0


def _with_size(upload: bytes, height: int, width: int) -> bytes:
    frame = upload.index(b"\xff\xc2")
    return upload[: frame + 5] + struct.pack(">HH", height, width) + upload[frame + 9 :]
