"""Scene: decides whether a saliency map has a subject, by four rules.

1. A map that is nearly flat and low, or whose subject is invisible in the picture, is an empty scene.
2. The caller's own mask is used unchanged; it is empty if it selects no visible pixel of the picture.
3. What a person painted to keep is a subject.
4. With ``refine=crop`` the network runs a second time, on a subject that fills little of the picture. If the
   second map is empty, the first one is kept.
"""

from dataclasses import replace

import numpy as np

from app.arrays import SaliencyMap
from app.engine.models.registry import Session
from app.errors import NoForeground
from app.imaging.matting.painting import KEPT
from app.imaging.matting.refine import MAX_SIDE_PX, Box, blend_maps, choose_crop
from app.imaging.matting.saliency import is_empty, stretch, weigh
from app.imaging.opencv_errors import raises_memory_error
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import OWN_MASK_PROVIDER, PreparedPicture, Segmentation
from app.telemetry import StepTimes


def segmentation_of(
    prepared: PreparedPicture,
    raw: SaliencyMap | None,
    options: MaskOptions | CutoutOptions,
    session: Session,
) -> Segmentation:
    """Interpret the raw map of a session's network, or the caller's own mask if ``raw`` is None.

    Raises:
        NoForeground: The scene is empty, and ``require_foreground`` is set.
    """
    if raw is None:
        assert prepared.own_mask is not None  # noqa: S101 - a prepared picture has one of the two
        saliency, scene_is_empty = prepared.own_mask, prepared.is_own_mask_empty
        provider = precision = OWN_MASK_PROVIDER
    else:
        provider, precision = session.provider, session.choice.precision
        scene_is_empty = is_empty(raw, prepared.visible)
        saliency = np.zeros_like(raw) if scene_is_empty else stretch(raw)
    is_kept = prepared.painted is not None and bool((prepared.painted == KEPT).any())
    if scene_is_empty and options.require_foreground and not is_kept:
        raise NoForeground
    return Segmentation(
        prepared.picture,
        saliency,
        scene_is_empty,
        session.manifest,
        provider,
        precision,
        prepared.etag,
        frame=prepared.frame,
        backdrop=prepared.backdrop,
        visible=prepared.visible,
        painted=prepared.painted,
    )


def refinement_box(segmentation: Segmentation, options: MaskOptions | CutoutOptions) -> Box | None:
    """Return the part of the picture to run the network on again; None if that would not help."""
    if options.refine != "crop" or segmentation.is_empty or segmentation.provider == OWN_MASK_PROVIDER:
        return None
    if max(segmentation.saliency.shape) >= MAX_SIDE_PX:
        return None  # the map of a large network is as fine as a blended one, which would be softer
    height, width = segmentation.picture.rgb.shape[:2]
    return choose_crop(weigh(segmentation.saliency, segmentation.visible), height, width)


@raises_memory_error
def blend(segmentation: Segmentation, raw: SaliencyMap, box: Box, steps: StepTimes) -> Segmentation:
    """Merge the raw map of the second run, on ``box``, into the first; an empty map changes nothing."""
    if is_empty(raw):
        return segmentation
    height, width = segmentation.picture.rgb.shape[:2]
    with steps.step("refine"):
        saliency = blend_maps(segmentation.saliency, stretch(raw), box, height, width)
    return replace(segmentation, saliency=saliency, is_refined=True)


def planned_runs(options: MaskOptions | CutoutOptions, *, has_own_mask: bool) -> int:
    """Return how many runs of the network a request may need."""
    if has_own_mask:
        return 0
    return 2 if options.refine == "crop" else 1
