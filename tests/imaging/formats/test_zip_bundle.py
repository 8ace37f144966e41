import io
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from app.arrays import Cutout, Rgb
from app.imaging.formats.zip_bundle import _filled, encode_bundle
from app.imaging.layout.compose import assemble_cutout
from app.imaging.matting.saliency import to_grey
from tests.pictures import disc_alpha, noise, opened, photo

CUTOUT = assemble_cutout(photo(60, 83), to_grey(disc_alpha(60, 83, softness=0.2)))


def entries(bundle: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        assert archive.testzip() is None
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def test_the_bundle_contains_a_colour_jpeg_and_a_grey_png_only() -> None:
    contents = entries(encode_bundle(CUTOUT, 90))

    assert ["color.jpg", "alpha.png"] == list(contents)
    with (
        Image.open(io.BytesIO(contents["color.jpg"])) as colours,
        Image.open(io.BytesIO(contents["alpha.png"])) as alpha,
    ):
        assert [("JPEG", "RGB", (83, 60)), ("PNG", "L", (83, 60))] == [
            (stored.format, stored.mode, stored.size) for stored in (colours, alpha)
        ]


def test_alpha_is_exact_and_visible_colours_are_close() -> None:
    contents = entries(encode_bundle(CUTOUT, 95))
    is_visible = CUTOUT[:, :, 3] > 127
    colours = opened(contents["color.jpg"]).astype(int)

    assert_array_equal(opened(contents["alpha.png"]), CUTOUT[:, :, 3])
    assert 4 > np.abs(colours - CUTOUT[:, :, :3])[is_visible].mean()


def test_entries_are_stored_uncompressed_and_reproducible() -> None:
    bundle = encode_bundle(CUTOUT, 90)
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        metadata = {
            (e.compress_type, e.date_time, e.create_system, e.extra, e.comment) for e in archive.infolist()
        }
        comment = archive.comment

    assert {(zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 3, b"", b"")} == metadata
    assert b"" == comment
    assert bundle == encode_bundle(CUTOUT, 90)


def test_lower_quality_is_smaller() -> None:
    assert len(encode_bundle(CUTOUT, 30)) < len(encode_bundle(CUTOUT, 95))


def test_a_picture_without_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        encode_bundle(CUTOUT[:, :, :3], 90)


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99), dense=st.booleans())
def test_blocks_are_filled_as_by_a_naive_loop(height: int, width: int, seed: int, dense: bool) -> None:
    alpha = noise((height, width), seed)
    visible = np.where(alpha > 255 * (0.1 if dense else 0.9), alpha, np.uint8(0))
    cutout = assemble_cutout(noise((height, width, 3), seed + 1), visible)

    assert 1 >= np.abs(_filled(cutout).astype(int) - naively_filled(cutout)).max()  # ties of rounding


def test_visible_colours_are_unchanged() -> None:
    is_visible = CUTOUT[:, :, 3] > 0

    assert_array_equal(_filled(CUTOUT)[is_visible], CUTOUT[is_visible][:, :3])


def naively_filled(cutout: Cutout) -> Rgb:
    """Fill block by block; a block cut by the picture's edge is padded with its last row and column."""
    height, width = cutout.shape[:2]
    padded = np.pad(cutout, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge").astype(float)
    filled = padded[:, :, :3].copy()
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            block = padded[top : top + 8, left : left + 8].reshape(64, 4)
            visible = block[block[:, 3] > 0]
            if 0 < len(visible) < 64:
                mean = np.average(visible[:, :3], axis=0, weights=visible[:, 3])
                hidden = padded[top : top + 8, left : left + 8, 3] == 0
                filled[top : top + 8, left : left + 8][hidden] = np.rint(mean)
    return filled[:height, :width].astype(np.uint8)
