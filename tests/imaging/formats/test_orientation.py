import struct

import pytest

from app.imaging.formats.orientation import find_exif, read_orientation
from tests.pictures import jpeg, photo, png, webp

PICTURE = photo(12, 10)


@pytest.mark.parametrize(("file_format", "encode"), [("jpeg", jpeg), ("png", png), ("webp", webp)])
def test_exif_is_found_in_every_container(file_format: str, encode) -> None:  # type: ignore[no-untyped-def]
    exif = find_exif(encode(PICTURE, exif_orientation=7), file_format)

    assert exif is not None
    assert 7 == read_orientation(exif)


@pytest.mark.parametrize(("file_format", "encode"), [("jpeg", jpeg), ("png", png), ("webp", webp)])
def test_a_picture_without_exif_has_none(file_format: str, encode) -> None:  # type: ignore[no-untyped-def]
    assert find_exif(encode(PICTURE), file_format) is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(3, "Hxx"), (4, "I")])
def test_both_byte_orders_and_both_integer_types_are_read(order: str, kind: int, code: str) -> None:
    magic = b"II*\x00" if order == "<" else b"MM\x00*"
    other = struct.pack(f"{order}HHII", 0x010F, 2, 4, 0)
    entry = struct.pack(f"{order}HHI{code}", 0x0112, kind, 1, 6)
    exif = magic + struct.pack(f"{order}IH", 8, 2) + other + entry

    assert 6 == read_orientation(exif)


def test_exif_without_the_tag_means_upright() -> None:
    assert 1 == read_orientation(b"II*\x00" + struct.pack("<IH", 8, 0))


def test_a_directory_that_refers_to_itself_is_malformed() -> None:
    assert read_orientation(b"II*\x00" + struct.pack("<IH", 4, 65_535)) is None
