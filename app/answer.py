"""Answer: what the network saw in a picture becomes the mask or the cutout that was asked for.

Everything here comes after the network and is pure but for the step times; the threads that it runs on
are chosen in ``app/pipeline.py``.
"""

from dataclasses import dataclass

import numpy as np

from app.arrays import AlphaMatte, Cutout, Grey, Rgb, SaliencyMap
from app.engine.manifest import Manifest
from app.imaging.compose import assemble_cutout, combine_alpha, over_colour
from app.imaging.decode import Picture
from app.imaging.encode import FORMATS, encode
from app.imaging.foreground import estimate_foreground
from app.imaging.matte import refine_alpha
from app.imaging.saliency import publish, resize_saliency, to_grey
from app.imaging.verdict import Verdict, judge
from app.options import CutoutOptions, MaskOptions
from app.telemetry import StepTimes


@dataclass(frozen=True, slots=True)
class Answer:
    """The encoded result and the facts about it; ``etag`` names picture, options and model."""

    encoded: bytes
    media_type: str
    width_px: int
    height_px: int
    model: str
    provider: str
    matting: str
    verdict: Verdict
    warnings: tuple[str, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A decoded picture and what the network saw in it, stretched; all zero for an empty scene."""

    picture: Picture
    saliency: SaliencyMap
    is_empty: bool
    manifest: Manifest
    provider: str
    etag: str


def finish_mask(seen: Seen, options: MaskOptions, steps: StepTimes) -> Answer:
    """Turn saliency into an encoded mask."""
    with steps.step("matte"):
        grey = _grey_mask(seen, options)
    with steps.step("encode"):
        encoded = encode(grey, format=options.format, quality=options.quality)
    return _answer(seen, encoded, options, (grey.shape[0], grey.shape[1]))


def compose_cutout(seen: Seen, options: CutoutOptions, steps: StepTimes) -> Cutout | Rgb:
    """Turn saliency into the subject with straight alpha, or over a background."""
    with steps.step("matte"):
        alpha, foreground_alpha = _alpha_at_source_size(seen, options.matting)
        foreground = seen.picture.rgb
        if options.matting == "fast" and not seen.is_empty:
            foreground = estimate_foreground(foreground, foreground_alpha)
    with steps.step("compose"):
        composed = assemble_cutout(foreground, alpha)
        if options.background_rgb is not None:
            return over_colour(composed, options.background_rgb)
    return composed


def finish_cutout(seen: Seen, composed: Cutout | Rgb, options: CutoutOptions, steps: StepTimes) -> Answer:
    """Encode a cutout."""
    with steps.step("encode"):
        encoded = encode(composed, format=options.format, quality=options.quality)
    return _answer(seen, encoded, options, (composed.shape[0], composed.shape[1]))


def _grey_mask(seen: Seen, options: MaskOptions) -> Grey:
    height, width = seen.picture.rgb.shape[:2]
    if options.size == "network":
        alpha = seen.saliency
    elif options.matting == "none" and options.threshold is None and seen.picture.own_alpha is None:
        return publish(seen.saliency, height, width)
    else:
        alpha, _ = _alpha_at_source_size(seen, options.matting)
    if options.threshold is not None:
        return np.where(alpha >= options.threshold, np.uint8(255), np.uint8(0))
    return to_grey(alpha)


def _alpha_at_source_size(seen: Seen, matting: str) -> tuple[AlphaMatte, AlphaMatte]:
    """Return alpha with and without the picture's own transparency, at the picture's size."""
    height, width = seen.picture.rgb.shape[:2]
    if matting == "fast" and not seen.is_empty:
        alpha = refine_alpha(seen.picture.rgb, seen.saliency)
    else:
        alpha = resize_saliency(seen.saliency, height, width)
    if seen.picture.own_alpha is None:
        return alpha, alpha
    return combine_alpha(alpha, seen.picture.own_alpha), alpha


def _answer(
    seen: Seen, encoded: bytes, options: MaskOptions | CutoutOptions, size: tuple[int, int]
) -> Answer:
    height, width = seen.picture.rgb.shape[:2]
    return Answer(
        encoded=encoded,
        media_type=FORMATS[options.format],
        width_px=size[1],
        height_px=size[0],
        model=seen.manifest.name,
        provider=seen.provider,
        matting="none" if seen.is_empty else options.matting,
        verdict=judge(seen.saliency, height, width, is_empty=seen.is_empty),
        warnings=seen.picture.warnings,
        etag=seen.etag,
    )
