"""Errors: the tree of all errors that the service raises on purpose.

CutoutError
├─ RequestRejected          the caller can fix it; the same request will fail again
│  ├─ MalformedRequest      the envelope (multipart, JSON, base64) cannot be parsed
│  ├─ UnknownOption         an option that does not exist
│  ├─ InvalidOption         an option with a value it does not accept
│  ├─ ParameterRefused      a parameter of another server's API that the other server refuses too
│  ├─ RegionOutsidePicture  the region reaches beyond the picture
│  ├─ RegionIsEmpty         the region contains no pixel
│  ├─ UploadTooLarge        too many bytes
│  ├─ UploadTooSlow         the client did not send its body in time
│  ├─ UnsupportedFormat     not an accepted image type
│  ├─ PictureTooLarge       too many pixels, or a side too long
│  ├─ RequestTooLarge       needs more memory than the budget for all requests
│  ├─ CanvasTooLarge        the result would have too many pixels, or a side too long
│  ├─ FormatExceeded        the result has a side too long for its file format
│  ├─ PictureTooComplex     decoding would cost far more than the pixels warrant
│  ├─ CorruptPicture        broken, truncated or empty image data
│  ├─ NoForeground          no subject, and the request requires one
│  ├─ MaskDoesNotFit        the request's mask and picture differ in shape
│  ├─ UrlNotAllowed         a picture's URL is not allowed, or its host is unreachable
│  ├─ FetchingDisabled      fetching pictures by URL is disabled
│  ├─ PictureNotFetched     the host of a picture's URL returned no picture
│  ├─ CorruptArchive        the ZIP of a batch is none, or cannot be read further
│  ├─ EntryRefused          a file of a batch has an unsafe name, is encrypted, or is a duplicate or a bomb
│  ├─ TooManyPictures       a batch has more files than the server accepts
│  ├─ ResultsUnread         the client of a batch sends pictures but does not read the results
│  ├─ IdempotencyKeyReused  the request's idempotency key belongs to another request
│  ├─ ModelTooLarge         the model needs more memory than the limit for all models leaves
│  └─ Unauthorized          no key, or an invalid one
├─ RequestInProgress        the same request is in progress; try again
├─ QuotaExceeded            the key's quota is used up; try again
├─ Overloaded               the server's capacity is used up; try again
├─ NotReady                 the model is still loading, or the server is stopping
├─ DeadlineExceeded         accepted, but not finished in time
├─ SourceTimedOut           the host of a picture's URL did not finish in time
├─ ModelUnavailable         the model's file is missing or does not match its manifest
├─ ProviderUnavailable      the requested execution provider is not really active
└─ InferenceFailed          the network failed or returned values that are not finite

Messages are for people, attributes are for programs. ``app/web/problems.py`` maps each leaf to its HTTP
status in one table; a test checks this tree against it.

This module is longer than 300 lines because the tree is easiest to read in one place; no leaf has any logic.
"""

from collections.abc import Sequence


class CutoutError(Exception):
    """The root of all errors that are raised on purpose."""

    retry_after_s: int | None = None

    def facts(self) -> dict[str, object]:
        """Return the extension members of the problem+json response."""
        return {}


class RequestRejected(CutoutError):
    """The caller can fix it, and the same request will fail again."""


class MalformedRequest(RequestRejected):
    """The envelope around the picture cannot be parsed."""


class UnknownOption(RequestRejected):
    """An option has a name that this endpoint does not accept."""

    def __init__(self, name: str, accepted: Sequence[str]) -> None:
        self.name = name
        self.accepted = tuple(accepted)
        super().__init__(f"There is no option of the given name. Accepted: {', '.join(self.accepted)}.")

    def facts(self) -> dict[str, object]:
        """Return the option's name, shortened and printable, and the accepted names."""
        return {"name": printable(self.name), "accepted": list(self.accepted)}


