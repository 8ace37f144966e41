"""Render: turns a saliency map into the pixels of a mask or a cutout.

Everything here runs on a ``matte`` thread, after the network, and is pure except for the step times.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.arrays import AlphaMatte, Grey, Rgb
from app.imaging.layout.compose import assemble_cutout, combine_alpha
from app.imaging.matting.clean import clean_map
from app.imaging.matting.closed_form import Solved, solve_alpha
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.haze import remove_haze
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import enlarge_to_grey, publish, resize_saliency, to_grey, weigh
from app.imaging.matting.strokes import correct_alpha, keep_far
from app.imaging.matting.verdict import FOREGROUND_THRESHOLD, UNCERTAIN_FROM, judge
from app.imaging.opencv_errors import raises_memory_error
from app.imaging.progress import Check
from app.options import MASK_AND_CUTOUT, CutoutOptions, MaskOptions
from app.pipeline.footprint import PictureLimits
from app.pipeline.layout import lay_out
from app.pipeline.values import (
    HQ_CUT_SHORT,
    OWN_MASK_PROVIDER,
    STROKES_CUT_SHORT,
    Rendered,
    ResultInfo,
    Segmentation,
)
from app.telemetry import StepTimes


@dataclass(frozen=True, slots=True)
class Progress:
    """Callbacks of long computations.

    Attributes:
        check: Raises if the result is no longer needed.
        is_time_left: Returns whether ``hq`` may continue.
    """

    check: Check
    is_time_left: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Limits on rendering: the time that ``hq`` or strokes may take, in seconds, and the size of a canvas."""

    hq_budget_s: float
    canvas: PictureLimits


@raises_memory_error
def render(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, steps: StepTimes, limits: RenderLimits
) -> Rendered:
    """Render the mask or the cutout that the options describe.

    Raises:
        CanvasTooLarge: The canvas has more pixels, or a longer side, than ``limits`` allow.
        FormatExceeded: The canvas has a longer side than its format can hold.
    """
    if segmentation.painted is not None:
        segmentation = _painted_over(segmentation, options, steps, limits)
    if isinstance(options, MaskOptions):
        return _render_mask(segmentation, options, steps, limits)
    return _render_cutout(segmentation, options, steps, limits)


def is_quick(segmentation: Segmentation, options: MaskOptions | CutoutOptions) -> bool:
    """Return whether rendering takes little time: a mask without matting and strokes."""
    return isinstance(options, MaskOptions) and options.matting == "none" and segmentation.painted is None


def _painted_over(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, steps: StepTimes, limits: RenderLimits
) -> Segmentation:
    """Correct the alpha by what the caller has painted; the result needs no more matting."""
    painted = segmentation.painted
    assert painted is not None  # noqa: S101 - the caller checks
    with steps.step("matte"):
        so_far = _alpha_so_far(segmentation, options, steps, limits)
    with steps.step("strokes"):
        progress = _progress(steps, limits.hq_budget_s)
        corrected = correct_alpha(
            segmentation.picture.rgb,
            so_far.alpha,
            painted,
            is_time_left=progress.is_time_left,
            check=progress.check,
        )
    completed = ((HQ_CUT_SHORT, so_far.is_complete), (STROKES_CUT_SHORT, corrected.is_complete))
    warnings = tuple(code for code, is_complete in completed if not is_complete)
    picture = replace(segmentation.picture, warnings=segmentation.picture.warnings + warnings)
    return replace(
        segmentation,
        picture=picture,
        saliency=corrected.alpha,
        is_empty=not corrected.alpha.any(),
        alpha_before=so_far.alpha,
    )


