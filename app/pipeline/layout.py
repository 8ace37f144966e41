"""Layout: crops and places a cutout, and adds its shadow and its background."""

from dataclasses import replace

import numpy as np

from app.arrays import Cutout, Rgb
from app.imaging.formats.encode import check_side
from app.imaging.layout.arrange import (
    arrange,
    blur_backdrop,
    cover,
    cover_see_through,
    drop_shadow,
    lay_over,
    opaque,
    subject_box,
)
from app.imaging.layout.compose import over_colour, over_white
from app.imaging.layout.placement import Placement, Rectangle, check_canvas, place
from app.imaging.progress import Check
from app.options import CutoutOptions
from app.pipeline.footprint import PictureLimits
from app.pipeline.values import Rendered, ResultInfo, Segmentation


def lay_out(
    cutout: Cutout,
    segmentation: Segmentation,
    options: CutoutOptions,
    info: ResultInfo,
    limits: PictureLimits,
    check: Check,
) -> Rendered:
    """Place the subject as requested, with the requested background.

    Raises:
        CanvasTooLarge: The canvas has more pixels, or a longer side, than ``limits`` allow.
        FormatExceeded: The canvas has a longer side than its format can hold.
    """
    if segmentation.frame is not None and not segmentation.frame.is_whole:
        region = segmentation.frame.region
        whole = Rectangle(0, 0, region.width, region.height)
        cutout = arrange(
            cutout, Placement(segmentation.frame.height, segmentation.frame.width, whole, region), check=check
        )
    if options.report_box or options.layout.moves or options.shadow != "none":
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
    backdrop: Rgb | Cutout
    if segmentation.backdrop is not None and segmentation.backdrop.shape[2] == 4:
        backdrop = cover_see_through(segmentation.backdrop, height, width, check=check)
    elif segmentation.backdrop is not None:
        backdrop = cover(segmentation.backdrop, height, width, check=check)
    elif options.background == "blur":
        rgb = segmentation.picture.rgb
        visible = rgb if own_alpha is None else over_white(rgb, own_alpha, check=check)
        backdrop = blur_backdrop(visible, check=check)
    elif colour is None:
        return cutout
    elif colour[3] == 255 and options.channels == "auto":
        return over_colour(cutout, colour[:3], check=check)
    else:
        return lay_over(cutout, np.array(colour, np.uint8), check=check)
    composed = lay_over(cutout, backdrop, check=check)
    return composed if options.channels == "rgba" else opaque(composed)
