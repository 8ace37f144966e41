from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from app.arrays import SaliencyMap
from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import Picture
from app.imaging.matting.closed_form import solve_alpha
from app.imaging.matting.haze import remove_haze
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import to_grey
from app.imaging.matting.verdict import judge
from app.imaging.prepare import prepare
from app.options import CutoutOptions, MaskOptions
from app.pipeline.encode import encode_result
from app.pipeline.render import RenderLimits, render
from app.pipeline.values import HQ_CUT_SHORT, Rendered, Result, ResultInfo, Segmentation
from app.telemetry import StepTimes
from tests.fakes import ManualClock
from tests.peaks import peak_bytes
from tests.pictures import disc_alpha, noise, opened, photo
from tests.rendering import LIMITS, MANIFEST, result_of

RGB = photo(60, 80)
MAP = disc_alpha(32, 32, softness=0.4)
INFO = ResultInfo("disc", "none", "none", "none", "none", judge(MAP, 60, 80), (), "")
ENOUGH_S, NONE_S = 2.0, 0.0  # the clock of these tests does not advance


@pytest.fixture(params=["mask", "cutout"])
def kind(request: pytest.FixtureRequest) -> str:
    """Either endpoint."""
    return str(request.param)


def test_hq_with_enough_time_returns_the_solved_matte_without_a_warning(kind: str) -> None:
    result = rendered(kind, "hq", hq_budget_s=ENOUGH_S)

    assert ("hq", ()) == (result.info.matting, result.info.warnings)
    expected = decided(kind)
    assert_array_equal(to_grey(solve_alpha(RGB, expected, is_time_left=lambda: True).alpha), alpha_of(result))


def test_hq_without_time_returns_the_fast_matte_with_a_warning(kind: str) -> None:
    result = rendered(kind, "hq", hq_budget_s=NONE_S)

    assert ("hq", (HQ_CUT_SHORT,)) == (result.info.matting, result.info.warnings)
    assert_array_equal(to_grey(refine_alpha(RGB, decided(kind))), alpha_of(result))


@pytest.mark.parametrize("matting", ["fast", "none"])
def test_the_other_matting_paths_have_no_time_budget(kind: str, matting: str) -> None:
    result = rendered(kind, matting, hq_budget_s=NONE_S)

    assert (matting, ()) == (result.info.matting, result.info.warnings)


def test_an_empty_scene_is_not_matted(kind: str) -> None:
    result = rendered(kind, "hq", hq_budget_s=NONE_S, is_empty=True)

    assert ("none", ()) == (result.info.matting, result.info.warnings)
    assert 0 == alpha_of(result).max()


