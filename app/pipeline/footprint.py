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
    "jpeg": 14,  # with a profile, turned, and read by Pillow; a camera's takes 3
    "jpeg cmyk": 17,
    "png": 17,  # with alpha and a profile, turned
    "png deep": 25,  # 16 bits per sample with alpha
    "webp": 24,  # animated or lossless; others take 6 to 13
    "gif": 11,
    "bmp": 10,
    "avif": 28,  # 10 bits and more, with alpha; 8 bits take 10 to 18
    "heic": 28,
}
"""Peak bytes per coded pixel while a picture is decoded and turned upright."""
ENCODE_BYTES: Mapping[str, int] = {"png": 9, "webp": 43, "jpeg": 8, "avif": 52, "zip": 14, "auto": 9}
"""Peak bytes per pixel of a cutout, in addition to the cutout itself, which has up to 4."""
MASK_ENCODE_BYTES: Mapping[str, int] = {"png": 4, "webp": 36, "jpeg": 4, "avif": 24}
"""Peak bytes per pixel of a mask, in addition to the mask itself, which has 1."""
FLOOR_BYTES, AVIF_FLOOR_BYTES = 8 * 2**20, 40 * 2**20
"""Memory of a request with the smallest picture; an AVIF encoder allocates large blocks."""
MASK_RESULT_BYTES = 3
"""Bytes per pixel of the mask that is returned with a cutout, and of its file."""
MAX_SINGLE_LOOK_RATIO = 3
"""Long side by short side of a picture, above which a cutout needs a second run of the network by default."""
UPLOAD_COPIES = 3
"""Copies of the largest upload while its metadata is removed and a library reads it."""
RGB_BYTES, OWN_ALPHA_BYTES = 3, 1
"""Bytes per pixel of the colours and the picture's own alpha, which are kept until the result is laid out."""
BACKDROP_BYTES = 4
"""Bytes per pixel of the background picture."""
MASK_BYTES = 8
"""Bytes per pixel of the caller's mask, and of the arrays that resize it."""
DRAWN_BYTES = 3
"""Bytes per pixel of a picture of strokes, while its brightness is computed."""
STROKES_BYTES, STROKES_FLOOR_BYTES = 14, 24 * 2**20
"""Bytes per pixel for what is painted and the mattes before and after; and those of the shrunk picture."""
PUBLISHED_BYTES, ALPHA_BYTES = 2, 6
"""Bytes per pixel of a mask as the network's authors publish it, and of an alpha with its 8-bit result."""
OWN_ALPHA_WORK_BYTES, FOREGROUND_BYTES, OWN_MASK_WORK_BYTES = 5, 3, 8
"""Bytes per pixel to combine an alpha with the picture's own, for colours, and for a caller's mask."""
COMPOSE_BYTES, CUTOUT_BYTES, MOVE_BYTES, LAY_OVER_BYTES = 9, 4, 10, 16
"""Bytes per pixel to join colours and alpha, and of a cutout; and per pixel of the canvas, to move it or add
a shadow, and to lay it over a background."""
DECIDING_BYTES = 40 * 2**20
"""Memory to decide the unsure regions of a map (``haze=remove``), before the matting; mostly the graph."""
SOLVED_BYTES = 240
"""Bytes per pixel that ``matting=hq`` solves, if all of them are in the soft band."""

COLOUR_GRID_PX, COLOUR_CELL_BYTES = 512, 200
"""Side of the coarse grid on which the subject's colours are estimated, and bytes for each of its pixels."""
FIT_GRID_PX, FIT_CELL_BYTES, FIT_BYTES = 320, 80, 24 * 2**20
"""The same for the grid on which edges are fitted, and the bytes that do not depend on it."""
SMALLEST_CELL_BYTES = 800
"""Bytes per pixel of the fit's grid that cover ``FIT_BYTES`` too, if the grid is small."""


