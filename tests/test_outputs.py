"""Results contain nothing of the upload but its visible pixels.

The service's own steps process every third file of the hostile set that decodes, with a round subject in
place of the network's map, and encode it in every format. The tests parse the results: they may contain only
the chunks that a bare picture needs, and nothing after the last.
"""

import functools
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.engine.clock import SystemClock
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import Result, Segmentation
from app.telemetry import StepTimes
from tests.imaging.containers import isobmff_boxes, jpeg_markers, png_chunks, riff_chunks
from tests.pictures import disc_alpha, opened
from tests.rendering import MANIFEST, admitted, prepared, result_of

HQ_BUDGET_S = 60.0
MAP = disc_alpha(32, 32, softness=0.3)
RINGS_WITHIN_PX = 16  # the side of a WebP's block; a JPEG's is smaller, an AVIF's mostly
RINGS_BEYOND = 12  # of 255, what is left of the ringing there

JFIF, QUANTISATION, HUFFMAN, BASELINE, SCAN = 0xE0, 0xDB, 0xC4, 0xC0, 0xDA
PILLOW_MAY_TELL = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "srgb", "background", "loop"}


@pytest.fixture(scope="module")
def hostile(shared_data: Path) -> list[Path]:
    """Every third hostile file that a server has to serve."""
    return sorted((shared_data / "hostile" / "ok").iterdir())[::3]


@pytest.mark.parametrize("format_", ["png", "webp", "jpeg", "avif"])
def test_a_mask_is_a_bare_picture(hostile: list[Path], format_: str) -> None:
    options = MaskOptions.model_validate({"format": format_})
    for path in hostile:
        check_bare(
            result_of(segmentation(path), options, StepTimes(SystemClock()), hq_budget_s=HQ_BUDGET_S),
            path.name,
        )


def test_a_cutout_on_a_background_is_a_bare_picture(hostile: list[Path]) -> None:
    options = CutoutOptions(format="jpeg", background="white", matting="none")
    for path in hostile:
        check_bare(cutout(path, options), path.name)


@pytest.mark.parametrize(
    ("options", "every"),
    [
        pytest.param(CutoutOptions(), 1, id="png"),
        pytest.param(CutoutOptions(matting="hq"), 4, id="hq"),
        pytest.param(CutoutOptions(matting="hq"), 1, id="hq of all", marks=pytest.mark.whole),
        pytest.param(CutoutOptions(matting="none", format="webp", quality=100), 1, id="webp"),
    ],
)
def test_a_lossless_cutout_is_a_bare_picture_with_no_colour_under_alpha_0(
    hostile: list[Path], options: CutoutOptions, every: int
) -> None:
    for path in hostile[::every]:
        result = cutout(path, options)
        check_bare(result, path.name)

        assert hidden_colours(result, beyond_px=0).max(initial=0) == 0, path.name


@pytest.mark.parametrize(("format_", "beyond"), [("webp", RINGS_BEYOND), ("avif", RINGS_BEYOND), ("zip", 0)])
def test_a_lossy_cutout_is_a_bare_picture_whose_colours_end_near_the_visible_pixels(
    hostile: list[Path], format_: str, beyond: int
) -> None:
    options = CutoutOptions.model_validate({"format": format_, "matting": "none"})
    for path in hostile:
        result = cutout(path, options)
        check_bare(result, path.name)

        assert hidden_colours(result, beyond_px=RINGS_WITHIN_PX).max(initial=0) <= beyond, path.name


def cutout(path: Path, options: CutoutOptions) -> Result:
    """Run all steps after the network on a file."""
    steps, shown = StepTimes(SystemClock()), segmentation(path)
    return result_of(shown, options, steps, hq_budget_s=HQ_BUDGET_S)


@functools.cache
def segmentation(path: Path) -> Segmentation:
    """Decode an upload as the service does, with a disc as its map."""
    read = prepared(admitted(path.read_bytes(), CutoutOptions()), StepTimes(SystemClock()))
    return Segmentation(
        read.picture,
        MAP,
        is_empty=False,
        manifest=MANIFEST,
        provider="none",
        precision="none",
        etag=read.etag,
    )


