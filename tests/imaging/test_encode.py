import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from app.imaging.compose import assemble_cutout
from app.imaging.encode import FORMATS, encode
from app.imaging.sniff import sniff
from tests.pictures import disc_alpha, noise, opened, photo

CUTOUT = assemble_cutout(photo(60, 80), disc_alpha(60, 80, softness=0.2))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_what_its_media_type_says(name: str) -> None:
    encoded = encode(photo(40, 50), format=name, quality=90)

    assert (FORMATS[name], 50, 40) == (
        sniff(encoded).media_type,
        sniff(encoded).width_px,
        sniff(encoded).height_px,
    )


@pytest.mark.parametrize("quality", [1, 80, 100])
def test_alpha_is_exact_in_webp_at_any_quality(quality: int) -> None:
    actual = opened(encode(CUTOUT, format="webp", quality=quality))

    assert_array_equal(actual[:, :, 3], CUTOUT[:, :, 3])


def test_webp_at_quality_100_is_lossless_where_anything_shows() -> None:
    actual = opened(encode(CUTOUT, format="webp", quality=100))
    shows = CUTOUT[:, :, 3] > 0

    assert_array_equal(actual[shows], CUTOUT[shows])


@pytest.mark.parametrize("name", ["png", "webp"])
def test_nothing_is_hidden_under_full_transparency(name: str) -> None:
    actual = opened(encode(CUTOUT, format=name, quality=100))

    assert 0 == actual[CUTOUT[:, :, 3] == 0].max()


@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_lower_quality_is_smaller(name: str) -> None:
    low, high = (len(encode(photo(200, 300), format=name, quality=quality)) for quality in (30, 95))

    assert low < high


@pytest.mark.parametrize("name", FORMATS)
def test_a_grey_map_can_be_written_in_every_format(name: str) -> None:
    grey = (disc_alpha(40, 50) * 255).astype(np.uint8)
    with Image.open(io.BytesIO(encode(grey, format=name, quality=95))) as stored:
        actual = np.asarray(stored.convert("L")).astype(int)

    assert np.abs(actual - grey).mean() < 2


@pytest.mark.parametrize("name", FORMATS)
def test_no_metadata_is_written(name: str) -> None:
    with Image.open(io.BytesIO(encode(noise((9, 9, 3)), format=name, quality=90))) as stored:
        found = {"exif", "xmp", "icc_profile", "comment", "photoshop"} & set(stored.info)

    assert set() == found


def test_a_jpeg_takes_no_alpha() -> None:
    with pytest.raises(ValueError, match="no alpha"):
        encode(CUTOUT, format="jpeg", quality=90)


def test_an_unknown_format_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'gif'"):
        encode(CUTOUT, format="gif", quality=90)