def _alpha_so_far(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, steps: StepTimes, limits: RenderLimits
) -> Solved:
    """Return the alpha at the picture's size that the request would have without strokes.

    With strokes, the caller's own mask is the alpha so far, so it is not matted again.
    """
    size = segmentation.picture.rgb.shape[:2]
    if segmentation.provider == OWN_MASK_PROVIDER:
        return Solved(resize_saliency(segmentation.saliency, *size), is_complete=True)
    level = FOREGROUND_THRESHOLD
    if isinstance(options, MaskOptions) and options.threshold is not None:
        level = options.threshold
    cleaned = _cleaned(segmentation, options, level=level, check=steps.check)
    cleaned = _decided(cleaned, options, steps.check)
    if isinstance(options, MaskOptions) and _is_published(cleaned, options):
        return _as_matte(publish(cleaned.saliency, *size))
    if options.matting == "none" and segmentation.picture.own_alpha is None:
        return _as_matte(enlarge_to_grey(cleaned.saliency, *size, check=steps.check))
    return _alpha_at_source_size(cleaned, options.matting, _progress(steps, limits.hq_budget_s))


def _as_matte(grey: Grey) -> Solved:
    """Convert 8 bits to a matte that rounds to the same 8 bits."""
    alpha = grey.astype(np.float32)
    alpha /= np.float32(255)
    return Solved(alpha, is_complete=True)


def _render_mask(
    segmentation: Segmentation, options: MaskOptions, steps: StepTimes, limits: RenderLimits
) -> Rendered:
    level = options.threshold or FOREGROUND_THRESHOLD
    with steps.step("matte"):
        cleaned = _cleaned(segmentation, options, level=level, check=steps.check)
        grey, is_complete = _grey_mask(cleaned, options, _progress(steps, limits.hq_budget_s))
        return Rendered(grey, _info(cleaned, options, is_complete=is_complete, check=steps.check))


def _render_cutout(
    segmentation: Segmentation, options: CutoutOptions, steps: StepTimes, limits: RenderLimits
) -> Rendered:
    with steps.step("matte"):
        cleaned = _cleaned(segmentation, options, level=FOREGROUND_THRESHOLD, check=steps.check)
        progress = _progress(steps, limits.hq_budget_s)
        decided = _decided(cleaned, options, steps.check)
        foreground, alpha, is_complete = _matted(decided, options, progress)
        info = _info(cleaned, options, is_complete=is_complete, check=steps.check)
        wants_mask = options.results == MASK_AND_CUTOUT
        mask = _grey_mask(cleaned, MaskOptions(), progress)[0] if wants_mask else None
    with steps.step("compose"):
        if options.threshold is not None:
            alpha = np.where(alpha >= 255 * options.threshold, np.uint8(255), np.uint8(0))
        composed = assemble_cutout(foreground, alpha, check=steps.check)
        del foreground, alpha
        laid_out = lay_out(composed, segmentation, options, info, limits.canvas, steps.check)
        return replace(laid_out, mask=mask)


def _cleaned(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, *, level: float, check: Check
) -> Segmentation:
    if options.clean == 0 or segmentation.is_empty or segmentation.alpha_before is not None:
        return segmentation
    return replace(
        segmentation, saliency=clean_map(segmentation.saliency, area=options.clean, level=level, check=check)
    )


def _decided(segmentation: Segmentation, options: MaskOptions | CutoutOptions, check: Check) -> Segmentation:
    """Decide the unsure regions for a cutout; never those of a mask, nor of the caller's own map.

    The verdict is judged before, from the map in which the network's doubt is visible.
    """
    is_wanted = isinstance(options, CutoutOptions) and options.haze == "remove"
    is_solved = segmentation.is_empty or segmentation.alpha_before is not None
    if not is_wanted or is_solved or segmentation.network_input is None:
        return segmentation
    return replace(
        segmentation, saliency=remove_haze(segmentation.saliency, segmentation.network_input, check=check)
    )


def _progress(steps: StepTimes, budget_s: float) -> Progress:
    until_s = steps.now_s() + budget_s

    def is_time_left() -> bool:
        steps.check()
        return steps.now_s() < until_s

    return Progress(steps.check, is_time_left)