def check_bare(result: Result, name: str) -> None:
    """Check that every picture of a result is bare: by its chunks, and with Pillow."""
    for media_type, encoded in pictures_of(result):
        PIECES[media_type](encoded)
        with Image.open(io.BytesIO(encoded)) as stored:
            assert set() == set(stored.info) - PILLOW_MAY_TELL, name
            assert {} == dict(stored.getexif()), name
            assert (media_type, (result.width_px, result.height_px)) == (
                stored.get_format_mimetype(),
                stored.size,
            ), name


def pictures_of(result: Result) -> list[tuple[str, bytes]]:
    """Return the only picture of a result, or the two of a ZIP that contains nothing else."""
    if result.media_type != "application/zip":
        return [(result.media_type, result.encoded)]
    with zipfile.ZipFile(io.BytesIO(result.encoded)) as archive:
        first, second = archive.infolist()
        assert (b"", b"", b"", b"", b"") == (
            archive.comment, first.extra, first.comment, second.extra, second.comment,
        )  # fmt: skip
        pictures = [("image/jpeg", archive.read("color.jpg")), ("image/png", archive.read("alpha.png"))]
    names_twice = 2 * len("color.jpg" + "alpha.png")
    headers = 2 * (30 + 46) + 22  # two local ones, two central ones, and the end, by the ZIP specification
    assert sum(len(encoded) for _, encoded in pictures) + headers + names_twice == len(result.encoded)
    return pictures


def hidden_colours(result: Result, *, beyond_px: int) -> NDArray[np.uint8]:
    """Return the colours under alpha 0 that are further from anything that shows."""
    if result.media_type == "application/zip":
        (_, colours), (_, opacity) = pictures_of(result)
        rgb, alpha = opened(colours), opened(opacity)
    else:
        rgba = opened(result.encoded)
        rgb, alpha = rgba[:, :, :3], rgba[:, :, 3]
    window = np.ones((2 * beyond_px + 1, 2 * beyond_px + 1), np.uint8)
    return rgb[cv2.dilate(alpha, window) == 0]


def bare_png(encoded: bytes) -> None:
    assert {b"IHDR", b"sRGB", b"IDAT", b"IEND"} >= {name for name, _ in png_chunks(encoded)}


def bare_jpeg(encoded: bytes) -> None:
    segments = jpeg_markers(encoded)

    assert {JFIF, QUANTISATION, HUFFMAN, BASELINE, SCAN} >= {marker for marker, _ in segments}
    assert [b"JFIF\0\1\1\0\0\1\0\1\0\0"] == [payload for marker, payload in segments if marker == JFIF]


def bare_webp(encoded: bytes) -> None:
    chunks = dict(riff_chunks(encoded))

    assert {b"VP8X", b"ALPH", b"VP8 ", b"VP8L"} >= set(chunks)
    assert len(chunks) == len(riff_chunks(encoded))
    assert chunks.get(b"VP8X", b"\x10")[0] in (0, 0x10)  # at most the flag of alpha


def bare_avif(encoded: bytes) -> None:
    boxes = isobmff_boxes(encoded)
    names = {name for name, _ in boxes}
    items = [payload[8:12] for name, payload in boxes if name == b"infe"]

    assert {
        *(b"ftyp", b"meta", b"hdlr", b"pitm", b"iloc", b"iinf", b"infe", b"iref", b"auxl", b"iprp", b"ipco"),
        *(b"ispe", b"pixi", b"av1C", b"colr", b"auxC", b"ipma", b"mdat"),
    } >= names
    assert items in ([b"av01"], [b"av01", b"av01"])  # the picture and its alpha; no item of EXIF or XMP
    assert {b"nclx"} == {payload[:4] for name, payload in boxes if name == b"colr"}  # and no profile


PIECES: Mapping[str, Callable[[bytes], None]] = {
    "image/png": bare_png,
    "image/jpeg": bare_jpeg,
    "image/webp": bare_webp,
    "image/avif": bare_avif,
}
