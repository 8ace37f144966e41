"""The steps of the pipeline before and after the network, on one thread, for tests and benchmarks."""

from app.engine.models.manifest import Manifest
from app.imaging.formats.decode import decode
from app.options import CutoutOptions, MaskOptions
from app.pipeline.admit import inspect
from app.pipeline.encode import encode_result
from app.pipeline.footprint import PictureLimits
from app.pipeline.prepare import prepare_request
from app.pipeline.render import RenderLimits, render
from app.pipeline.values import (
    CutoutRequest,
    ImageRequest,
    MaskRequest,
    PictureSource,
    PreparedPicture,
    Result,
    Segmentation,
)
from app.telemetry import StepTimes
from tests.fakes import SimulatedSource

LIMITS = PictureLimits(pixels=50_000_000, side_px=16_384, memory_bytes=2**40)
MANIFEST = SimulatedSource(frozenset({"disc"})).load("disc").session.manifest


def admitted(
    upload: bytes,
    options: MaskOptions | CutoutOptions,
    *,
    backdrop: bytes | None = None,
    mask: bytes | None = None,
    keep: bytes | None = None,
    remove: bytes | None = None,
    limits: PictureLimits = LIMITS,
) -> ImageRequest:
    """Return a request whose pictures have been inspected."""
    picture = inspect(PictureSource(upload), limits)
    masks = {
        role: None if sent is None else inspect(PictureSource(sent), limits)
        for role, sent in (("mask", mask), ("keep", keep), ("remove", remove))
    }
    if isinstance(options, MaskOptions):
        return MaskRequest(picture, options, **masks)
    extra = {**masks, "backdrop": None if backdrop is None else inspect(PictureSource(backdrop), limits)}
    return CutoutRequest(picture, options, **extra)


def prepared(request: ImageRequest, steps: StepTimes, *, manifest: Manifest = MANIFEST) -> PreparedPicture:
    """Decode the pictures of a request, and make the network's input."""
    return prepare_request(request, "etag", manifest, steps, decode)


def result_of(
    segmentation: Segmentation,
    options: MaskOptions | CutoutOptions,
    steps: StepTimes,
    *,
    hq_budget_s: float,
    limits: PictureLimits = LIMITS,
) -> Result:
    """Render and encode a segmentation."""
    rendered = render(segmentation, options, steps, RenderLimits(hq_budget_s, limits))
    del segmentation
    return encode_result(rendered, options, steps)
