"""Answer: what the network saw in a picture becomes the mask or the cutout that was asked for.

Everything here comes after the network and is pure but for the step times; the threads that it runs on
are chosen in ``app/pipeline/run.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.arrays import AlphaMatte, Cutout, Grey, Rgb, SaliencyMap
from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import Picture
from app.imaging.formats.encode import FORMATS, MAX_SIDE_PX, check_side, encode
from app.imaging.formats.png import encode_png
from app.imaging.layout.arrange import (
    arrange,
    blur_backdrop,
    cover,
    cover_see_through,
    drop_shadow,
    is_opaque,
    lay_over,
    opaque,
    subject_box,
)
from app.imaging.layout.compose import assemble_cutout, combine_alpha, over_colour, over_white
from app.imaging.layout.placement import Placement, Rectangle, check_canvas, place
from app.imaging.layout.region import Frame
from app.imaging.matting.clean import clean_map
from app.imaging.matting.closed_form import Solved, solve_alpha
from app.imaging.matting.foreground import estimate_foreground
from app.imaging.matting.matte import refine_alpha
from app.imaging.matting.saliency import enlarge_to_grey, publish, resize_saliency, to_grey, weigh
from app.imaging.matting.verdict import FOREGROUND_THRESHOLD, Verdict, judge
from app.imaging.progress import Check
from app.options import MASK_AND_CUTOUT, CutoutOptions, MaskOptions
from app.pipeline.footprint import PictureLimits
from app.telemetry import StepTimes

HQ_CUT_SHORT = "hq_cut_short"
WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class ResultInfo:
    """What an answer says of itself; ``etag`` names picture, options and model.

    ``subject`` is its box in the result, where anybody asked for it.
    """

    model: str
    provider: str
    matting: str
    refine: str
    verdict: Verdict
    warnings: tuple[str, ...]
    etag: str
    subject: Rectangle | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """The encoded result and the facts about it; ``mask`` is the saliency mask as PNG, if it is wanted."""

    encoded: bytes
    media_type: str
    width_px: int
    height_px: int
    info: ResultInfo
    mask: bytes | None = None
    is_remembered: bool = False

    @property
    def size_bytes(self) -> int:
        """How long what is encoded is."""
        return len(self.encoded) + len(self.mask or b"")


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A decoded picture and what the network saw in it, stretched; all zero for an empty scene.

    ``is_refined`` tells whether it looked twice, ``frame`` what the picture is a part of, and ``backdrop`` is
    the picture that the caller wants behind the subject; its colours are multiplied by alpha if it has one.
    """

    picture: Picture
    saliency: SaliencyMap
    is_empty: bool
    manifest: Manifest
    provider: str
    etag: str
    is_refined: bool = False
    frame: Frame | None = None
    backdrop: Rgb | Cutout | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A result that has yet to be encoded; nothing of the upload is held any more."""

    pixels: Cutout | Rgb | Grey
    info: ResultInfo
    mask: Grey | None = None


@dataclass(frozen=True, slots=True)
class Asks:
    """What long work asks: whether it is still wanted, by raising, and whether ``hq`` may go on."""

    check: Check
    is_time_left: Callable[[], bool]


def finish_mask(
    segmentation: Segmentation, options: MaskOptions, steps: StepTimes, *, hq_budget_s: float
) -> Result:
    """Turn saliency into an encoded mask; ``hq`` may take ``hq_budget_s``."""
    with steps.step("matte"):
        cleaned = _cleaned(
            segmentation, options, level=options.threshold or FOREGROUND_THRESHOLD, check=steps.check
        )
        asks = _asks(steps, hq_budget_s)
        grey, is_complete = _grey_mask(cleaned, options, asks)
        rendered = Rendered(grey, _info(cleaned, options, is_complete=is_complete, check=steps.check))
    return finish(rendered, options, steps)


def compose_cutout(
    segmentation: Segmentation,
    options: CutoutOptions,
    steps: StepTimes,
    *,
    hq_budget_s: float,
    limits: PictureLimits,
) -> Rendered:
    """Turn saliency into the subject with straight alpha, or over a background; ``hq`` may take so long.

    Raises:
        CanvasTooLarge: The subject with its margins has more pixels, or a longer side, than ``limits`` allow.
        FormatExceeded: It has a longer side than its format can hold.
    """
    with steps.step("matte"):
        cleaned = _cleaned(segmentation, options, level=FOREGROUND_THRESHOLD, check=steps.check)
        asks = _asks(steps, hq_budget_s)
        foreground, alpha, is_complete = _matted(cleaned, options, asks)
        info = _info(cleaned, options, is_complete=is_complete, check=steps.check)
        wants_mask = options.results == MASK_AND_CUTOUT
        mask = _grey_mask(cleaned, MaskOptions(), asks)[0] if wants_mask else None
    with steps.step("compose"):
        if options.threshold is not None:
            alpha = np.where(alpha >= 255 * options.threshold, np.uint8(255), np.uint8(0))
        composed = assemble_cutout(foreground, alpha, check=steps.check)
        del foreground, alpha
        return replace(_laid_out(composed, segmentation, options, info, limits, steps.check), mask=mask)


def _laid_out(
    cutout: Cutout,
    segmentation: Segmentation,
    options: CutoutOptions,
    info: ResultInfo,
    limits: PictureLimits,
    check: Check,
) -> Rendered:
    """Put the subject where it is wanted, with what is wanted behind it."""
    if segmentation.frame is not None and not segmentation.frame.is_whole:
        region = segmentation.frame.region
        whole = Rectangle(0, 0, region.width, region.height)
        cutout = arrange(
            cutout, Placement(segmentation.frame.height, segmentation.frame.width, whole, region), check=check
        )
    if options.locates or options.layout.moves or options.shadow != "none":
        box = subject_box(cutout[:, :, 3])
        height, width = cutout.shape[:2]
        placement = place(height, width, box, options.layout)
        check_canvas(placement, limit_px=limits.pixels, limit_side_px=limits.side_px)
        check_side(placement.height, placement.width, format=options.format)
        cutout = arrange(cutout, placement, check=check)
        if box is not None:
            box = placement.target if options.layout.moves else box
            info = replace(info, subject=box)
            if options.shadow == "drop":
                cutout = drop_shadow(cutout, box, opacity=options.shadow_opacity / 100, check=check)
    if options.channels == "alpha":
        return Rendered(np.ascontiguousarray(cutout[:, :, 3]), info)
    return Rendered(_over_background(cutout, segmentation, options, check), info)


def _over_background(
    cutout: Cutout, segmentation: Segmentation, options: CutoutOptions, check: Check
) -> Cutout | Rgb:
    height, width = cutout.shape[:2]
    colour = options.background_rgba
    own_alpha = segmentation.picture.own_alpha
    behind: Rgb | Cutout
    if segmentation.backdrop is not None and segmentation.backdrop.shape[2] == 4:
        behind = cover_see_through(segmentation.backdrop, height, width, check=check)
    elif segmentation.backdrop is not None:
        behind = cover(segmentation.backdrop, height, width, check=check)
    elif options.background == "blur":
        picture = segmentation.picture.rgb
        shown = picture if own_alpha is None else over_white(picture, own_alpha, check=check)
        behind = blur_backdrop(shown, check=check)
    elif colour is None:
        return cutout
    elif colour[3] == 255 and options.channels == "auto":
        return over_colour(cutout, colour[:3], check=check)
    else:
        return lay_over(cutout, np.array(colour, np.uint8), check=check)
    over = lay_over(cutout, behind, check=check)
    return over if options.channels == "rgba" else opaque(over)


def finish(rendered: Rendered, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Result:
    """Encode a result."""
    with steps.step("encode"):
        pixels = rendered.pixels
        chosen = _format_for(pixels) if options.format == "auto" else options.format
        if chosen == "jpeg" and pixels.ndim == 3 and pixels.shape[2] == 4:
            pixels = opaque(pixels) if is_opaque(pixels) else over_colour(pixels, WHITE, check=steps.check)
        encoded = encode(pixels, format=chosen, quality=options.quality, check=steps.check)
        mask = None if rendered.mask is None else encode_png(rendered.mask, check=steps.check)
    height_px, width_px = rendered.pixels.shape[:2]
    return Result(encoded, FORMATS[chosen], width_px, height_px, rendered.info, mask)


def _format_for(pixels: Cutout | Rgb | Grey) -> str:
    """Return PNG where something shines through, all is grey or JPEG cannot hold the size; JPEG elsewhere."""
    is_too_long = max(pixels.shape[:2]) > MAX_SIDE_PX["jpeg"]
    shines_through = pixels.ndim == 3 and pixels.shape[2] == 4 and not is_opaque(pixels)
    return "png" if shines_through or pixels.ndim == 2 or is_too_long else "jpeg"


def _cleaned(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, *, level: float, check: Check
) -> Segmentation:
    if options.clean == 0 or segmentation.is_empty:
        return segmentation
    return replace(
        segmentation, saliency=clean_map(segmentation.saliency, area=options.clean, level=level, check=check)
    )


def _asks(steps: StepTimes, budget_s: float) -> Asks:
    until_s = steps.now_s() + budget_s

    def is_time_left() -> bool:
        steps.check()
        return steps.now_s() < until_s

    return Asks(steps.check, is_time_left)


def _grey_mask(segmentation: Segmentation, options: MaskOptions, asks: Asks) -> tuple[Grey, bool]:
    """Return the mask, and whether its matting had time to end."""
    if options.size == "network":
        solved = Solved(segmentation.saliency, is_complete=True)
        alpha = weigh(segmentation.saliency, segmentation.picture.own_alpha)
    elif options.matting == "none" and options.threshold is None and segmentation.picture.own_alpha is None:
        return publish(segmentation.saliency, *segmentation.picture.rgb.shape[:2]), True
    else:
        solved = _alpha_at_source_size(segmentation, options.matting, asks)
        alpha = _with_own_alpha(segmentation, solved.alpha)
    if options.threshold is not None:
        return np.where(alpha >= options.threshold, np.uint8(255), np.uint8(0)), solved.is_complete
    return to_grey(alpha, check=asks.check), solved.is_complete


def _matted(segmentation: Segmentation, options: CutoutOptions, asks: Asks) -> tuple[Rgb, Grey, bool]:
    """Return the subject's colours, its 8-bit alpha, and whether its matting had time to end."""
    rgb, own_alpha = segmentation.picture.rgb, segmentation.picture.own_alpha
    if segmentation.is_empty or (options.matting == "none" and own_alpha is None):
        return rgb, enlarge_to_grey(segmentation.saliency, *rgb.shape[:2], check=asks.check), True
    solved = _alpha_at_source_size(segmentation, options.matting, asks)
    alpha = to_grey(_with_own_alpha(segmentation, solved.alpha), check=asks.check)
    if options.matting == "none":
        return rgb, alpha, True
    return estimate_foreground(rgb, solved.alpha, check=asks.check), alpha, solved.is_complete


