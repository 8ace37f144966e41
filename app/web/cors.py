"""CORS: the web pages that may read responses. By default none; the operator configures their origins.

The CORS middleware is outside ``ProblemWall``, so that pages can read errors too, and outside authentication,
so that a preflight needs no key. Refusals by ``connection.py``, before there is a request, have the same
headers. Cookies and other credentials of the browser are not allowed: the page sends the key itself.

An allowed page may send any header, because tracing (``tracestate``, ``baggage``) and libraries
(``X-Requested-With``) add their own to each request. It may also access a server in a private network, for
browsers that check this.
"""

import re
from typing import Any

from app.origins import split_origins

OWN = (
    *("X-Request-Id", "Server-Timing", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "traceparent"),
    *("X-Cutout-Model", "X-Cutout-Provider", "X-Cutout-Precision", "X-Cutout-Matting"),
    *("X-Cutout-Refine", "X-Cutout-Verdict", "X-Cutout-Subject", "X-Cutout-Warnings", "X-Cutout-Cache"),
    *("Content-Disposition", "WWW-Authenticate", "Allow"),
)
OF_DIALECTS = (
    *("X-Width", "X-Height", "X-Type", "X-Credits-Charged"),
    *("X-Foreground-Top", "X-Foreground-Left", "X-Foreground-Width", "X-Foreground-Height"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    "Inference-Header-Content-Length",
)
EXPOSED = (*OWN, *OF_DIALECTS)
PREFLIGHT_MAX_AGE_S = 600

_ORIGIN_LINE = re.compile(rb"\r\norigin[ \t]*:([^\r\n]*)\r\n", re.IGNORECASE)


def cors_rules(origins: str) -> dict[str, Any]:
    """Return the arguments of Starlette's ``CORSMiddleware`` for comma-separated origins."""
    return {
        "allow_origins": split_origins(origins),
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED,
        "allow_credentials": False,
        "allow_private_network": True,
        "max_age": PREFLIGHT_MAX_AGE_S,
    }


def origin_of(received: bytes) -> str | None:
    """Return the ``Origin`` of a head that could not be parsed, if that line is complete.

    Args:
        received: The received part of the request line and headers, perhaps with following bytes.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    found = _ORIGIN_LINE.search(head + end[:2])
    return None if found is None else found[1].strip(b" \t").decode("latin-1")


def refusal_headers(origins: str | None, origin: str | None) -> dict[str, str]:
    """Return the CORS headers of a refusal before there is a request, which bypasses ``CORSMiddleware``.

    Args:
        origins: Comma-separated origins that may read responses, or None.
        origin: The ``Origin`` of the request, or None.
    """
    if origins is None:
        return {}
    if origin is None or origin not in split_origins(origins):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(EXPOSED),
        "Vary": "Origin",
    }