class InvalidOption(RequestRejected):
    """An option has a value that it does not accept."""

    def __init__(self, name: str, accepted: str, *, hint: str = "") -> None:
        self.name = name
        self.accepted = accepted
        message = f"The value of option {name!r} is not accepted. Accepted: {accepted}."
        super().__init__(f"{message} {hint}".rstrip())

    def facts(self) -> dict[str, object]:
        """Return the option's name and the values it accepts."""
        return {"name": self.name, "accepted": self.accepted}


class ParameterRefused(RequestRejected):
    """A parameter of another server's API has a value that it refuses too, with this code and title."""

    def __init__(self, code: str, title: str, detail: str = "") -> None:
        self.code = code
        self.title = title
        self.detail = detail
        super().__init__(detail or title)

    def facts(self) -> dict[str, object]:
        """Return the code."""
        return {"code": self.code}


class RegionOutsidePicture(RequestRejected):
    """The region reaches beyond the picture."""

    def __init__(self) -> None:
        super().__init__("The region reaches beyond the picture.")


class RegionIsEmpty(RequestRejected):
    """The region contains no pixel."""

    def __init__(self) -> None:
        super().__init__("The region holds no pixel.")


class UploadTooLarge(RequestRejected):
    """The request body has more bytes than the server accepts."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            f"The upload is larger than the limit of {limit_bytes} bytes. Compress or shrink the picture."
        )

    def facts(self) -> dict[str, object]:
        """Return the limit in bytes."""
        return {"limit_bytes": self.limit_bytes}


class UploadTooSlow(RequestRejected):
    """The client did not send its body in time."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"The upload did not arrive within {limit_s:g} seconds.")

    def facts(self) -> dict[str, object]:
        """Return the time limit in seconds."""
        return {"limit_s": self.limit_s}


class UnsupportedFormat(RequestRejected):
    """The bytes are not an image of an accepted type."""

    def __init__(self, accepted: Sequence[str], *, what: str = "image type", remedy: str = "") -> None:
        self.accepted = tuple(accepted)
        text = f"This is not an accepted {what}. Accepted: {', '.join(self.accepted)}."
        super().__init__(f"{text} {remedy}".rstrip())

    def facts(self) -> dict[str, object]:
        """Return the accepted types."""
        return {"accepted": list(self.accepted)}


class PictureTooLarge(RequestRejected):
    """The picture has more pixels, or a longer side, than the server accepts."""

    def __init__(self, width_px: int, height_px: int, *, limit_px: int, limit_side_px: int) -> None:
        self.width_px = width_px
        self.height_px = height_px
        self.limit_px = limit_px
        self.limit_side_px = limit_side_px
        super().__init__(
            f"The picture is {width_px} × {height_px} px; the limit is {limit_px / 1e6:g} megapixels "
            f"and {limit_side_px} px a side. Resize it first."
        )

    def facts(self) -> dict[str, object]:
        """Return the picture's size and both limits, in pixels."""
        return _size_facts(self)


class RequestTooLarge(RequestRejected):
    """The request may need more memory than the budget for all requests together."""

    def __init__(self, needed_bytes: int, limit_bytes: int) -> None:
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"This request may take {needed_bytes / 1e6:.0f} MB of memory, and the server has "
            f"{limit_bytes / 1e6:.0f} MB for pictures. Send smaller ones, or ask for another format."
        )

    def facts(self) -> dict[str, object]:
        """Return the memory that the request may need, and the limit."""
        return {"needed_bytes": self.needed_bytes, "limit_bytes": self.limit_bytes}


class CanvasTooLarge(RequestRejected):
    """The result would have more pixels, or a longer side, than a picture may have."""

    def __init__(self, width_px: int, height_px: int, *, limit_px: int, limit_side_px: int) -> None:
        self.width_px = width_px
        self.height_px = height_px
        self.limit_px = limit_px
        self.limit_side_px = limit_side_px
        super().__init__(
            f"The result would be {width_px} × {height_px} px; the limit is {limit_px / 1e6:g} megapixels "
            f"and {limit_side_px} px a side. Ask for less margin, or send a smaller picture."
        )

    def facts(self) -> dict[str, object]:
        """Return the result's size and both limits, in pixels."""
        return _size_facts(self)