def _alpha_at_source_size(segmentation: Segmentation, matting: str, asks: Asks) -> Solved:
    """Return the network's alpha at the picture's size."""
    rgb = segmentation.picture.rgb
    if matting == "none" or segmentation.is_empty:
        return Solved(resize_saliency(segmentation.saliency, *rgb.shape[:2]), is_complete=True)
    if matting == "hq":
        return solve_alpha(rgb, segmentation.saliency, is_time_left=asks.is_time_left, check=asks.check)
    return Solved(refine_alpha(rgb, segmentation.saliency, check=asks.check), is_complete=True)


def _with_own_alpha(segmentation: Segmentation, alpha: AlphaMatte) -> AlphaMatte:
    """Let what was see-through in the upload stay so."""
    own_alpha = segmentation.picture.own_alpha
    return alpha if own_alpha is None else combine_alpha(alpha, own_alpha)


def _info(
    segmentation: Segmentation, options: MaskOptions | CutoutOptions, *, is_complete: bool, check: Check
) -> ResultInfo:
    height, width = segmentation.picture.rgb.shape[:2]
    return ResultInfo(
        model=segmentation.manifest.name,
        provider=segmentation.provider,
        matting="none" if segmentation.is_empty else options.matting,
        refine="crop" if segmentation.is_refined else "none",
        verdict=judge(
            weigh(segmentation.saliency, segmentation.picture.own_alpha),
            height,
            width,
            is_empty=segmentation.is_empty,
            check=check,
        ),
        warnings=segmentation.picture.warnings + (() if is_complete else (HQ_CUT_SHORT,)),
        etag=segmentation.etag,
    )