@pytest.mark.parametrize("side", [32, 60])
def test_a_network_sized_mask_is_weighted_by_the_uploads_own_alpha(side: int) -> None:
    """Also if the picture happens to be as large as the network's map."""
    own_alpha = np.zeros((side, side), dtype=np.uint8)
    own_alpha[:, side // 2 :] = 255
    half = Picture(photo(side, side), own_alpha, ())
    segmentation = Segmentation(
        half, MAP, is_empty=False, manifest=MANIFEST, provider="none", precision="none", etag=""
    )
    result = result_of(
        segmentation, MaskOptions(size="network"), StepTimes(ManualClock()), hq_budget_s=ENOUGH_S
    )
    actual = opened(result.encoded)

    assert_array_equal(to_grey(MAP)[:, 16:], actual[:, 16:])
    assert 0 == actual[:, :16].max()


@pytest.mark.parametrize("opacity", [0, 128, 255])
def test_the_verdict_is_computed_from_visible_pixels(kind: str, opacity: int) -> None:
    """For a map that is 1 on the left half: coverage, box and emptiness of the map times own alpha."""
    saliency = np.zeros((32, 32), np.float32)
    saliency[:, :16] = 1
    own_alpha = np.full((60, 80), opacity, np.uint8)
    own_alpha[:30] = 0
    verdict = rendered(
        kind, "none", hq_budget_s=ENOUGH_S, saliency=saliency, own_alpha=own_alpha
    ).info.verdict

    assert (0.25 if opacity else 0) == verdict.coverage
    assert ((0, 30, 40, 60) if opacity else None) == verdict.box
    assert (opacity == 0) == verdict.is_empty


@pytest.mark.parametrize("clean", [0.0, 0.05])
def test_the_verdict_is_computed_from_the_cleaned_map(kind: str, clean: float) -> None:
    speck = MAP.copy()
    speck[0, 31] = 1
    result = rendered(kind, "none", hq_budget_s=ENOUGH_S, saliency=speck, clean=clean)

    assert (clean == 0) == result.info.verdict.touches_border
    assert (clean == 0) == (result.info.verdict.box is not None and result.info.verdict.box[2] == 80)


def decided(kind: str) -> SaliencyMap:
    return MAP if kind == "mask" else remove_haze(MAP, prepare(RGB, 32))


def hazy_map() -> SaliencyMap:
    hazy = MAP.copy()
    hazy[:6, :6] = 0.4
    return hazy


@pytest.mark.parametrize("matting", ["none", "fast", "hq"])
def test_haze_vanishes_from_a_cutout_unless_it_is_kept(matting: str) -> None:
    saliency = hazy_map()
    removed, kept = (
        rendered("cutout", matting, hq_budget_s=ENOUGH_S, saliency=saliency, haze=haze)
        for haze in ("remove", "keep")
    )
    plain = rendered("cutout", matting, hq_budget_s=ENOUGH_S, saliency=saliency, has_network_input=False)

    assert 0 == alpha_of(removed)[:5, :5].max() < alpha_of(kept)[:5, :5].min()
    assert_array_equal(opened(plain.encoded), opened(kept.encoded))


@pytest.mark.parametrize("haze", ["remove", "keep"])
def test_the_verdict_is_judged_before_haze_is_removed(haze: str) -> None:
    verdict = rendered("cutout", "fast", hq_budget_s=ENOUGH_S, saliency=hazy_map(), haze=haze).info.verdict

    assert judge(hazy_map(), *RGB.shape[:2]) == verdict


def test_a_mask_keeps_its_haze_also_with_a_cutout() -> None:
    mask = rendered("mask", "none", hq_budget_s=ENOUGH_S, saliency=hazy_map())
    both = rendered("cutout", "fast", hq_budget_s=ENOUGH_S, saliency=hazy_map(), results="mask,cutout")

    assert both.mask is not None
    assert_array_equal(opened(mask.encoded), opened(both.mask))
    assert 90 < opened(mask.encoded)[:5, :5].min()


def test_strokes_correct_an_alpha_without_haze() -> None:
    painted = np.full(RGB.shape[:2], 128, np.uint8)
    painted[30, 40] = 255
    result = rendered("cutout", "fast", hq_budget_s=ENOUGH_S, saliency=hazy_map(), painted=painted)

    assert 0 == alpha_of(result)[:5, :5].max()


@pytest.mark.parametrize(("threshold", "label"), [(None, "uncertain"), (0.01, "uncertain"), (1.0, "ok")])
def test_a_network_has_its_own_threshold_of_uncertain(threshold: float | None, label: str) -> None:
    manifest = replace(MANIFEST, uncertain_from=threshold)

    assert label == rendered("mask", "none", hq_budget_s=ENOUGH_S, manifest=manifest).info.verdict.label


def rendered(
    kind: str,
    matting: str,
    *,
    hq_budget_s: float,
    is_empty: bool = False,
    saliency: SaliencyMap = MAP,
    clean: float = 0,
    own_alpha: NDArray[np.uint8] | None = None,
    painted: NDArray[np.uint8] | None = None,
    manifest: Manifest = MANIFEST,
    has_network_input: bool = True,
    **more: str,
) -> Result:
    """Run the steps after the network on the small photo."""
    steps, chosen = StepTimes(ManualClock()), {"matting": matting, "clean": clean, **more}
    saliency = np.zeros_like(MAP) if is_empty else saliency
    segmentation = Segmentation(
        Picture(RGB, own_alpha, ()),
        saliency,
        is_empty,
        manifest,
        provider="map",
        precision="float32",
        etag="",
        network_input=prepare(RGB, 32) if has_network_input else None,
        painted=painted,
    )
    if kind == "mask":
        options = MaskOptions.model_validate(chosen)
        return result_of(segmentation, options, steps, hq_budget_s=hq_budget_s)
    return result_of(segmentation, CutoutOptions.model_validate(chosen), steps, hq_budget_s=hq_budget_s)


def alpha_of(result: Result) -> NDArray[np.uint8]:
    """Return the mask, or a cutout's alpha."""
    pixels = opened(result.encoded)
    return pixels if pixels.ndim == 2 else pixels[:, :, 3]


@pytest.mark.parametrize(
    ("side", "alpha", "media_type"),
    [(65_500, 255, "image/jpeg"), (65_501, 255, "image/png"), (65_501, 0, "image/png")],
)
def test_auto_is_png_if_a_side_exceeds_the_limit_of_jpeg(side: int, alpha: int, media_type: str) -> None:
    """libjpeg's limit is 65,500 pixels, for width and height."""
    for shape in ((1, side), (side, 1)):
        pixels = np.full((*shape, 4), alpha, np.uint8)
        result = encode_result(Rendered(pixels, INFO), CutoutOptions(format="auto"), StepTimes(ManualClock()))

        assert media_type == result.media_type
        assert shape == opened(result.encoded).shape[:2]


class CancelledByCheckError(Exception):
    """Raised by a check to end the work."""


COSTLY = [
    ("mask", {"matting": "none"}, 1),
    ("mask", {"matting": "fast"}, 12),
    ("mask", {"matting": "hq"}, 20),
    ("mask", {"clean": 0.01}, 30),
    ("cutout", {"matting": "fast"}, 25),
    ("cutout", {"matting": "none", "background": "blur"}, 15),
    ("cutout", {"matting": "none", "background": "#ff880080"}, 12),
    ("cutout", {"matting": "none", "background": "#ff8800"}, 12),
    ("cutout", {"matting": "none", "shadow": "drop", "crop": True, "margin": "20%"}, 12),
    ("cutout", {"matting": "none", "scale": "90%", "channels": "alpha"}, 12),
    ("cutout", {"matting": "none", "format": "zip"}, 10),
]


@pytest.mark.slow
@pytest.mark.parametrize(("which", "chosen", "minimum"), COSTLY)
def test_long_work_often_checks_whether_to_continue(
    which: str, chosen: dict[str, object], minimum: int
) -> None:
    """Counts the checks for half a megapixel: more work has more checks."""
    calls: list[str] = []
    steps = StepTimes(ManualClock())
    steps.check = lambda: calls.append(steps.current)
    rendered_large(which, chosen, steps)

    assert len(calls) >= minimum
    assert set(calls) == ({"matte", "encode"} if which == "mask" else {"matte", "compose", "encode"})


@pytest.mark.slow
@pytest.mark.parametrize(("which", "chosen", "minimum"), COSTLY)
def test_work_ends_at_the_first_check_that_raises(
    which: str, chosen: dict[str, object], minimum: int
) -> None:
    for allowed in range(0, minimum, 3):
        steps, left = StepTimes(ManualClock()), [allowed]

        def end(left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise CancelledByCheckError

        steps.check = end
        with pytest.raises(CancelledByCheckError):
            rendered_large(which, chosen, steps)
        assert left == [-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "backdrop"),
    [
        ({}, None),
        ({"matting": "fast"}, None),
        ({"matting": "fast", "background": "blur"}, None),
        ({"crop": True, "margin": "50%", "shadow": "drop", "channels": "rgba"}, (100, 30)),
        ({"scale": "100%", "shadow": "drop"}, (1, 900)),
        ({"scale": "30%", "background": "#ff880080"}, None),
        ({"position": "0% 100%", "shadow": "drop", "clean": 0.001}, (20, 20)),
        ({"results": "mask,cutout", "threshold": 0.5, "shadow": "drop"}, (900, 1200)),
        ({"channels": "rgba"}, (400, 300, 4)),
        ({"channels": "rgba", "scale": "50%"}, (1, 900, 4)),
    ],
)
@pytest.mark.parametrize("has_large_mask", [False, True])
def test_composing_takes_at_most_32_bytes_per_pixel(
    chosen: dict[str, object], backdrop: tuple[int, ...] | None, *, has_large_mask: bool
) -> None:
    """Per pixel of the larger of picture and canvas, in addition to the input."""
    options = CutoutOptions.model_validate({"matting": "none", **chosen})
    large = photo(900, 1200)
    saliency = disc_alpha(900, 1200, softness=0.1) if has_large_mask else MAP
    behind = None if backdrop is None else noise(backdrop if len(backdrop) == 3 else (*backdrop, 3))
    segmentation = Segmentation(
        Picture(large, None, ()),
        saliency,
        is_empty=False,
        manifest=MANIFEST,
        provider="",
        precision="none",
        etag="",
        backdrop=behind,
    )
    limits = RenderLimits(ENOUGH_S, LIMITS)
    result = render(segmentation, options, StepTimes(ManualClock()), limits)
    pixels = max(900 * 1200, result.pixels.shape[0] * result.pixels.shape[1])
    del result
    peak = peak_bytes(lambda: render(segmentation, options, StepTimes(ManualClock()), limits))
    fitting_bytes = 32 * 2**20 if options.matting == "fast" else 0  # a strip of the guided filter

    assert peak <= 32 * pixels + 16 * 2**20 + fitting_bytes


def rendered_large(which: str, chosen: dict[str, object], steps: StepTimes) -> Result:
    """Run the steps after the network on half a megapixel."""
    size = (150, 200) if chosen.get("matting") == "hq" else (600, 800)
    picture = Picture(photo(*size), None, ())
    segmentation = Segmentation(
        picture, MAP, is_empty=False, manifest=MANIFEST, provider="none", precision="none", etag=""
    )
    if which == "mask":
        return result_of(segmentation, MaskOptions.model_validate(chosen), steps, hq_budget_s=ENOUGH_S)
    return result_of(segmentation, CutoutOptions.model_validate(chosen), steps, hq_budget_s=ENOUGH_S)
