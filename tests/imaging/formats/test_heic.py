import io
import struct

import numpy as np
import pytest

from app.errors import CorruptPicture, CutoutError
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import sniff
from tests.pictures import heic, laid_down, photo
from tests.profiles import DISPLAY_P3, SRGB_CURVE, matrix_profile

pytest.importorskip("pillow_heif", reason="reading HEIC needs the extra cutout-server[heif]")

PICTURE = photo(97, 131)


def test_a_heic_is_decoded_at_its_own_size() -> None:
    assert _distance(_decoded(heic(PICTURE))) < 1.5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_turned_upright_only_once(orientation: int) -> None:
    """The file has its orientation twice, in its boxes and in EXIF; libheif has applied the boxes."""
    stored = laid_down(PICTURE, orientation)

    assert _distance(_decoded(heic(stored, exif_orientation=orientation))) < 1.5


def test_a_grey_heic_is_converted_to_rgb() -> None:
    actual = _decoded(heic(PICTURE[:, :, 0]))

    assert np.abs(actual.rgb.astype(int) - PICTURE[:, :, :1]).mean() < 1.5


@pytest.mark.parametrize("has_code_points", [True, False])
def test_a_ten_bit_grey_heic_is_scaled_to_8_bits(*, has_code_points: bool) -> None:
    """libheif returns it in 16 bits, and every picture in colour in 8."""
    import pillow_heif

    ramp = np.tile(np.linspace(0, 65535, 131).astype(np.uint16), (97, 1))
    file = io.BytesIO()
    pillow_heif.encode("L;16", (131, 97), ramp.tobytes(), file, quality=95)
    upload = file.getvalue()
    actual = _decoded(upload if has_code_points else upload.replace(b"colrnclx", b"freenclx"))

    assert np.abs(actual.rgb - ramp[:, :, None] / 257).max() <= 2


def test_a_heic_keeps_its_own_alpha() -> None:
    alpha = np.tile(np.linspace(0, 255, 131).astype(np.uint8), (97, 1))
    actual = _decoded(heic(np.dstack([PICTURE, alpha])))

    assert actual.own_alpha is not None
    assert np.abs(actual.own_alpha.astype(int) - alpha).mean() < 1
    assert _distance(actual) < 1.5


def test_a_tiled_heic_is_decoded() -> None:
    assert _distance(_decoded(heic(PICTURE, tile_size=64))) < 1.5


def test_the_profile_of_a_heic_is_applied() -> None:
    plain, wide = (
        _decoded(heic(PICTURE, **o)) for o in ({}, {"icc_profile": matrix_profile(DISPLAY_P3, SRGB_CURVE)})
    )

    assert wide.warnings == ()
    assert np.abs(wide.rgb.astype(int) - plain.rgb).mean() > 3


def test_a_heic_larger_than_it_declares_is_corrupt() -> None:
    upload = heic(photo(256, 512))
    size = upload.index(b"ispe") + 8
    with pytest.raises(CorruptPicture):
        _decoded(upload[:size] + struct.pack(">II", 64, 64) + upload[size + 8 :])


@pytest.mark.parametrize("cut", ["1%", "25%", "50%", "99%", "-1"])
def test_a_truncated_heic_is_refused(cut: str) -> None:
    upload = heic(PICTURE)
    kept = len(upload) - 1 if cut == "-1" else len(upload) * int(cut[:-1]) // 100
    with pytest.raises(CutoutError):
        _decoded(upload[:kept])


def _decoded(upload: bytes) -> Picture:
    return decode(upload, sniff(upload))


def _distance(actual: Picture) -> float:
    assert PICTURE.shape == actual.rgb.shape
    return float(np.abs(actual.rgb.astype(int) - PICTURE).mean())
