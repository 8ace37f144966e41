import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from app.errors import CorruptPicture, CutoutError, UnsupportedFormat
from app.imaging.formats.colour import to_srgb
from app.imaging.formats.containers import jpeg_segments
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import check_size, sniff
from tests.imaging.damage import damaged
from tests.pictures import avif, gif, jpeg, laid_down, noise, photo, png, webp
from tests.profiles import DISPLAY_P3, GAMMA_2_2, SRGB_CURVE, grey_profile, matrix_profile, table_profile

PICTURE = photo(24, 37)
P3 = matrix_profile(DISPLAY_P3, SRGB_CURVE)
BROKEN = "The picture's data is broken or cut off."


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


def test_a_16_bit_grey_is_scaled_and_not_clipped() -> None:
    samples = np.array([[0, 128, 129, 300, 32896, 65535]], dtype=np.uint16)
    actual = _decoded(_png16(samples))

    assert [0, 0, 1, 1, 128, 255] == actual.rgb[0, :, 0].tolist()


def test_a_transparent_16_bit_grey_is_compared_in_full_depth() -> None:
    samples = np.array([[0, 300, 301]], dtype=np.uint16)
    actual = _decoded(_png16(samples, transparency=300))

    assert actual.own_alpha is not None
    assert [255, 0, 255] == actual.own_alpha[0].tolist()


@pytest.mark.parametrize(
    ("bits", "transparent", "expected"), [(1, 1, [255, 0]), (2, 1, [255, 0]), (4, 3, [255, 0])]
)
def test_a_transparent_grey_is_compared_in_the_files_depth(
    bits: int, transparent: int, expected: list[int]
) -> None:
    packed = bytes([0, (0 << (8 - bits)) | (transparent << (8 - 2 * bits))])
    actual = _decoded(_png(1, 2, bits, 0, packed, {b"tRNS": struct.pack(">H", transparent)}))

    assert actual.own_alpha is not None
    assert expected == actual.own_alpha[0].tolist()


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth_are_converted_to_rgb(bits: int, is_interlaced: bool) -> None:
    colours = noise((2**bits, 3))
    indices = np.arange(8) % 2**bits
    packed = int("".join(f"{index:0{bits}b}" for index in indices), 2).to_bytes(bits, "big")
    rows = _adam7_of_a_row(indices, bits) if is_interlaced else b"\x00" + packed
    actual = _decoded(_png(1, 8, bits, 3, rows, {b"PLTE": colours.tobytes()}, is_interlaced=is_interlaced))

    assert_array_equal(actual.rgb[0], colours[indices])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_narrow_greys_are_scaled_to_all_levels(bits: int) -> None:
    levels = np.arange(8) % 2**bits
    packed = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(bits, "big")
    actual = _decoded(_png(1, 8, bits, 0, b"\x00" + packed, {}))

    assert_array_equal(actual.rgb[0, :, 0], levels * 255 // (2**bits - 1))


def test_a_palette_with_transparency_gives_colours_and_alpha() -> None:
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    upload = _png(1, 3, 8, 3, bytes([0, 0, 1, 2]), {b"PLTE": palette, b"tRNS": bytes([255, 128, 0])})
    actual = _decoded(upload)

    assert actual.own_alpha is not None
    assert [[255, 0, 0], [0, 255, 0], [0, 0, 255]] == actual.rgb[0].tolist()
    assert [255, 128, 0] == actual.own_alpha[0].tolist()


def test_a_transparent_colour_gives_alpha() -> None:
    upload = _png(1, 2, 8, 2, bytes([0, 9, 8, 7, 9, 8, 6]), {b"tRNS": struct.pack(">HHH", 9, 8, 7)})
    actual = _decoded(upload)

    assert actual.own_alpha is not None
    assert [0, 255] == actual.own_alpha[0].tolist()


def test_an_opaque_alpha_channel_is_dropped() -> None:
    opaque = np.dstack([PICTURE, np.full(PICTURE.shape[:2], 255, dtype=np.uint8)])

    assert _decoded(png(opaque)).own_alpha is None


def test_a_grey_with_alpha_is_split() -> None:
    pixels = Image.fromarray(noise((5, 6, 2)), "LA")
    actual = _decoded(_saved(pixels, "PNG"))

    assert actual.own_alpha is not None
    assert_array_equal(np.dstack([actual.rgb[:, :, 0], actual.own_alpha]), np.asarray(pixels))


def test_a_cmyk_jpeg_is_not_negative() -> None:
    cmyk = Image.fromarray(PICTURE).convert("CMYK")
    actual = _decoded(_saved(cmyk, "JPEG", quality=95))

    assert np.abs(actual.rgb.astype(int) - PICTURE).mean() < 5


def test_a_ycck_jpeg_is_not_negative() -> None:
    cmyk = np.asarray(Image.fromarray(PICTURE).convert("CMYK"))
    upload = simplejpeg.encode_jpeg(np.ascontiguousarray(255 - cmyk), 95, "CMYK")

    assert "YCCK" == simplejpeg.decode_jpeg_header(upload)[2]
    assert np.abs(_decoded(upload).rgb.astype(int) - PICTURE).mean() < 5


def test_an_arithmetically_coded_jpeg_is_read(shared_data: Path) -> None:
    """Of the hostile files that a decoder accepts, a few have an SOF9 or SOF10 frame."""
    names = [
        path.name
        for path in sorted((shared_data / "hostile" / "ok").glob("*.jpg"))
        if any(segment.name in (b"\xc9", b"\xca") for segment in jpeg_segments(path.read_bytes()))
        and _outcome(path.read_bytes()) == "ok"
    ]

    assert names


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


def test_a_png_profile_with_a_wrong_checksum_does_not_fail_the_picture() -> None:
    upload = _saved(Image.fromarray(PICTURE), "PNG", icc_profile=P3)
    at = upload.index(b"iCCP") + 20

    assert ("icc_ignored",) == _decoded(upload[:at] + b"????" + upload[at + 4 :]).warnings


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


def test_a_picture_beyond_pillows_own_limit_is_decoded() -> None:
    side = 9_600  # 92 megapixels: Pillow warns from 89
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        actual = _decoded(_png_of(side, side, 1, 0, rows))

    assert (side, side, 3) == actual.rgb.shape


@given(mutated=damaged(PICTURE, before=1500))
@settings(max_examples=200, deadline=None)
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


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, kind, **options)
    return encoded.getvalue()


