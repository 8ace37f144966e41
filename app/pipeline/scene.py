"""Scene: decides whether a saliency map has a subject, by five rules.

1. A map that is nearly flat and low, or whose subject is invisible in the picture, is an empty scene.
2. The caller's own mask is used unchanged; it is empty if it selects no visible pixel of the picture.
3. What a person painted to keep is a subject.
4. With ``refine=crop``, and for the cutout of a very long picture, the network runs a second time, on a
   subject that fills little of the picture.
5. The second map is used only if it has the same subject as the first one; else the first one is kept.
"""

from dataclasses import replace

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.models.registry import Session
from app.errors import NoForeground
from app.imaging.matting.agreement import has_same_subject
from app.imaging.matting.painting import KEPT
from app.imaging.matting.refine import MAX_SIDE_PX, Box, blend_maps, choose_crop, map_of_part
from app.imaging.matting.saliency import is_empty, stretch, weigh
from app.imaging.opencv_errors import raises_memory_error
from app.options import CutoutOptions, MaskOptions
from app.pipeline.footprint import looks_twice
from app.pipeline.values import OWN_MASK_PROVIDER, ImageRequest, PreparedPicture, Segmentation
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
        network_input=prepared.network_input,
        frame=prepared.frame,
        backdrop=prepared.backdrop,
        visible=prepared.visible,
        painted=prepared.painted,
    )


def refinement_box(segmentation: Segmentation, options: MaskOptions | CutoutOptions) -> Box | None:
    """Return the part of the picture to run the network on again; None if that would not help."""
    height, width = segmentation.picture.rgb.shape[:2]
    if segmentation.is_empty or segmentation.provider == OWN_MASK_PROVIDER:
        return None
    if not looks_twice(options, height, width):
        return None
    if max(segmentation.saliency.shape) >= MAX_SIDE_PX:
        return None  # the map of a large network is as fine as a blended one, which would be softer
    return choose_crop(weigh(segmentation.saliency, segmentation.visible), height, width)


@raises_memory_error
def blend(
    segmentation: Segmentation, raw: SaliencyMap, crop: NetworkInput, box: Box, steps: StepTimes
) -> Segmentation:
    """Merge the raw map of the second run, whose input was ``crop``, the part ``box``, into the first.

    A second map that is empty, or has another subject, changes nothing.
    """
    if is_empty(raw):
        return segmentation
    height, width = segmentation.picture.rgb.shape[:2]
    with steps.step("refine"):
        second = stretch(raw)
        first = map_of_part(segmentation.saliency, box, height, width, second.shape)
        if not has_same_subject(first, second, crop):
            return segmentation
        saliency = blend_maps(segmentation.saliency, second, box, height, width)
    return replace(segmentation, saliency=saliency, is_refined=True)


def planned_runs(request: ImageRequest) -> int:
    """Return how many runs of the network an admitted request may need."""
    header = request.picture.header
    assert header is not None  # noqa: S101 - inspected
    if request.mask is not None:
        return 0
    return 2 if looks_twice(request.options, header.height_px, header.width_px) else 1