class FormatExceeded(RequestRejected):
    """The result has a longer side than its file format can hold."""

    def __init__(self, chosen: str, side_px: int, limit_px: int) -> None:
        self.chosen = chosen
        self.side_px = side_px
        self.limit_px = limit_px
        super().__init__(
            f"format={chosen} holds at most {limit_px} px a side, and the result has {side_px}. "
            "Ask for format=png, or for a smaller result."
        )

    def facts(self) -> dict[str, object]:
        """Return the option's name, and the side and its limit in pixels."""
        return {"name": "format", "side_px": self.side_px, "limit_px": self.limit_px}


class PictureTooComplex(RequestRejected):
    """Decoding the picture would cost far more than its number of pixels warrants."""


class CorruptPicture(RequestRejected):
    """The image data is broken, truncated or empty."""


class Unauthorized(RequestRejected):
    """The request has no valid key."""

    def __init__(self) -> None:
        super().__init__("Send a valid key, as X-Api-Key or as Authorization: Bearer.")


class NoForeground(RequestRejected):
    """The picture has no subject, and the request requires one."""

    def __init__(self) -> None:
        super().__init__("No subject was found in the picture. Send another, or allow an empty answer.")


class MaskDoesNotFit(RequestRejected):
    """The mask in the request, or a picture of strokes, and its picture differ in shape."""

    def __init__(self, mask: tuple[int, int], picture: tuple[int, int], *, name: str = "mask") -> None:
        self.mask = mask
        self.picture = picture
        super().__init__(
            f"The {name} is {mask[1]} × {mask[0]} px, and the upright picture {picture[1]} × {picture[0]} "
            "px. They need the same shape."
        )

    def facts(self) -> dict[str, object]:
        """Return both sizes, (width, height) in pixels."""
        return {"mask_px": list(self.mask[::-1]), "picture_px": list(self.picture[::-1])}


class UrlNotAllowed(RequestRejected):
    """A picture's URL is not allowed, or its host is unreachable; the response does not reveal which.

    ``reason`` is for the log.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            "The picture's URL may not be asked, or its host cannot be reached. Name a public http or https "
            "address without credentials on the usual port, or send the picture itself."
        )


class FetchingDisabled(RequestRejected):
    """The operator has not enabled fetching pictures by URL."""

    def __init__(self) -> None:
        super().__init__("This server fetches no pictures by their URL. Send the picture itself.")


class PictureNotFetched(RequestRejected):
    """The host of a picture's URL was reached but returned no picture; ``why`` is what it did instead."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The host of the picture's URL was reached, but {why}.")


class CorruptArchive(RequestRejected):
    """The body of a batch is no ZIP, or the rest of the ZIP cannot be read."""


class EntryRefused(RequestRejected):
    """A file of a batch is refused before it is looked at."""


class TooManyPictures(RequestRejected):
    """A batch has more files than the server accepts."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"A batch may have {limit} pictures. Send the rest in another one.")

    def facts(self) -> dict[str, object]:
        """Return the limit."""
        return {"limit": self.limit}


class ResultsUnread(RequestRejected):
    """The client of a batch sends more pictures, but has stopped to read the results."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(
            f"The client does not read the results while it sends, and the server keeps {limit_bytes} bytes "
            "of them. Send this picture in another batch, or use a client that reads while it sends."
        )

    def facts(self) -> dict[str, object]:
        """Return the limit in bytes."""
        return {"limit_bytes": self.limit_bytes}


class IdempotencyKeyReused(RequestRejected):
    """The request's idempotency key was used for another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was sent with another request. Make a new one for each.")


class RequestInProgress(CutoutError):
    """The same request, with the same idempotency key, is in progress."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is being worked out. Try again in 1 s.")


