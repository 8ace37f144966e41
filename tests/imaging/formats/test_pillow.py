import io
import struct
import zlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from app.imaging.formats.isobmff import read_boxes
from app.imaging.formats.pillow import pixels, strip_metadata
from tests.pictures import avif, gif, jpeg, noise, photo, png

PICTURE = photo(40, 60)


@pytest.mark.parametrize(
    ("stored", "mode"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("CMYK", "CMYK")],
)
def test_pixels_copied_in_strips_equal_the_whole_picture(stored: str, mode: str) -> None:
    """The picture has three strips, the last one shorter."""
    picture = Image.fromarray(noise((600, 1000, 3))).convert(stored)
    expected = np.asarray(picture.convert(mode))

    assert_array_equal(pixels(picture, mode), expected)


def test_a_palettes_transparency_is_kept_in_every_strip() -> None:
    picture = Image.fromarray(noise((600, 1000))).convert("P")
    picture.info["transparency"] = bytes(range(256))

    assert_array_equal(pixels(picture, "RGBA"), np.asarray(picture.convert("RGBA")))


def test_the_exif_of_a_jpeg_is_stripped() -> None:
    upload = jpeg(PICTURE, exif_orientation=6)
    with Image.open(io.BytesIO(strip_metadata(upload, "jpeg"))) as opened_image:
        assert {} == dict(opened_image.getexif())
        assert "exif" not in opened_image.info


def test_the_exif_of_an_avif_is_stripped() -> None:
    upload = avif(PICTURE, exif_orientation=6)
    with_exif = io.BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(PICTURE).save(with_exif, "AVIF", exif=exif)
    stripped = strip_metadata(with_exif.getvalue(), "avif")

    assert b"Exif" in {item.kind for item in read_boxes(with_exif.getvalue()).items.values()}
    assert b"Exif" not in {item.kind for item in read_boxes(stripped).items.values()}
    with Image.open(io.BytesIO(stripped)) as opened_image:
        assert_array_equal(np.asarray(opened_image), np.asarray(Image.open(with_exif)))
    assert upload == strip_metadata(upload, "avif")


def test_an_avif_sequence_is_reduced_to_its_main_picture() -> None:
    encoded = io.BytesIO()
    frames = [Image.fromarray(photo(20, 30, seed)) for seed in (1, 2, 3)]
    frames[0].save(encoded, "AVIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(strip_metadata(encoded.getvalue(), "avif"))) as opened_image:
        assert 1 == getattr(opened_image, "n_frames", 1)


def test_the_profile_of_a_png_is_stripped() -> None:
    upload = png(PICTURE)
    payload = b"iCCPname\x00\x09broken"  # an unknown method fails a picture in Pillow
    chunk = struct.pack(">I", len(payload) - 4) + payload + struct.pack(">I", zlib.crc32(payload))

    assert upload == strip_metadata(upload[:33] + chunk + upload[33:], "png")


@pytest.mark.parametrize(
    ("upload", "kind"), [(png(PICTURE), "png"), (jpeg(PICTURE), "jpeg"), (gif(PICTURE), "gif")]
)
def test_an_upload_without_metadata_is_not_copied(upload: bytes, kind: str) -> None:
    assert strip_metadata(upload, kind) is upload
