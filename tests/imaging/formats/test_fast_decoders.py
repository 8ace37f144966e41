import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture, CutoutError
from app.imaging.formats.fast_decoders import read_jpeg_strictly, read_webp_fast
from app.imaging.formats.pillow import READER_ERRORS, read_with_pillow
from app.imaging.formats.raw_picture import RawPicture
from app.imaging.formats.sniff import Header, check_size, sniff
from tests.generated import examples
from tests.pictures import jpeg, noise, photo, webp

PICTURE = photo(85, 131)
RGBA = np.dstack([noise((85, 131, 3)), np.tile(np.arange(131, dtype=np.uint8), (85, 1))])


def _jpeg(pixels: NDArray[np.uint8], mode: str | None = None, **options: object) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(encoded, "JPEG", **options)
    return encoded.getvalue()


def _webp_with_profile() -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(PICTURE).save(encoded, "WEBP", icc_profile=b"any", exif=Image.Exif(), xmp=b"any")
    return encoded.getvalue()


REGULAR = {
    "4:2:0": _jpeg(PICTURE, quality=85),
    "4:2:2": _jpeg(PICTURE, quality=92, subsampling=1),
    "4:4:4": _jpeg(PICTURE, quality=95, subsampling=0),
    "grey": jpeg(PICTURE[:, :, 0]),
    "cmyk": _jpeg(PICTURE, "CMYK"),
    "ycck": simplejpeg.encode_jpeg(noise((85, 131, 4)), 90, "CMYK"),
    "rgb inside": _jpeg(PICTURE, quality=90, keep_rgb=True),
    "progressive": jpeg(PICTURE, progressive=True),
    "optimised": _jpeg(PICTURE, optimize=True),
    "restarts": _jpeg(PICTURE, restart_marker_blocks=3),
    "one pixel": jpeg(photo(1, 1)),
    "a line": _jpeg(photo(1, 700)),
    "turned": jpeg(PICTURE, exif_orientation=6),
    "webp": webp(PICTURE),
    "lossless webp": webp(PICTURE, lossless=True),
    "webp with alpha": webp(RGBA),
    "lossless webp with alpha": webp(RGBA, lossless=True),
    "extended webp": webp(PICTURE, exif_orientation=3),
    "webp with a profile": _webp_with_profile(),
    "webp of a pixel": webp(photo(1, 1)),
}


@pytest.mark.parametrize("upload", REGULAR.values(), ids=REGULAR)
def test_fast_decoders_give_the_same_pixels_as_pillow(upload: bytes) -> None:
    header = sniff(upload)
    actual = _read_fast(upload, header)

    assert actual is not None
    _assert_same(read_with_pillow(upload, header), actual)


@pytest.mark.parametrize(
    "upload",
    [
        REGULAR["4:2:0"][:-2],
        REGULAR["4:2:0"][:-400] + b"\xff\xd9",
        REGULAR["4:2:0"].replace(b"\xff\xda", b"\x00\xff\xda"),
        webp(PICTURE) + b"trailing",
    ],
    ids=["no end", "cut jpeg", "junk in a jpeg", "webp and more"],
)
def test_irregular_files_are_left_to_pillow(upload: bytes) -> None:
    assert _read_fast(upload, sniff(upload)) is None


def test_an_animation_is_left_to_pillow() -> None:
    frames = [Image.fromarray(photo(20, 30, seed)) for seed in (1, 2)]
    encoded = io.BytesIO()
    frames[0].save(encoded, "WEBP", save_all=True, append_images=frames[1:])

    assert _read_fast(encoded.getvalue(), sniff(encoded.getvalue())) is None


@given(
    kind=st.sampled_from([*REGULAR]),
    position=st.integers(2, 4000),
    junk=st.binary(min_size=1, max_size=4),
    is_cut=st.booleans(),
)
@examples(3)
def test_fast_decoders_agree_with_pillow_on_mutated_files(
    kind: str, position: int, junk: bytes, is_cut: bool
) -> None:
    whole = REGULAR[kind]
    upload = whole[:position] if is_cut else whole[:position] + junk + whole[position + len(junk) :]
    try:
        header = sniff(upload)
        check_size(header, limit_px=200_000, limit_side_px=4_000)
    except CutoutError:
        return
    actual = _read_fast(upload, header)
    if actual is not None and header.is_whole:
        _assert_same(read_with_pillow(upload, header), actual)


def test_fast_decoders_agree_with_pillow_on_hostile_files(shared_data: Path) -> None:
    compared, refused = 0, []
    for path in sorted((shared_data / "hostile").glob("*/*")):
        upload = path.read_bytes()
        try:
            header = sniff(upload)
            check_size(header, limit_px=20_000_000, limit_side_px=16_384)
        except CutoutError:
            continue
        actual = _read_fast(upload, header)
        if actual is not None and header.is_whole:
            compared += 1
            try:
                _assert_same(read_with_pillow(upload, header), actual)
            except (CorruptPicture, *READER_ERRORS):
                refused.append(path.name)

    assert compared > 0
    assert [] == refused


def _read_fast(upload: bytes, header: Header) -> RawPicture | None:
    if header.format == "webp":
        return read_webp_fast(upload, header)
    try:
        return read_jpeg_strictly(upload, header) if header.format == "jpeg" else None
    except ValueError:
        return None


def _assert_same(expected: RawPicture, actual: RawPicture) -> None:
    assert_array_equal(_rgb(actual), _rgb(expected))
    if expected.own_alpha is None:
        assert actual.own_alpha is None or actual.own_alpha.min() == 255
    else:
        opaque = np.full(expected.own_alpha.shape, 255)
        assert_array_equal(opaque if actual.own_alpha is None else actual.own_alpha, expected.own_alpha)


def _rgb(raw: RawPicture) -> NDArray[np.uint8]:
    return raw.colours if raw.colours.ndim == 3 else np.dstack([raw.colours] * 3)