CROPPED_FORMATS = frozenset({"avif", "heic"})
"""Formats whose picture may be a part of what is coded."""


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
    kept = (RGB_BYTES + _may_have_alpha(picture) * OWN_ALPHA_BYTES) * source_px
    with_backdrop = kept + BACKDROP_BYTES * backdrop_px
    with_mask = with_backdrop + MASK_BYTES * mask_px
    with_all = with_mask + drawn_px + is_painted * (STROKES_FLOOR_BYTES + STROKES_BYTES * source_px)
    copies = UPLOAD_COPIES * upload_bytes
    phases = (
        copies + _decoding(picture),
        copies + kept + _decoding(backdrop),
        copies + with_backdrop + _decoding(mask),
        copies + with_mask + DRAWN_BYTES * drawn_px + max(_decoding(keep), _decoding(remove)),
        with_all + _matting(picture, options, has_mask=mask is not None, is_painted=is_painted),
        with_all + _composing(source_px, canvas_px, options, has_backdrop=backdrop is not None),
        _encoding(source_px, canvas_px, options) + (kept if isinstance(options, MaskOptions) else 0),
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


def _matting(
    picture: Header, options: MaskOptions | CutoutOptions, *, has_mask: bool, is_painted: bool
) -> int:
    """Return the bytes of deciding unsure regions and then of matting, without the picture."""
    is_decided = isinstance(options, CutoutOptions) and options.haze == "remove" and not has_mask
    return max(
        DECIDING_BYTES if is_decided else 0,
        _alpha(picture, options, has_mask=has_mask, is_painted=is_painted),
    )


def _alpha(picture: Header, options: MaskOptions | CutoutOptions, *, has_mask: bool, is_painted: bool) -> int:
    """Return the bytes of alpha and colours: per pixel, for coarse grids, and for the solver."""
    source_px = picture.width_px * picture.height_px
    has_fine_map = has_mask or looks_twice(options, picture.height_px, picture.width_px)
    if _is_published(picture, options, is_painted=is_painted):
        per_pixel = PUBLISHED_BYTES
    else:
        per_pixel = ALPHA_BYTES + _may_have_alpha(picture) * OWN_ALPHA_WORK_BYTES
    if isinstance(options, CutoutOptions) and options.matting != "none":
        per_pixel += FOREGROUND_BYTES
    per_pixel += has_mask * OWN_MASK_WORK_BYTES
    if options.matting == "none":
        return per_pixel * source_px + has_fine_map * FIT_BYTES
    fit_px = _grid_px(picture, options, MAX_SIDE_PX if has_fine_map else FIT_GRID_PX)
    grid = min(FIT_BYTES + FIT_CELL_BYTES * fit_px, SMALLEST_CELL_BYTES * fit_px)
    if isinstance(options, CutoutOptions):
        grid = max(grid, COLOUR_CELL_BYTES * _grid_px(picture, options, COLOUR_GRID_PX))
    solved = SOLVED_BYTES * min(source_px, MAX_PX) if options.matting == "hq" else 0
    return per_pixel * source_px + max(grid, solved)


def _is_published(picture: Header, options: MaskOptions | CutoutOptions, *, is_painted: bool) -> bool:
    """Return whether the result is the network's own map, which needs no floating-point alpha."""
    threshold = options.threshold if isinstance(options, MaskOptions) else None
    is_plain = options.matting == "none" and threshold is None
    return is_plain and not is_painted and not _may_have_alpha(picture)


def _grid_px(picture: Header, options: MaskOptions | CutoutOptions, target_px: int) -> int:
    """Return the most pixels of a coarse grid, whose scale is the longer side over ``target_px``, rounded.

    A part of the picture, or the picture made smaller, may have a finer grid than the whole picture.
    """
    height, width = picture.height_px, picture.width_px
    scale = max(1, round(max(height, width) / target_px))
    is_part = isinstance(options, CutoutOptions) and (options.max_pixels or options.corners)
    if not is_part and picture.format not in CROPPED_FORMATS:
        return -(-height // scale) * -(-width // scale)
    return min(height * width, (3 * target_px // 2 + 1) ** 2)


def _composing(
    source_px: int, canvas_px: int, options: MaskOptions | CutoutOptions, *, has_backdrop: bool
) -> int:
    if isinstance(options, MaskOptions):
        return 0
    wants_both = options.results == MASK_AND_CUTOUT
    joined = (COMPOSE_BYTES + wants_both) * source_px
    is_laid_over = options.background != "transparent" or has_backdrop
    if not (is_laid_over or options.layout.moves or options.region is not None or options.shadow != "none"):
        return joined
    laid_out = (LAY_OVER_BYTES if is_laid_over else MOVE_BYTES) * max(source_px, canvas_px)
    return max(joined, (CUTOUT_BYTES + wants_both) * source_px + laid_out)


def _encoding(source_px: int, canvas_px: int, options: MaskOptions | CutoutOptions) -> int:
    if isinstance(options, MaskOptions):
        return (1 + MASK_ENCODE_BYTES[options.format]) * canvas_px
    wants_both = options.results == MASK_AND_CUTOUT
    return (4 + ENCODE_BYTES[options.format]) * canvas_px + wants_both * MASK_RESULT_BYTES * source_px


def _decoding(header: Header | None) -> int:
    if header is None:
        return 0
    kind = f"{header.format} cmyk" if header.is_cmyk else header.format
    kind = f"{header.format} deep" if header.is_deep else kind
    return DECODE_BYTES[kind] * header.held_px


def _may_have_alpha(header: Header) -> bool:
    return header.format != "jpeg"


def _pixels(header: Header | None) -> int:
    return 0 if header is None else header.width_px * header.height_px
