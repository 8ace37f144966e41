"""Values: defines what a request is after each step of the pipeline.

    MaskRequest, CutoutRequest ──▶ PreparedPicture ──▶ Segmentation ──▶ Rendered ──▶ Result

Each is immutable, so that a step may run on any thread. ``RequestContext`` (``context.py``) holds everything
else about the request.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from app.arrays import AlphaMatte, Cutout, Grey, NetworkInput, Rgb, SaliencyMap, Trimap
from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import Picture
from app.imaging.formats.sniff import Header
from app.imaging.layout.placement import Rectangle
from app.imaging.layout.region import Frame
from app.imaging.matting.verdict import Verdict
from app.options import CutoutOptions, MaskOptions

if TYPE_CHECKING:
    import hashlib


OWN_MASK_PROVIDER = "none"
"""The provider, and the precision, of a result for which no network ran."""
HQ_CUT_SHORT, STROKES_CUT_SHORT = "hq_cut_short", "strokes_cut_short"
CUT_SHORT = frozenset({HQ_CUT_SHORT, STROKES_CUT_SHORT})
"""The warnings of a result whose computation ran out of time."""


@dataclass(frozen=True, slots=True)
class PictureSource:
    """A picture of a request: its bytes, or the URL to fetch them from.

    Attributes:
        upload: The bytes of the file.
        url: Its URL, if the request does not contain the file.
        header: The header of the file; set when the request is admitted.
        digest: SHA-256 over the file; set when the request is admitted.
    """

    upload: bytes | None = None
    url: str | None = None
    header: Header | None = None
    digest: "hashlib._Hash | None" = None


@dataclass(frozen=True, slots=True)
class MaskRequest:
    """A parsed request for the mask of a picture; the pictures are those of ``CutoutRequest``."""

    picture: PictureSource
    options: MaskOptions
    backdrop: ClassVar[None] = None
    mask: PictureSource | None = None
    keep: PictureSource | None = None
    remove: PictureSource | None = None


@dataclass(frozen=True, slots=True)
class CutoutRequest:
    """A parsed request for the subject of a picture.

    Attributes:
        picture: The picture.
        options: The options.
        backdrop: A picture to put behind the subject.
        mask: The caller's own mask or trimap, in place of the network's; with strokes, the alpha so far.
        keep, remove: Pictures of strokes, painted where they are bright.
    """

    picture: PictureSource
    options: CutoutOptions
    backdrop: PictureSource | None = None
    mask: PictureSource | None = None
    keep: PictureSource | None = None
    remove: PictureSource | None = None


ImageRequest: TypeAlias = MaskRequest | CutoutRequest


EXTRA_PICTURES = ("backdrop", "mask", "keep", "remove")
"""The roles of the pictures that a request may have in addition to its picture."""


def extra_pictures(request: ImageRequest) -> dict[str, PictureSource]:
    """Return the pictures that a request has in addition to its picture, by role."""
    sources = {role: getattr(request, role) for role in EXTRA_PICTURES}
    return {role: source for role, source in sources.items() if source is not None}


def with_picture(request: ImageRequest, role: str, source: PictureSource) -> ImageRequest:
    """Return a request with another picture in one of its roles."""
    changed: ImageRequest = replace(request, **{role: source})  # type: ignore[arg-type] # of the role
    return changed


def request_for(upload: bytes, options: MaskOptions | CutoutOptions) -> ImageRequest:
    """Return a request for the mask or the cutout of a picture, depending on the options."""
    picture = PictureSource(upload)
    return (
        MaskRequest(picture, options) if isinstance(options, MaskOptions) else CutoutRequest(picture, options)
    )


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """A decoded picture, and the network's input or the caller's own mask.

    Attributes:
        etag: The entity tag of the result.
        picture: The upright picture, or the requested region of it.
        network_input: None if the caller sent an own mask.
        frame: The size of the whole picture, and the region of it that ``picture`` is.
        backdrop: The picture to put behind the subject; if it has alpha, its colours are multiplied by it.
        own_mask: The caller's mask as a saliency map.
        visible: The picture's own alpha, if it has any, at the size of the network's map.
        is_own_mask_empty: Whether the caller's mask selects no visible pixel of the picture.
        painted: What the caller painted to keep (255) and to remove (0), at the size of ``picture``.
    """

    etag: str
    picture: Picture
    network_input: NetworkInput | None
    frame: Frame | None = None
    backdrop: Rgb | Cutout | None = None
    own_mask: SaliencyMap | None = None
    visible: Grey | None = None
    is_own_mask_empty: bool = False
    painted: Trimap | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A picture and its saliency map.

    Attributes:
        picture: The picture.
        saliency: In [0, 1], stretched to that range; all zero for an empty scene.
        is_empty: Whether the picture has no subject.
        manifest: The manifest of the network.
        provider: The execution provider that the network ran on.
        precision: The precision of its graph.
        etag: The entity tag of the result.
        is_refined: Whether the network ran a second time, on the subject only.
        network_input, frame, backdrop, visible, painted: As in ``PreparedPicture``.
        alpha_before: The alpha at the picture's size before strokes corrected it. ``saliency`` is then the
            corrected one, which needs no more matting.
    """

    picture: Picture
    saliency: SaliencyMap
    is_empty: bool
    manifest: Manifest
    provider: str
    precision: str
    etag: str
    is_refined: bool = False
    network_input: NetworkInput | None = None
    frame: Frame | None = None
    backdrop: Rgb | Cutout | None = None
    visible: Grey | None = None
    painted: Trimap | None = None
    alpha_before: AlphaMatte | None = None


@dataclass(frozen=True, slots=True)
class ResultInfo:
    """The properties of a result that responses and the log report.

    Attributes:
        model, provider, precision: The network, the execution provider that it ran on, and its precision.
        matting, refine: How its map was refined.
        verdict: The properties of the map as a whole.
        warnings: Codes of unusual properties of the picture or the result.
        etag: The entity tag: it identifies pictures, options, model and precision.
        subject: The subject's box in the result, if it was computed.
    """

    model: str
    provider: str
    precision: str
    matting: str
    refine: str
    verdict: Verdict
    warnings: tuple[str, ...]
    etag: str
    subject: Rectangle | None = None

    @property
    def is_cut_short(self) -> bool:
        """Whether a step ran out of time, so that the same request may have another result."""
        return not CUT_SHORT.isdisjoint(self.warnings)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A result before encoding; it holds no reference to the decoded picture."""

    pixels: Cutout | Rgb | Grey
    info: ResultInfo
    mask: Grey | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """An encoded result; ``mask`` is the saliency mask as PNG, if both were requested."""

    encoded: bytes
    media_type: str
    width_px: int
    height_px: int
    info: ResultInfo
    mask: bytes | None = None
    is_cached: bool = False

    @property
    def size_bytes(self) -> int:
        """The length of the encoded images."""
        return len(self.encoded) + len(self.mask or b"")


@dataclass(frozen=True, slots=True)
class NotModified:
    """The caller already has the result with this entity tag; nothing was decoded."""

    etag: str
