"""Encode: turns rendered pixels into the bytes of a file, on the thread that rendered them."""

from app.arrays import Cutout, Grey, Rgb
from app.imaging.formats.encode import FORMATS, MAX_SIDE_PX, encode
from app.imaging.formats.png import encode_png
from app.imaging.layout.arrange import is_opaque, opaque
from app.imaging.layout.compose import over_colour
from app.imaging.opencv_errors import raises_memory_error
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import Rendered, Result
from app.telemetry import StepTimes

WHITE = (255, 255, 255)


@raises_memory_error
def encode_result(rendered: Rendered, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Result:
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
    """Return PNG for transparent or grey pixels and for sides beyond JPEG's limit, else JPEG."""
    is_too_long = max(pixels.shape[:2]) > MAX_SIDE_PX["jpeg"]
    is_transparent = pixels.ndim == 3 and pixels.shape[2] == 4 and not is_opaque(pixels)
    return "png" if is_transparent or pixels.ndim == 2 or is_too_long else "jpeg"
