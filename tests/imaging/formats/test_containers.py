import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import PictureTooComplex
from app.imaging.formats.containers import SLICE_BYTES, gif_blocks, jpeg_segments, png_chunks, webp_chunks
from tests.pictures import gif, jpeg, photo, png, webp

PICTURE = photo(20, 30)


def test_a_jpeg_ends_with_its_end_marker_and_has_one_frame() -> None:
    names = [segment.name for segment in jpeg_segments(jpeg(PICTURE))]

    assert (b"\xd9", 1, 1) == (names[-1], names.count(b"\xc0"), names.count(b"\xda"))


def test_a_progressive_jpeg_has_many_scans() -> None:
    """Colour: 1 for DC, 2 + 1 + 1 for AC, 1 for DC refinement, 1 + 3 for AC refinement."""
    names = [segment.name for segment in jpeg_segments(jpeg(PICTURE, progressive=True))]

    assert 10 == names.count(b"\xda")


def test_png_chunks_range_from_header_to_end() -> None:
    names = [chunk.name for chunk in png_chunks(png(PICTURE) + b"trailing")]

    assert (b"IHDR", b"IEND") == (names[0], names[-1])


def test_webp_chunks_are_found_by_name() -> None:
    names = [chunk.name for chunk in webp_chunks(webp(PICTURE, exif_orientation=3))]

    assert {b"VP8X", b"VP8 ", b"EXIF"} == set(names)


def test_gif_blocks_range_from_the_first_to_the_end() -> None:
    names = [block.name for block in gif_blocks(gif(PICTURE, photo(20, 30, seed=1)) + b"trailing")]

    assert (2, b";") == (names.count(b","), names[-1])


@pytest.mark.parametrize(
    "filling", [b"\x01.", b"\x00!\xfe", b"\x00."], ids=["sub-blocks", "comments", "stray bytes"]
)
def test_a_gif_of_countless_blocks_is_too_complex(filling: bytes) -> None:
    upload = b"GIF89a" + bytes(7) + b"!\xfe" + filling * 70_000
    with pytest.raises(PictureTooComplex):
        list(gif_blocks(upload))


def test_full_sub_blocks_of_a_gif_do_not_count() -> None:
    comment = (b"\xff" + bytes(255)) * 100_000

    assert [b"!", b";"] == [
        block.name for block in gif_blocks(b"GIF89a" + bytes(7) + b"!\xfe" + comment + b"\x00;")
    ]


def test_segments_lie_inside_a_file_cut_anywhere() -> None:
    for upload, walk in (
        (jpeg(PICTURE), jpeg_segments),
        (png(PICTURE), png_chunks),
        (webp(PICTURE), webp_chunks),
        (gif(PICTURE), gif_blocks),
    ):
        for kept in range(40, len(upload), 7):
            for part in walk(upload[:kept]):
                assert part.start <= part.end <= kept


@given(after=st.integers(0, 3), slices=st.integers(1, 3), marker=st.sampled_from([0xD9, 0xDA, 0xC4]))
def test_a_marker_is_found_across_the_slices_of_a_search(after: int, slices: int, marker: int) -> None:
    scan = b"\xff\xda\x00\x02" + bytes(slices * SLICE_BYTES - 10 + after)
    upload = b"\xff\xd8" + scan + bytes((0xFF, marker, 0, 2)) + b"\xff\xd9"
    walked = [(segment.name[0], segment.start) for segment in jpeg_segments(upload)]
    found = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]").search(upload, len(b"\xff\xd8\xff\xda\x00\x02"))
    assert found is not None

    assert marker == walked[1][0]
    assert found.end() == walked[1][1] - (0 if marker == 0xD9 else 2)
