"""Answer: what the network saw in a picture becomes the mask or the cutout that was asked for.

Everything here comes after the network and is pure but for the step times; the threads that it runs on
are chosen in ``app/pipeline.py``.
"""

from dataclasses import dataclass, replace

import numpy as np

from app.arrays import AlphaMatte, Cutout, Grey, Rgb, SaliencyMap
from app.engine.manifest import Manifest
from app.imaging.clean import clean_map
from app.imaging.compose import assemble_cutout, combine_alpha, over_colour
from app.imaging.decode import Picture
from app.imaging.encode import FORMATS, encode
from app.imaging.foreground import estimate_foreground
from app.imaging.matte import refine_alpha
from app.imaging.saliency import enlarge_to_grey, publish, resize_saliency, to_grey
from app.imaging.verdict import SUBJECT_FROM, Verdict, judge
from app.options import CutoutOptions, MaskOptions
from app.telemetry import StepTimes


@dataclass(frozen=True, slots=True)
class Facts:
    """What an answer says of itself; ``etag`` names picture, options and model."""

    model: str
    provider: str
    matting: str
    verdict: Verdict
    warnings: tuple[str, ...]
    etag: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The encoded result and the facts about it."""

    encoded: bytes
    media_type: str
    width_px: int
    height_px: int
    facts: Facts


@dataclass(frozen=True, slots=True)
class Seen:
    """A decoded picture and what the network saw in it, stretched; all zero for an empty scene."""

    picture: Picture
    saliency: SaliencyMap
    is_empty: bool
    manifest: Manifest
    provider: str
    etag: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A result that has yet to be encoded; nothing of the upload is held any more."""

    pixels: Cutout | Rgb | Grey
    facts: Facts


def finish_mask(seen: Seen, options: MaskOptions, steps: StepTimes) -> Answer:
    """Turn saliency into an encoded mask."""
    with steps.step("matte"):
        cleaned = _cleaned(seen, options, level=options.threshold or SUBJECT_FROM)
        drawn = Drawn(_grey_mask(cleaned, options), _facts(cleaned, options))
    return finish(drawn, options, steps)


def compose_cutout(seen: Seen, options: CutoutOptions, steps: StepTimes) -> Drawn:
    """Turn saliency into the subject with straight alpha, or over a background."""
    with steps.step("matte"):
        cleaned = _cleaned(seen, options, level=SUBJECT_FROM)
        facts = _facts(cleaned, options)
        foreground, alpha = _matted(cleaned, options)
    with steps.step("compose"):
        composed = assemble_cutout(foreground, alpha)
        del foreground, alpha
        if options.background_rgb is not None:
            return Drawn(over_colour(composed, options.background_rgb), facts)
    return Drawn(composed, facts)


def finish(drawn: Drawn, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Answer:
    """Encode a result."""
    with steps.step("encode"):
        encoded = encode(drawn.pixels, format=options.format, quality=options.quality)
    height_px, width_px = drawn.pixels.shape[:2]
    return Answer(encoded, FORMATS[options.format], width_px, height_px, drawn.facts)


def _cleaned(seen: Seen, options: MaskOptions | CutoutOptions, *, level: float) -> Seen:
    if options.clean == 0 or seen.is_empty:
        return seen
    return replace(seen, saliency=clean_map(seen.saliency, area=options.clean, level=level))


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


def _matted(seen: Seen, options: CutoutOptions) -> tuple[Rgb, Grey]:
    """Return the subject's colours and its 8-bit alpha."""
    rgb, own_alpha = seen.picture.rgb, seen.picture.own_alpha
    if seen.is_empty or (options.matting == "none" and own_alpha is None):
        return rgb, enlarge_to_grey(seen.saliency, *rgb.shape[:2])
    alpha, foreground_alpha = _alpha_at_source_size(seen, options.matting)
    if options.matting == "none":
        return rgb, to_grey(alpha)
    return estimate_foreground(rgb, foreground_alpha), to_grey(alpha)


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


def _facts(seen: Seen, options: MaskOptions | CutoutOptions) -> Facts:
    height, width = seen.picture.rgb.shape[:2]
    return Facts(
        model=seen.manifest.name,
        provider=seen.provider,
        matting="none" if seen.is_empty else options.matting,
        verdict=judge(seen.saliency, height, width, is_empty=seen.is_empty),
        warnings=seen.picture.warnings,
        etag=seen.etag,
    )
