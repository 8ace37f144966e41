"""Footprint: computes how much memory a request may need, before anything is decoded.

Strategy: a picture goes through phases, and the arrays of a phase are proportional to the pixels that it
processes. The footprint of a request is the memory of its largest phase. The bytes per pixel were measured as
the high-water mark of the process (``python -m benchmarks.footprint`` fails if a path takes more than is
counted here). A new option that makes arrays must be counted here, and nowhere else.

    decode ─▶ decode the other pictures ─▶ matte ─▶ compose ─▶ encode
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import RequestTooLarge
from app.imaging.formats.sniff import Header
from app.imaging.layout.placement import largest_canvas, shrunk_size
from app.imaging.matting.closed_form import MAX_PX
from app.imaging.matting.refine import MAX_SIDE_PX
from app.options import MASK_AND_CUTOUT, CutoutOptions, MaskOptions

DECODE_BYTES: Mapping[str, int] = {
    "jpeg": 16,  # progressive CMYK with full chroma; a camera's takes 3
    "png": 25,  # 16 bits per sample with alpha; 8 bits take 7 to 12
    "webp": 24,  # animated; a still one takes 7 to 11
    "gif": 9,
    "bmp": 9,
    "avif": 28,  # 10 bits and more, with alpha; 8 bits take 10 to 18
    "heic": 28,
}
"""Peak bytes per coded pixel while a picture is decoded and turned upright."""
ENCODE_BYTES: Mapping[str, int] = {"png": 9, "webp": 43, "jpeg": 8, "avif": 52, "zip": 14, "auto": 9}
"""Peak bytes per pixel of the result, in addition to the result itself, which has up to 4."""
FLOOR_BYTES, AVIF_FLOOR_BYTES = 8 * 2**20, 40 * 2**20
"""Memory of a request with the smallest picture; an AVIF encoder allocates large blocks."""
MAX_SINGLE_LOOK_RATIO = 3
"""Long side by short side of a picture, above which a cutout needs a second run of the network by default."""
UPLOAD_COPIES = 3
"""Copies of the largest upload while its metadata is removed and a library reads it."""
PICTURE_BYTES = 4
"""Bytes per pixel of the colours and the picture's own alpha, which are kept until the result is laid out."""
MASK_BYTES = 8
"""Bytes per pixel of the caller's mask, and of the arrays that resize it."""
DRAWN_BYTES = 3
"""Bytes per pixel of a picture of strokes, while its brightness is computed."""
STROKES_BYTES, STROKES_FLOOR_BYTES = 14, 24 * 2**20
"""Bytes per pixel for what is painted and the mattes before and after; and those of the shrunk picture."""
MATTE_BYTES = 16
"""Bytes per pixel of the picture while its alpha is computed."""
COMPOSE_BYTES, LAY_OUT_BYTES = 8, 32
"""Bytes per pixel to join colours and alpha, and to move a cutout or add a shadow or a background."""
DECIDING_BYTES = 40 * 2**20
"""Memory to decide the unsure regions of a map (``haze=remove``), before the matting; mostly the graph."""
SOLVED_BYTES = 240
"""Bytes per pixel that ``matting=hq`` solves, if all of them are in the soft band."""

