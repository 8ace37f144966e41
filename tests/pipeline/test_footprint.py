"""The footprint of a request covers the memory that the process really takes, for every option."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import RequestTooLarge
from app.imaging.formats.encode import FORMATS
from app.imaging.formats.sniff import Header
from app.imaging.layout.placement import Rectangle, largest_canvas, parse_margins, place
from app.options import CutoutFormat, CutoutOptions, MaskOptions
from app.pipeline.footprint import DECODE_BYTES, ENCODE_BYTES, MASK_ENCODE_BYTES, check_memory, footprint
from benchmarks.footprint import CUTOUT_OPTIONS, MASK_OPTIONS

ROOT = Path(__file__).parents[2]
LIMIT_PX = 50_000_000


def header(width: int, height: int, kind: str = "jpeg", coded_px: int = 0) -> Header:
    return Header(kind, width, height, f"image/{kind}", coded_px=coded_px)


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc")
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.whole)])
def test_no_option_takes_more_memory_than_its_footprint(every: int) -> None:
    """The high-water mark of a process of its own, over the cases of the benchmark."""
    command = (sys.executable, "-m", "benchmarks.footprint", "--megapixels", "1", "--every", str(every))
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("→") > 60 / every


@pytest.mark.parametrize(("kind", "cases"), [(MaskOptions, MASK_OPTIONS), (CutoutOptions, CUTOUT_OPTIONS)])
def test_the_benchmark_measures_every_option(
    kind: type[MaskOptions | CutoutOptions], cases: tuple[dict[str, object], ...]
) -> None:
    costless = {"model", "require_foreground", "shadow_opacity"}

    assert set(kind.model_fields) - costless == {name for case in cases for name in case} - costless | (
        {"quality"} if kind is MaskOptions else set()
    )


def test_every_format_is_counted() -> None:
    assert set(get_args(CutoutFormat)) == set(ENCODE_BYTES)
    assert set(FORMATS) <= set(ENCODE_BYTES)
    decoded = {"jpeg", "jpeg cmyk", "png", "png deep", "webp", "gif", "avif", "bmp", "heic"}

    assert decoded == set(DECODE_BYTES)
    assert set(get_args(MaskOptions.model_fields["format"].annotation)) == set(MASK_ENCODE_BYTES)


def test_a_second_look_by_default_is_counted() -> None:
    """A long picture needs what ``refine=crop`` needs, unless the second look is switched off."""
    needed = {
        refine: footprint(
            header(4000, 1000), CutoutOptions(refine=refine, haze="keep"), limit_px=LIMIT_PX
        ).memory_bytes
        for refine in ("auto", "crop", "none")
    }

    assert needed["auto"] == needed["crop"] > needed["none"]


def test_deciding_haze_is_counted_for_small_pictures_too() -> None:
    removed, kept = (
        footprint(header(8, 8), CutoutOptions(haze=haze), limit_px=LIMIT_PX).memory_bytes
        for haze in ("remove", "keep")
    )

    assert removed - kept >= 30 * 2**20


def test_a_key_is_charged_for_the_larger_of_picture_and_canvas_plus_background_and_mask() -> None:
    crop = CutoutOptions(crop=True, margin="50%")
    extra = {"backdrop": header(3000, 1000), "mask": header(500, 500)}

    assert footprint(header(1000, 2000), CutoutOptions(), limit_px=LIMIT_PX).pixels == 2_000_000
    assert footprint(header(1000, 2000), crop, limit_px=LIMIT_PX).pixels == 8_000_000
    assert footprint(header(1000, 2000), crop, limit_px=5_000_000).pixels == 5_000_000
    assert footprint(header(1000, 2000), crop, limit_px=LIMIT_PX, **extra).pixels == 8_000_000 + 3_250_000
    assert footprint(header(1000, 2000), MaskOptions(), limit_px=LIMIT_PX).pixels == 2_000_000


@pytest.mark.parametrize(
    ("options", "most"),
    [
        (MaskOptions(), 16),
        (CutoutOptions(matting="none"), 16),
        (CutoutOptions(), 17),
        (CutoutOptions(crop=True), 22),
    ],
)
def test_a_plain_result_of_a_phones_picture_counts_little(
    options: MaskOptions | CutoutOptions, most: float
) -> None:
    """An 800 MB container serves it with u2netp, which leaves about 370 MB for pictures."""
    counted = footprint(header(4000, 3000), options, limit_px=LIMIT_PX, upload_bytes=4_000_000)

    assert counted.memory_bytes <= most * 12_000_000


def test_inks_and_deep_samples_cost_more_to_decode() -> None:
    plain, cmyk = (Header("jpeg", 900, 900, "image/jpeg", is_cmyk=is_cmyk) for is_cmyk in (False, True))
    shallow, deep = (Header("png", 900, 900, "image/png", is_deep=is_deep) for is_deep in (False, True))
    size = MaskOptions(size="network")
    counted = [footprint(each, size, limit_px=LIMIT_PX).memory_bytes for each in (plain, cmyk, shallow, deep)]

    assert counted[0] < counted[1]
    assert counted[2] < counted[3]


def test_coded_tiles_are_counted_even_if_the_picture_is_small() -> None:
    plain = footprint(header(64, 64, "avif"), MaskOptions(), limit_px=LIMIT_PX)
    grid = footprint(header(64, 64, "avif", coded_px=40_000_000), MaskOptions(), limit_px=LIMIT_PX)

    assert plain.memory_bytes < 10**7
    assert grid.memory_bytes >= 40_000_000 * DECODE_BYTES["avif"]
    assert grid.pixels == plain.pixels


@given(st.integers(1, 16_384), st.integers(1, 3000), st.sampled_from(["png", "avif", "webp"]))
def test_a_landscape_picture_is_counted_like_a_portrait(width: int, height: int, kind: str) -> None:
    options = CutoutOptions(format=kind, crop=True, margin="500px 0 50% 10px", shadow="drop")
    landscape, portrait = (
        footprint(header(*sides), options, limit_px=LIMIT_PX) for sides in ((width, height), (height, width))
    )

    assert landscape == portrait


@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.tuples(*[st.floats(0, 1)] * 4),
    st.sampled_from(["0", "10px", "50%", "500px", "1px 50% 499.5px 33.3%", "0.4px 0.6%"]),
)
def test_no_canvas_is_larger_than_its_estimate(
    height: int, width: int, corners: tuple[float, ...], margin: str
) -> None:
    left, right = sorted(int(corner * width) for corner in corners[:2])
    top, bottom = sorted(int(corner * height) for corner in corners[2:])
    subject = Rectangle(left, top, max(right, left + 1), max(bottom, top + 1))
    layout = CutoutOptions(crop=True, margin=margin).layout
    placement = place(height, width, subject, layout)
    max_height, max_width = largest_canvas(height, width, layout)

    assert parse_margins(margin) == layout.margins
    assert placement.height <= max_height
    assert placement.width <= max_width


def test_a_request_that_can_never_fit_is_refused_with_the_bytes_it_needs() -> None:
    check_memory(100, 100)
    with pytest.raises(RequestTooLarge) as refusal:
        check_memory(101, 100)

    assert refusal.value.facts() == {"needed_bytes": 101, "limit_bytes": 100}
