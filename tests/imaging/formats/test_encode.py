import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from app.errors import FormatExceeded
from app.imaging.formats.encode import FORMATS, MAX_SIDE_PX, encode
from app.imaging.layout.compose import assemble_cutout
from app.imaging.matting.saliency import to_grey
from tests.imaging.containers import isobmff_boxes
from tests.pictures import disc_alpha, noise, opened, photo

PICTURES = [name for name in FORMATS if name != "zip"]
LOSSY = ["webp", "jpeg", "avif"]
WITH_ALPHA = ["png", "webp", "avif"]
CUTOUT = assemble_cutout(photo(60, 80), to_grey(disc_alpha(60, 80, softness=0.2)))


@pytest.mark.parametrize("name", PICTURES)
def test_each_format_matches_its_media_type(name: str) -> None:
    with Image.open(io.BytesIO(encode(photo(40, 50), format=name, quality=90))) as opened_image:
        actual = (opened_image.get_format_mimetype(), opened_image.size)

    assert (FORMATS[name], (50, 40)) == actual


@pytest.mark.parametrize("name", WITH_ALPHA)
@pytest.mark.parametrize("quality", [1, 80, 100])
def test_alpha_is_exact_at_any_quality(name: str, quality: int) -> None:
    actual = opened(encode(CUTOUT, format=name, quality=quality))

    assert_array_equal(actual[:, :, 3], CUTOUT[:, :, 3])


def test_webp_at_quality_100_is_lossless_where_alpha_is_above_0() -> None:
    actual = opened(encode(CUTOUT, format="webp", quality=100))
    is_visible = CUTOUT[:, :, 3] > 0

    assert_array_equal(actual[is_visible], CUTOUT[is_visible])


def test_avif_at_quality_100_is_within_3_of_255() -> None:
    pixels = noise((60, 80, 3))
    actual = opened(encode(pixels, format="avif", quality=100))

    assert 3 >= np.abs(actual.astype(int) - pixels).max()


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_colours_are_0_under_full_transparency(name: str) -> None:
    actual = opened(encode(CUTOUT, format=name, quality=100))

    assert 0 == actual[CUTOUT[:, :, 3] == 0].max()


@pytest.mark.parametrize("quality", [1, 90, 100])
@pytest.mark.parametrize("name", [*WITH_ALPHA, "zip"])
def test_the_removed_background_leaves_no_trace_at_any_quality(name: str, quality: int) -> None:
    """Lossy codecs ring under alpha 0 next to an edge, but only with the colours passed to them."""
    alpha = to_grey(disc_alpha(60, 80, softness=0.2))
    is_visible = (alpha > 0)[:, :, None]
    first, second = (
        encode(
            assemble_cutout(np.where(is_visible, photo(60, 80), removed), alpha), format=name, quality=quality
        )
        for removed in (noise((60, 80, 3), 1), noise((60, 80, 3), 2))
    )

    assert first == second


@pytest.mark.parametrize("name", LOSSY)
def test_lower_quality_is_smaller(name: str) -> None:
    low, high = (len(encode(photo(200, 300), format=name, quality=quality)) for quality in (30, 95))

    assert low < high


@pytest.mark.parametrize("name", PICTURES)
def test_a_grey_map_can_be_encoded_in_every_picture_format(name: str) -> None:
    grey = (disc_alpha(40, 50) * 255).astype(np.uint8)
    with Image.open(io.BytesIO(encode(grey, format=name, quality=95))) as opened_image:
        actual = np.asarray(opened_image.convert("L")).astype(int)

    assert np.abs(actual - grey).mean() < 2


@pytest.mark.parametrize("name", PICTURES)
def test_no_metadata_is_written(name: str) -> None:
    with Image.open(io.BytesIO(encode(noise((9, 9, 3)), format=name, quality=90))) as opened_image:
        added_keys = {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(opened_image.info)

    assert set() == added_keys


def test_an_avif_declares_srgb() -> None:
    encoded = encode(photo(40, 50), format="avif", quality=90)
    colours = [payload for name, payload in isobmff_boxes(encoded) if name == b"colr"]

    # ISO/IEC 23091-2: primaries 1 are BT.709's, transfer 13 is sRGB's, matrix 6 is BT.601's, full range.
    assert [b"nclx" + bytes([0, 1, 0, 13, 0, 6, 0x80])] == colours


def test_a_grey_avif_has_no_colour_planes() -> None:
    with Image.open(io.BytesIO(encode(noise((9, 9)), format="avif", quality=90))) as opened_image:
        assert "L" == opened_image.mode


def test_a_jpeg_with_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match="no alpha"):
        encode(CUTOUT, format="jpeg", quality=90)


@pytest.mark.parametrize("pixels", [photo(9, 9), noise((9, 9))])
def test_a_zip_without_alpha_is_refused(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    with pytest.raises(ValueError, match="alpha"):
        encode(pixels, format="zip", quality=90)


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'gif'"):
        encode(CUTOUT, format="gif", quality=90)


def test_every_format_has_a_maximum_side() -> None:
    assert set(MAX_SIDE_PX) == set(FORMATS)


@pytest.mark.parametrize("is_high", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", ["webp", "jpeg", "avif", "zip"])
def test_the_maximum_side_is_that_of_the_encoder(name: str, channels: int, *, is_high: bool) -> None:
    """With one pixel more the encoder itself would fail, so ``encode`` refuses before calling it."""
    if (name == "jpeg" and channels == 4) or (name == "zip" and channels < 4):
        return
    for side, is_refused in ((MAX_SIDE_PX[name], False), (MAX_SIDE_PX[name] + 1, True)):
        shape = (side, 1) if is_high else (1, side)
        pixels = np.zeros(shape if channels == 1 else (*shape, channels), np.uint8)
        if is_refused:
            with pytest.raises(FormatExceeded):
                encode(pixels, format=name, quality=80)
            with pytest.raises((ValueError, OSError, RuntimeError)):
                bare(pixels, name)
        else:
            assert encode(pixels, format=name, quality=80)


def test_a_png_side_is_limited_to_31_bits() -> None:
    pixels = np.broadcast_to(np.uint8(0), (1, MAX_SIDE_PX["png"] + 1))
    with pytest.raises(FormatExceeded):
        encode(pixels, format="png", quality=80)


def bare(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], name: str) -> None:
    """Encode with Pillow alone."""
    kind = {"zip": "JPEG"}.get(name, name.upper())
    Image.fromarray(np.ascontiguousarray(pixels[..., :3]) if name == "zip" else pixels).save(
        io.BytesIO(), kind
    )