_FINEST_GRID_PX = (3 * MAX_SIDE_PX // 2) ** 2
_GRID_PX, _GRID_BYTES = 600_000, 130
_FINE_GRID_BYTES, _FINE_GRID_FLOOR_BYTES = 70, 32 * 2**20
"""Of the coarse grids of the matting, whose sides are at most 1.5 times their target."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """The limits of one picture, canvas or request.

    Attributes:
        pixels: The most pixels of a picture or a canvas.
        side_px: The longest side of a picture or a canvas.
        memory_bytes: The most memory that a request may need.
    """

    pixels: int
    side_px: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """The resources that a request may need.

    Attributes:
        pixels: The larger of picture and canvas, plus the other pictures. They are charged to the API key,
            and the request's duration is estimated from them.
        memory_bytes: The peak memory, without the upload.
        canvas_px: The part of ``pixels`` by which the canvas may exceed the picture. The real size of the
            canvas is known when the subject is found.
    """

    pixels: int
    memory_bytes: int
    canvas_px: int = 0


def footprint(
    picture: Header,
    options: MaskOptions | CutoutOptions,
    *,
    backdrop: Header | None = None,
    mask: Header | None = None,
    keep: Header | None = None,
    remove: Header | None = None,
    limit_px: int,
    upload_bytes: int = 0,
) -> Footprint:
    """Return the resources that a request may need.

    Args:
        picture: The header of the picture.
        options: The options of the request.
        backdrop: The header of the picture to put behind the subject.
        mask: The header of the caller's own mask.
        keep: The header of a picture of strokes.
        remove: Likewise.
        limit_px: The most pixels of a canvas.
        upload_bytes: Length of the longest file of the request.
    """
    source_px = picture.width_px * picture.height_px
    canvas_px = min(_canvas_px(picture, options), limit_px)
    backdrop_px, mask_px = _pixels(backdrop), _pixels(mask)
    drawn_px = _pixels(keep) + _pixels(remove)
    is_painted = drawn_px > 0 or options.strokes is not None
    kept = PICTURE_BYTES * source_px
    with_backdrop = kept + PICTURE_BYTES * backdrop_px
    with_mask = with_backdrop + MASK_BYTES * mask_px
    with_all = with_mask + drawn_px + is_painted * (STROKES_FLOOR_BYTES + STROKES_BYTES * source_px)
    copies = UPLOAD_COPIES * upload_bytes
    phases = (
        copies + _decoding(picture),
        copies + kept + _decoding(backdrop),
        copies + with_backdrop + _decoding(mask),
        copies + with_mask + DRAWN_BYTES * drawn_px + max(_decoding(keep), _decoding(remove)),
        with_all + _matting(picture, options, has_mask=mask is not None),
        with_all + _composing(max(source_px, canvas_px), options, has_backdrop=backdrop is not None),
        _encoding(source_px, canvas_px, options),
    )
    excess_px = max(0, canvas_px - source_px)
    floor = AVIF_FLOOR_BYTES if options.format == "avif" else FLOOR_BYTES
    charged_px = source_px + excess_px + backdrop_px + mask_px + drawn_px
    return Footprint(charged_px, floor + max(phases), excess_px)


def looks_twice(options: MaskOptions | CutoutOptions, height_px: int, width_px: int) -> bool:
    """Return whether the network may run again on the subject of a picture of this size.

    ``refine=auto`` leaves the mask of ``results=mask,cutout`` as ``/v1/mask`` returns it, and does not look
    twice at a region, which its caller has chosen.
    """
    if isinstance(options, MaskOptions) or options.refine != "auto":
        return options.refine == "crop"
    is_long = max(height_px, width_px) > MAX_SINGLE_LOOK_RATIO * min(height_px, width_px)
    return is_long and options.region is None and options.results != MASK_AND_CUTOUT


def check_memory(needed_bytes: int, limit_bytes: int) -> None:
    """Refuse a request that would not fit even on an idle server.

    Raises:
        RequestTooLarge: The request needs more than ``limit_bytes``.
    """
    if needed_bytes > limit_bytes:
        raise RequestTooLarge(needed_bytes, limit_bytes)


def _canvas_px(picture: Header, options: MaskOptions | CutoutOptions) -> int:
    """Return the most pixels that the result may have; EXIF may turn the picture by 90 degrees."""
    height, width = picture.height_px, picture.width_px
    if isinstance(options, MaskOptions):
        return height * width
    if options.max_pixels is not None:
        height, width = shrunk_size(height, width, options.max_pixels)
    sizes = [largest_canvas(*sides, options.layout) for sides in ((height, width), (width, height))]
    return max(rows * columns for rows, columns in sizes)


def _matting(picture: Header, options: MaskOptions | CutoutOptions, *, has_mask: bool) -> int:
    """Return the bytes of matting, without the picture: per pixel, for coarse grids, and for the solver."""
    source_px = picture.width_px * picture.height_px
    is_refined = looks_twice(options, picture.height_px, picture.width_px)
    is_decided = isinstance(options, CutoutOptions) and options.haze == "remove" and not has_mask
    return max(
        _alpha(source_px, options, is_fine=has_mask or is_refined),
        DECIDING_BYTES if is_decided else 0,
    )


def _alpha(source_px: int, options: MaskOptions | CutoutOptions, *, is_fine: bool) -> int:
    if options.matting == "none":
        return MATTE_BYTES * source_px + (_FINE_GRID_FLOOR_BYTES if is_fine else 0)
    fine = 0
    if is_fine:
        fine = _FINE_GRID_FLOOR_BYTES + _FINE_GRID_BYTES * min(source_px, _FINEST_GRID_PX)
    solved = SOLVED_BYTES * min(source_px, MAX_PX) if options.matting == "hq" else 0
    return MATTE_BYTES * source_px + max(_GRID_BYTES * min(source_px, _GRID_PX) + fine, solved)


def _composing(largest_px: int, options: MaskOptions | CutoutOptions, *, has_backdrop: bool) -> int:
    if isinstance(options, MaskOptions):
        return 0
    is_plain = options.background == "transparent" and options.shadow == "none" and not has_backdrop
    is_laid_out = options.layout.moves or options.region is not None or not is_plain
    return (LAY_OUT_BYTES if is_laid_out else COMPOSE_BYTES) * largest_px


def _encoding(source_px: int, canvas_px: int, options: MaskOptions | CutoutOptions) -> int:
    wants_both = isinstance(options, CutoutOptions) and options.results == MASK_AND_CUTOUT
    return (4 + ENCODE_BYTES[options.format]) * canvas_px + (3 * source_px if wants_both else 0)


def _decoding(header: Header | None) -> int:
    return 0 if header is None else DECODE_BYTES[header.format] * header.held_px


def _pixels(header: Header | None) -> int:
    return 0 if header is None else header.width_px * header.height_px
