import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.testing import assert_array_equal
from PIL import Image

from app.imaging.formats.colour import to_srgb
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.pictures import avif, jpeg, laid_down, noise, photo, png, webp
from tests.profiles import DISPLAY_P3, GAMMA_2_2, SRGB_CURVE, grey_profile, matrix_profile, table_profile

PICTURE = photo(24, 37)
P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE)


def test_a_lossless_upload_is_decoded_exactly() -> None:
    for upload in (png(PICTURE), webp(PICTURE, lossless=True)):
        actual = _decoded(upload)

        assert_array_equal(actual.rgb, PICTURE)
        assert (None, ()) == (actual.own_alpha, actual.warnings)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "encode", [png, lambda pixels, **o: webp(pixels, lossless=True, **o)], ids=["png", "webp"]
)
def test_every_orientation_is_turned_upright(encode, orientation: int) -> None:  # type: ignore[no-untyped-def]
    actual = _decoded(encode(laid_down(PICTURE, orientation), exif_orientation=orientation))

    assert_array_equal(actual.rgb, PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_own_alpha_is_turned_with_its_picture(orientation: int) -> None:
    rgba = noise((9, 14, 4))
    upload = png(laid_down(rgba, orientation), exif_orientation=orientation)
    actual = _decoded(upload)

    assert actual.own_alpha is not None
    assert_array_equal(np.dstack([actual.rgb, actual.own_alpha]), rgba)


@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_pictures_are_upright(shared_data: Path, name: str, orientation: int) -> None:
    upright = _decoded((shared_data / "orientation" / f"{name}_0.jpg").read_bytes()).rgb
    turned = _decoded((shared_data / "orientation" / f"{name}_{orientation}.jpg").read_bytes()).rgb

    assert upright.shape == turned.shape
    assert np.abs(upright.astype(int) - turned).mean() <= 5


@pytest.mark.parametrize("kind", ["jpg", "webp"])
@pytest.mark.parametrize("orientation", range(3, 9))
def test_pictures_of_a_library_are_upright(shared_data: Path, kind: str, orientation: int) -> None:
    folder = shared_data / "orientation" / "pillow"
    one, other = (
        _decoded((folder / f"hopper_orientation_{n}.{kind}").read_bytes()).rgb for n in (2, orientation)
    )

    assert np.abs(one.astype(int) - other).mean() <= 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_upright_only_once(orientation: int) -> None:
    actual = _decoded(avif(laid_down(PICTURE, orientation), exif_orientation=orientation))

    assert PICTURE.shape == actual.rgb.shape
    assert np.abs(actual.rgb.astype(int) - PICTURE).mean() < 3


def test_malformed_exif_does_not_fail_an_avif() -> None:
    upload = _saved(Image.fromarray(PICTURE), "AVIF", exif=_exif_of_a_maker())
    broken = upload.replace(b"MM\x00*", b"????").replace(b"II*\x00", b"????")

    assert upload != broken
    assert_array_equal(_decoded(broken).rgb, _decoded(upload).rgb)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\x00\x00",
        b"Exif\x00\x00garbage",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x09\x00\x00\x00",
        b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x02\x00\x01\x00\x00\x00\x06\x00\x00\x00",
    ],
    ids=["empty", "no TIFF", "far directory", "cut directory", "orientation 9", "orientation as text"],
)
def test_malformed_exif_is_ignored_with_a_warning(exif: bytes) -> None:
    upload = jpeg(PICTURE)
    with_exif = upload[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + upload[2:]
    actual = _decoded(with_exif)

    assert (PICTURE.shape, ("exif_ignored",)) == (actual.rgb.shape, actual.warnings)


def test_pillow_gets_no_exif_that_it_would_warn_about() -> None:
    entries = b"".join(struct.pack("<HHII", tag, 5, 9999, 99999) for tag in (0x11A, 0x11B, 0x10F))
    exif = b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x03\x00" + entries
    upload = jpeg(PICTURE)
    with_exif = upload[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + upload[2:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _decoded(with_exif)

    assert [] == caught


def test_a_cmyk_jpeg_is_not_negative() -> None:
    cmyk = Image.fromarray(PICTURE).convert("CMYK")
    actual = _decoded(_saved(cmyk, "JPEG", quality=95))

    assert np.abs(actual.rgb.astype(int) - PICTURE).mean() < 5


def test_a_ycck_jpeg_is_not_negative() -> None:
    cmyk = np.asarray(Image.fromarray(PICTURE).convert("CMYK"))
    upload = simplejpeg.encode_jpeg(np.ascontiguousarray(255 - cmyk), 95, "CMYK")

    assert "YCCK" == simplejpeg.decode_jpeg_header(upload)[2]
    assert np.abs(_decoded(upload).rgb.astype(int) - PICTURE).mean() < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_an_embedded_profile_is_applied(kind: str) -> None:
    options = {"WEBP": {"lossless": True, "exact": True}, "AVIF": {"quality": 100}}.get(
        kind, {"quality": 100}
    )
    plain, wide = (
        _decoded(_saved(Image.fromarray(PICTURE), kind, icc_profile=profile, **options))
        for profile in (b"", P3)
    )
    expected = to_srgb(plain.rgb, P3)[0]

    assert () == wide.warnings
    assert_array_equal(wide.rgb, expected)
    assert np.abs(expected.astype(int) - plain.rgb).mean() > 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "profile",
    [b"junk", P3[:200], bytes(5_000_000), grey_profile(GAMMA_2_2)],
    ids=["junk", "cut", "oversized", "grey"],
)
def test_an_unusable_profile_is_ignored_with_a_warning(kind: str, profile: bytes) -> None:
    plain, unusable = (
        _decoded(_saved(Image.fromarray(PICTURE), kind, icc_profile=one)) for one in (b"", profile)
    )

    assert ("icc_ignored",) == unusable.warnings
    assert_array_equal(unusable.rgb, plain.rgb)


def test_a_cmyk_jpeg_is_converted_by_its_profile() -> None:
    """This profile's press prints all inks by the black channel."""
    profile = table_profile(b"CMYK", lambda ink: 100 * (1 - ink[:, [3, 3, 3]]) * (1, 0, 0), points=5)
    cmyk = Image.merge("CMYK", [*Image.fromarray(noise((24, 37, 3))).split(), Image.new("L", (37, 24), 128)])
    actual = _decoded(_saved(cmyk, "JPEG", quality=95, icc_profile=profile))

    assert () == actual.warnings
    assert np.ptp(actual.rgb.astype(int), axis=2).max() <= 2


@pytest.mark.parametrize("kind", ["GIF", "AVIF", "WEBP"])
def test_transparency_becomes_the_pictures_own_alpha(kind: str) -> None:
    alpha = np.tile(np.repeat(np.array([0, 255], np.uint8), [17, 20]), (24, 1))
    rgba = Image.fromarray(np.dstack([PICTURE, alpha]))
    actual = _decoded(_saved(rgba, kind, **({"quality": 100} if kind == "AVIF" else {})))

    assert actual.own_alpha is not None
    assert np.abs(actual.own_alpha.astype(int) - alpha).mean() < 1


def test_a_gif_has_the_colours_of_its_palette() -> None:
    paletted = Image.fromarray(PICTURE).quantize(64)
    actual = _decoded(_saved(paletted, "GIF"))

    assert_array_equal(actual.rgb, np.asarray(paletted.convert("RGB")))


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF", "AVIF"])
def test_an_animation_has_a_warning(kind: str) -> None:
    frames = [Image.fromarray(pixels) for pixels in (photo(20, 30), 255 - photo(20, 30))]
    moving = _decoded(_saved(frames[0], kind, save_all=True, append_images=frames[1:]))
    still = _decoded(_saved(frames[0], kind))

    assert (("first_frame_only",), ()) == (moving.warnings, still.warnings)
    assert np.abs(moving.rgb.astype(int) - still.rgb).mean() < 6


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_decoded(kind: str) -> None:
    frames = [Image.fromarray(photo(20, 30, seed)) for seed in (1, 2)]
    actual = _decoded(_saved(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))

    assert_array_equal(actual.rgb, np.asarray(frames[0]))
    assert ("first_frame_only",) == actual.warnings


def _decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


def _exif_of_a_maker() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    return exif
