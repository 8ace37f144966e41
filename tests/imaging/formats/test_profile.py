import io
import struct
import zlib

import pytest
from PIL import Image

from app.imaging.formats.profile import MAX_PROFILE_BYTES, UNUSABLE, find_profile
from tests.pictures import avif, gif, heic, jpeg, photo, png, webp
from tests.profiles import DISPLAY_P3, SRGB_CURVE, matrix_profile

PICTURE = photo(20, 30)
PROFILE = matrix_profile(DISPLAY_P3, SRGB_CURVE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_profile_is_found_in_every_container(kind: str) -> None:
    encoded = io.BytesIO()
    Image.fromarray(PICTURE).save(encoded, kind, icc_profile=PROFILE)

    assert PROFILE == find_profile(encoded.getvalue(), kind.lower())


def test_a_profile_is_found_in_a_heic() -> None:
    pytest.importorskip("pillow_heif")

    assert PROFILE == find_profile(heic(PICTURE, icc_profile=PROFILE), "heic")


def test_a_picture_without_a_profile_has_none() -> None:
    uploads = {"jpeg": jpeg(PICTURE), "png": png(PICTURE), "webp": webp(PICTURE), "gif": gif(PICTURE)}

    assert {None} == {
        find_profile(upload, kind) for kind, upload in {**uploads, "avif": avif(PICTURE)}.items()
    }


def test_a_profile_in_several_segments_is_joined() -> None:
    large = PROFILE + bytes(150_000)
    encoded = io.BytesIO()
    Image.fromarray(PICTURE).save(encoded, "JPEG", icc_profile=large)

    assert large == find_profile(encoded.getvalue(), "jpeg")
    assert b"abc" == find_profile(_with_segments((2, 3, b"b"), (3, 3, b"c"), (1, 3, b"a")), "jpeg")


@pytest.mark.parametrize(
    "segments",
    [
        [(1, 2, b"a")],
        [(1, 2, b"a"), (1, 2, b"b")],
        [(1, 2, b"a"), (2, 3, b"b")],
        [(0, 1, b"a")],
        [(1, 1, b"")],
    ],
    ids=["one missing", "one twice", "no agreement", "numbered from 0", "empty"],
)
def test_inconsistent_profile_segments_are_unusable(segments: list[tuple[int, int, bytes]]) -> None:
    assert UNUSABLE == find_profile(_with_segments(*segments), "jpeg")


@pytest.mark.parametrize(
    "payload",
    [
        b"name\x00\x00" + zlib.compress(bytes(50_000_000)),
        b"name\x00\x00" + zlib.compress(PROFILE)[:-9],
        b"name\x00\x00not deflated",
        b"name\x00\x01" + zlib.compress(PROFILE),
        b"name",
    ],
    ids=["bomb", "cut off", "junk", "another method", "no name"],
)
def test_a_png_profile_that_cannot_be_inflated_is_unusable(payload: bytes) -> None:
    assert UNUSABLE == find_profile(_with_chunk(b"iCCP", payload), "png")


def test_an_oversized_profile_is_unusable() -> None:
    largest, larger = bytes(MAX_PROFILE_BYTES), bytes(MAX_PROFILE_BYTES + 1)

    assert largest == find_profile(_with_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(largest)), "png")
    assert UNUSABLE == find_profile(_with_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(larger)), "png")
    chunk = b"ICCP" + struct.pack("<I", len(larger)) + larger
    assert UNUSABLE == find_profile(b"RIFF\x00\x00\x00\x00WEBP" + chunk, "webp")


def _with_segments(*segments: tuple[int, int, bytes]) -> bytes:
    upload = jpeg(PICTURE)
    payloads = [b"ICC_PROFILE\x00" + bytes((number, count)) + content for number, count, content in segments]
    inserted = (b"\xff\xe2" + struct.pack(">H", len(payload) + 2) + payload for payload in payloads)
    return upload[:2] + b"".join(inserted) + upload[2:]


def _with_chunk(name: bytes, payload: bytes) -> bytes:
    upload = png(PICTURE)
    chunk = struct.pack(">I", len(payload)) + name + payload
    return upload[:33] + chunk + struct.pack(">I", zlib.crc32(name + payload)) + upload[33:]