def _grey_mask(segmentation: Segmentation, options: MaskOptions, progress: Progress) -> tuple[Grey, bool]:
    """Return the mask, and whether matting was completed in time."""
    if options.size == "network":
        solved = Solved(segmentation.saliency, is_complete=True)
        alpha = weigh(segmentation.saliency, segmentation.picture.own_alpha)
    elif _is_published(segmentation, options):
        return publish(segmentation.saliency, *segmentation.picture.rgb.shape[:2]), True
    else:
        solved = _alpha_at_source_size(segmentation, options.matting, progress)
        alpha = _with_own_alpha(segmentation, solved.alpha)
    if options.threshold is not None:
        return np.where(alpha >= options.threshold, np.uint8(255), np.uint8(0)), solved.is_complete
    return to_grey(alpha, check=progress.check), solved.is_complete


def _is_published(segmentation: Segmentation, options: MaskOptions) -> bool:
    """Return whether the mask is the map as the authors of the network would publish it."""
    is_plain = options.matting == "none" and options.threshold is None
    return is_plain and segmentation.picture.own_alpha is None and segmentation.alpha_before is None


def _matted(segmentation: Segmentation, options: CutoutOptions, progress: Progress) -> tuple[Rgb, Grey, bool]:
    """Return the subject's colours, its 8-bit alpha, and whether matting was completed in time."""
    rgb, own_alpha = segmentation.picture.rgb, segmentation.picture.own_alpha
    if segmentation.is_empty or (options.matting == "none" and own_alpha is None):
        return rgb, enlarge_to_grey(segmentation.saliency, *rgb.shape[:2], check=progress.check), True
    solved = _alpha_at_source_size(segmentation, options.matting, progress)
    alpha = to_grey(_with_own_alpha(segmentation, solved.alpha), check=progress.check)
    if options.matting == "none":
        return rgb, alpha, True
    foreground = estimate_foreground(rgb, solved.alpha, check=progress.check)
    if segmentation.painted is not None and segmentation.alpha_before is not None:
        before = estimate_foreground(rgb, segmentation.alpha_before, check=progress.check)
        foreground = keep_far(foreground, before, segmentation.painted, check=progress.check)
    return foreground, alpha, solved.is_complete


def _alpha_at_source_size(segmentation: Segmentation, matting: str, progress: Progress) -> Solved:
    """Return the network's alpha at the picture's size."""
    rgb = segmentation.picture.rgb
    if segmentation.alpha_before is not None:
        return Solved(segmentation.saliency, is_complete=True)
    if matting == "none" or segmentation.is_empty:
        return Solved(resize_saliency(segmentation.saliency, *rgb.shape[:2]), is_complete=True)
    if matting == "hq":
        return solve_alpha(
            rgb, segmentation.saliency, is_time_left=progress.is_time_left, check=progress.check
        )
    return Solved(refine_alpha(rgb, segmentation.saliency, check=progress.check), is_complete=True)


def _with_own_alpha(segmentation: Segmentation, alpha: AlphaMatte) -> AlphaMatte:
    """Multiply by the picture's own alpha, so that its transparent parts stay transparent.

    The alpha so far that came with strokes is an earlier result, which contains it already.
    """
    own_alpha = segmentation.picture.own_alpha
    if own_alpha is None:
        return alpha
    if segmentation.painted is not None and segmentation.provider == OWN_MASK_PROVIDER:
        return np.minimum(alpha, own_alpha / np.float32(255))
    return combine_alpha(alpha, own_alpha)


def _info(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, *, is_complete: bool, check: Check
) -> ResultInfo:
    height, width = segmentation.picture.rgb.shape[:2]
    return ResultInfo(
        model=segmentation.manifest.name,
        provider=segmentation.provider,
        precision=segmentation.precision,
        matting="none" if segmentation.is_empty else options.matting,
        refine="crop" if segmentation.is_refined else "none",
        verdict=judge(
            weigh(segmentation.saliency, segmentation.picture.own_alpha),
            height,
            width,
            is_empty=segmentation.is_empty,
            uncertain_from=segmentation.manifest.uncertain_from or UNCERTAIN_FROM,
            check=check,
        ),
        warnings=segmentation.picture.warnings + (() if is_complete else (HQ_CUT_SHORT,)),
        etag=segmentation.etag,
    )
