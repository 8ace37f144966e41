"""Prepare: decodes the pictures of a request and makes the network's input.

Everything here runs on a ``decode`` thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from app.arrays import Cutout, Grey, NetworkInput, Rgb, Trimap
from app.engine.models.manifest import Manifest
from app.errors import InvalidOption
from app.imaging.formats.decode import Picture
from app.imaging.formats.sniff import Header
from app.imaging.layout.compose import hide_in_white, over_white, premultiply
from app.imaging.layout.region import Frame, brightness_of, frame_picture, saliency_from_mask
from app.imaging.matting.painting import paint, painted_pixels
from app.imaging.matting.refine import Box, prepare_crop
from app.imaging.matting.saliency import shrink_alpha, weigh
from app.imaging.matting.stroke_list import STROKES_FORM
from app.imaging.opencv_errors import raises_memory_error
from app.imaging.prepare import prepare
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import ImageRequest, PictureSource, PreparedPicture, Segmentation
from app.telemetry import StepTimes

Decoder = Callable[[bytes, Header], Picture]
"""Decodes a file, given its header: ``decode`` in this process, or a ``SandboxedDecoder``."""


@raises_memory_error
def prepare_request(
    request: ImageRequest, etag: str, manifest: Manifest, steps: StepTimes, decoder: Decoder
) -> PreparedPicture:
    """Decode the pictures of an admitted request, and make the network's input.

    Raises:
        CorruptPicture, UnsupportedFormat: A picture cannot be decoded.
        MaskDoesNotFit: The caller's mask, or a picture of strokes, has another shape than the picture.
        InvalidOption: The strokes cover the picture too often.
        RegionOutsidePicture, RegionIsEmpty: The requested region is not in the picture.
    """
    options, frame, backdrop, own_mask = request.options, None, None, None
    with steps.step("decode"):
        picture = _decode(request.picture, decoder)
        if picture.own_alpha is not None:  # no later step may use hidden colours
            hide_in_white(picture.rgb, picture.own_alpha)
        size = picture.rgb.shape[:2]
        if request.backdrop is not None:
            backdrop = _backdrop(_decode(request.backdrop, decoder), options, steps)
        if request.mask is not None:
            own_mask = saliency_from_mask(_decode(request.mask, decoder), picture, check=steps.check)
        drawn = _drawn(request, picture, decoder)
    with steps.step("prepare"):
        if isinstance(options, CutoutOptions) and (options.max_pixels or options.corners):
            picture, frame = frame_picture(picture, max_px=options.max_pixels, corners=options.corners)
        painted = _painted(drawn, options, size, frame, steps)
        decoded = PreparedPicture(etag, picture, None, frame, backdrop, own_mask, painted=painted)
        return _with_network_input(decoded, manifest.input_size_px, steps)


def _decode(source: PictureSource, decoder: Decoder) -> Picture:
    assert source.header is not None  # noqa: S101 - admitted
    return decoder(source.upload or b"", source.header)


def _drawn(request: ImageRequest, picture: Picture, decoder: Decoder) -> dict[str, Grey]:
    """Decode the pictures of strokes."""
    sources = (("keep", request.keep), ("remove", request.remove))
    return {
        name: brightness_of(_decode(source, decoder), picture, name=f"picture {name!r}")
        for name, source in sources
        if source is not None
    }


def _painted(
    drawn: Mapping[str, Grey],
    options: MaskOptions | CutoutOptions,
    size: tuple[int, int],
    frame: Frame | None,
    steps: StepTimes,
) -> Trimap | None:
    """Paint what must be kept and removed, at the size and in the region that is segmented.

    Args:
        drawn: The brightness of the pictures of strokes, by name.
        options: The options of the request.
        size: Height and width of the upright picture, whose pixels the strokes are in.
        frame: The size of the picture that is segmented, and the region of it.
        steps: The clock of the request.
    """
    strokes = options.painted_strokes
    if not drawn and not strokes:
        return None
    height, width = size if frame is None else (frame.height, frame.width)
    masks = {name: painted_pixels(grey, height, width) for name, grey in drawn.items()}
    scale = height / size[0], width / size[1]
    try:
        painted = paint(height, width, strokes=strokes, scale=scale, check=steps.check, **masks)
    except ValueError as error:
        raise InvalidOption("strokes", f"{STROKES_FORM}, that do not paint all over many times") from error
    if frame is None or frame.is_whole:
        return painted
    region = frame.region
    return np.ascontiguousarray(painted[region.top : region.bottom, region.left : region.right])


def _with_network_input(decoded: PreparedPicture, side_px: int, steps: StepTimes) -> PreparedPicture:
    """Add the network's input, or with the caller's own mask whether it is empty."""
    own_alpha = decoded.picture.own_alpha
    if decoded.own_mask is not None:
        return replace(decoded, is_own_mask_empty=not weigh(decoded.own_mask, own_alpha).any())
    return replace(
        decoded,
        network_input=prepare(_over_white(decoded.picture, steps), side_px),
        visible=None if own_alpha is None else shrink_alpha(own_alpha, side_px, side_px),
    )


def _over_white(picture: Picture, steps: StepTimes) -> Rgb:
    """Return a picture with its transparent parts over white, as viewers show it."""
    if picture.own_alpha is None:
        return picture.rgb
    return over_white(picture.rgb, picture.own_alpha, check=steps.check)


def _backdrop(decoded: Picture, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Rgb | Cutout:
    """Return the background picture: transparent if the result may be transparent, else over white."""
    may_be_transparent = isinstance(options, CutoutOptions) and options.channels == "rgba"
    if decoded.own_alpha is None or not may_be_transparent:
        return _over_white(decoded, steps)
    return premultiply(decoded.rgb, decoded.own_alpha, check=steps.check)


@raises_memory_error
def prepare_refinement(segmentation: Segmentation, box: Box, steps: StepTimes) -> NetworkInput:
    """Return the network's input for a part of the picture, for ``refine=crop``."""
    with steps.step("refine"):
        return prepare_crop(
            _over_white(segmentation.picture, steps), box, segmentation.manifest.input_size_px
        )
