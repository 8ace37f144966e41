"""Prepare: decodes the pictures of a request and makes the network's input.

Everything here runs on a ``decode`` thread.
"""

from collections.abc import Callable
from dataclasses import replace

from app.arrays import Cutout, NetworkInput, Rgb
from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import Picture
from app.imaging.formats.sniff import Header
from app.imaging.layout.compose import hide_in_white, over_white, premultiply
from app.imaging.layout.region import frame_picture, saliency_from_mask
from app.imaging.matting.refine import Box, prepare_crop
from app.imaging.matting.saliency import shrink_alpha, weigh
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
        MaskDoesNotFit: The caller's mask has another shape than the picture.
        RegionOutsidePicture, RegionIsEmpty: The requested region is not in the picture.
    """
    options, frame, backdrop, own_mask = request.options, None, None, None
    with steps.step("decode"):
        picture = _decode(request.picture, decoder)
        if picture.own_alpha is not None:  # no later step may use hidden colours
            hide_in_white(picture.rgb, picture.own_alpha)
        if request.backdrop is not None:
            backdrop = _backdrop(_decode(request.backdrop, decoder), options, steps)
        if request.mask is not None:
            own_mask = saliency_from_mask(_decode(request.mask, decoder), picture, check=steps.check)
    with steps.step("prepare"):
        if isinstance(options, CutoutOptions) and (options.max_pixels or options.corners):
            picture, frame = frame_picture(picture, max_px=options.max_pixels, corners=options.corners)
        decoded = PreparedPicture(etag, picture, None, frame, backdrop, own_mask)
        return _with_network_input(decoded, manifest.input_size_px, steps)


def _decode(source: PictureSource, decoder: Decoder) -> Picture:
    assert source.header is not None  # noqa: S101 - admitted
    return decoder(source.upload or b"", source.header)


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