def _png16(grey: NDArray[np.uint16], transparency: int | None = None) -> bytes:
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in grey)
    extra = {} if transparency is None else {b"tRNS": struct.pack(">H", transparency)}
    return _png(*grey.shape, 16, 0, rows, extra)


def _png(
    height: int,
    width: int,
    bits: int,
    colour: int,
    rows: bytes,
    extra: dict[bytes, bytes],
    *,
    is_interlaced: bool = False,
) -> bytes:
    return _png_of(height, width, bits, colour, zlib.compress(rows), extra, is_interlaced=is_interlaced)


def _png_of(
    height: int,
    width: int,
    bits: int,
    colour: int,
    deflated: bytes,
    extra: dict[bytes, bytes] | None = None,
    *,
    is_interlaced: bool = False,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, is_interlaced)
    chunks = {b"IHDR": header, **(extra or {}), b"IDAT": deflated, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
        for name, payload in chunks.items()
    )


def _adam7_of_a_row(samples: NDArray[np.int64], bits: int) -> bytes:
    """Pack a picture of one row of eight in the four passes that contain the first row."""
    passes = (samples[0::8], samples[4::8], samples[2::4], samples[1::2])
    texts = ("".join(f"{sample:0{bits}b}" for sample in one_pass) for one_pass in passes)
    padded = [text + "0" * (-len(text) % 8) for text in texts]
    return b"".join(b"\x00" + int(text, 2).to_bytes(len(text) // 8, "big") for text in padded)


def _exif_of_a_maker() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    return exif
