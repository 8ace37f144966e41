"""remove.bg responses: renders results and errors in remove.bg's format."""

import math
import time
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from app import errors
from app.engine.capacity.quota import Quota
from app.imaging.layout.placement import Rectangle
from app.pipeline.values import Result
from app.web.auth import sent_key
from app.web.endpoints.removebg import RemovebgRequest
from app.web.sliced_response import Base64, SlicedResponse, json_response

CREDITS = 1_000_000
"""The reported balance of an account: clients check that it suffices. Nothing is charged."""
NO_FOREGROUND = (
    "Could not identify foreground in image. For details and recommendations see "
    "https://www.remove.bg/supported-images."
)
# Status, code and title by the class of the error.
_ERRORS: Mapping[type[Exception], tuple[int, str, str]] = {
    errors.Unauthorized: (403, "auth_failed", "API Key invalid"),
    errors.QuotaExceeded: (429, "rate_limit_exceeded", "Rate limit exceeded"),
    errors.NoForeground: (400, "unknown_foreground", NO_FOREGROUND),
    errors.UploadTooLarge: (400, "file_too_large", "File too large"),
    errors.UnsupportedFormat: (400, "invalid_file_type", "Invalid file type"),
    errors.CorruptPicture: (400, "failed_to_read_image", "Failed to read image"),
    errors.PictureTooComplex: (400, "failed_to_read_image", "Failed to read image"),
    errors.PictureTooLarge: (400, "resolution_too_high", "Image resolution too high"),
    errors.UrlNotAllowed: (400, "invalid_image_url", "Invalid image URL"),
    errors.FetchingDisabled: (400, "failed_image_download", "Failed to download image"),
    errors.PictureNotFetched: (400, "failed_image_download", "Failed to download image"),
    errors.SourceTimedOut: (400, "failed_image_download", "Failed to download image"),
    errors.RegionOutsidePicture: (400, "roi_exceeds_bounds", "Region of interest exceeds the image"),
    errors.RegionIsEmpty: (400, "roi_region_empty", "Region of interest is empty"),
    errors.FormatExceeded: (400, "invalid_format", "The format cannot hold the result"),
    errors.MalformedRequest: (400, "invalid_request", "The request cannot be read"),
    errors.InvalidOption: (400, "invalid_request", "The request cannot be read"),
}


def response_of(
    request: RemovebgRequest, result: Result, *, wants_json: bool, quota: Quota | None
) -> Response:
    """Return the response with a result."""
    box = result.info.subject or Rectangle(0, 0, result.width_px, result.height_px)
    foreground = {"top": box.top, "left": box.left, "width": box.width, "height": box.height}
    headers = {
        "X-Width": str(result.width_px),
        "X-Height": str(result.height_px),
        "X-Credits-Charged": "0",
        **{f"X-Foreground-{name.capitalize()}": str(value) for name, value in foreground.items()},
        **_rate_limit(quota),
        "Vary": "Accept",
    }
    if request.type_level != "none":
        headers["X-Type"] = "other" if request.declared_type == "auto" else request.declared_type
    if wants_json:
        members = {f"foreground_{name}": value for name, value in foreground.items()}
        return json_response({"data": {"result_b64": Base64(result.encoded), **members}}, headers=headers)
    return SlicedResponse(result.encoded, media_type=result.media_type, headers=headers)


def account() -> JSONResponse:
    """Return an account with enough credits; clients require all of these members."""
    credits_ = {"total": CREDITS, "subscription": 0, "payg": 0, "enterprise": CREDITS}
    attributes = {"credits": credits_, "api": {"free_calls": 0, "sizes": "all"}}
    return JSONResponse({"data": {"attributes": attributes}})


def render_error(error: Exception, problem: JSONResponse, sent: Headers) -> Response:
    """Return an error in remove.bg's format, which always has a title."""
    status, code, title = next(
        (_ERRORS[cls] for cls in type(error).__mro__ if cls in _ERRORS),
        (problem.status_code, "internal_error", "The request could not be finished"),
    )
    detail = "" if problem.status_code == 500 else str(error)
    if isinstance(error, errors.ParameterRefused):
        status, code, title, detail = 400, error.code, error.title, error.detail
    if isinstance(error, errors.Unauthorized) and not sent_key(sent):
        title = "Missing API Key"
    if isinstance(error, errors.Overloaded | errors.NotReady | errors.ModelUnavailable):
        code, title = "unavailable", "Service unavailable"
    described = {"code": code, "title": title, **({"detail": detail} if detail and detail != title else {})}
    kept = ("retry-after", "connection")
    headers = {name: problem.headers[name] for name in kept if name in problem.headers}
    return JSONResponse({"errors": [described]}, status, headers=headers)


def _rate_limit(quota: Quota | None) -> dict[str, str]:
    """Return the headers for a quota of megapixels, if there is one; the reset is a Unix time."""
    for quota_status in () if quota is None else quota.statuses():
        if quota_status.resource == "megapixels":
            return {
                "X-RateLimit-Limit": f"{quota_status.quota:.0f}",
                "X-RateLimit-Remaining": str(math.floor(quota_status.remaining + 1e-6)),
                "X-RateLimit-Reset": str(math.ceil(time.time() + quota_status.full_in_s)),
            }
    return {}