class QuotaExceeded(CutoutError):
    """The key's quota is used up for the moment."""

    def __init__(self, resource: str, quota: float, *, retry_after_s: int) -> None:
        self.resource = resource
        self.quota = quota
        self.retry_after_s = retry_after_s
        super().__init__(
            f"This key may use {quota:g} {resource} a minute, and has. Try again in {retry_after_s} s."
        )

    def facts(self) -> dict[str, object]:
        """Return the resource that is used up, and its limit per minute."""
        return {"resource": self.resource, "limit_per_minute": self.quota}


class Overloaded(CutoutError):
    """The server's capacity is used up for the moment."""

    def __init__(self, resource: str, *, retry_after_s: int = 1) -> None:
        self.resource = resource
        self.retry_after_s = retry_after_s
        super().__init__(f"The server is at its limit of {resource}. Try again in {retry_after_s} s.")

    def facts(self) -> dict[str, object]:
        """Return the resource whose budget is used up."""
        return {"resource": self.resource}


class NotReady(CutoutError):
    """The model is still loading, or the server is stopping."""

    def __init__(self, reason: str, *, retry_after_s: int = 2) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class DeadlineExceeded(CutoutError):
    """The request was accepted but could not be finished in time."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        super().__init__(f"The request was not finished within its deadline of {deadline_s:g} s.")

    def facts(self) -> dict[str, object]:
        """Return the time from the start of the request to its deadline, in seconds."""
        return {"deadline_s": self.deadline_s}


class SourceTimedOut(CutoutError):
    """The host of a picture's URL was reached but did not finish in time."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(f"The host of the picture's URL did not finish within {limit_s:g} seconds.")

    def facts(self) -> dict[str, object]:
        """Return the time limit in seconds."""
        return {"limit_s": self.limit_s}


class ModelUnavailable(CutoutError):
    """A model's file is missing, unreadable, or does not match its manifest.

    ``reason`` may contain paths and hashes: it is for the log, never for a response. ``contradicts_settings``
    says that the files are whole, but cannot be served as the operator wants it.
    """

    def __init__(self, model: str, reason: str, *, contradicts_settings: bool = False) -> None:
        self.model = model
        self.reason = reason
        self.contradicts_settings = contradicts_settings
        self.retry_after_s = 60
        super().__init__(f"Model {model!r} cannot be served. The operator finds the reason in the log.")

    def facts(self) -> dict[str, object]:
        """Return the model's name."""
        return {"model": self.model}


class ModelTooLarge(RequestRejected):
    """A model needs more memory than the limit for all models leaves next to those that are always loaded."""

    def __init__(self, model: str, needed_bytes: int, limit_bytes: int) -> None:
        self.model = model
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes
        self.reason = (
            f"{model} takes {needed_bytes:,} bytes with its runs, and CUTOUT_ENGINE__MODELS_BYTES leaves "
            f"{limit_bytes:,}: raise it, or leave a model out of CUTOUT_MODELS"
        )
        super().__init__(
            f"Model {model!r} takes {needed_bytes} bytes of memory, and this server has {limit_bytes} for "
            "it. Choose another model."
        )

    def facts(self) -> dict[str, object]:
        """Return the model's name, what it needs, and what there is, in bytes."""
        return {"model": self.model, "needed_bytes": self.needed_bytes, "limit_bytes": self.limit_bytes}


class ProviderUnavailable(CutoutError):
    """The requested execution provider is not really active."""


class InferenceFailed(CutoutError):
    """The network failed, or returned values that are not finite: a bug, or a broken device."""


def _size_facts(error: PictureTooLarge | CanvasTooLarge) -> dict[str, object]:
    return {
        "width_px": error.width_px,
        "height_px": error.height_px,
        "limit_px": error.limit_px,
        "limit_side_px": error.limit_side_px,
    }


def printable(text: str, *, limit: int = 64) -> str:
    """Return ``text`` safe for a response: word characters, dots and dashes, at most ``limit`` of them."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "?" for c in text[:limit])
