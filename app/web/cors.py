"""CORS: which web pages may read answers. None, unless the operator names their origins.

Outside the wall, so that a page can read what went wrong, too; a preflight needs no key. What is refused
before there is a request (``connection.py``) carries the same headers. Cookies and other credentials of the
browser are never asked for: a key is sent by the page itself.

A page that may ask may send any header, as tracing (``tracestate``, ``baggage``) and libraries
(``X-Requested-With``) add their own to each request, and may ask a server in a private network, where the
browser looks at that.
"""

import re
from typing import Any

from app.origins import split_origins

OWN = (
    *("X-Request-Id", "Server-Timing", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "traceparent"),
    *("X-Cutout-Model", "X-Cutout-Provider", "X-Cutout-Matting", "X-Cutout-Refine"),
    *("X-Cutout-Verdict", "X-Cutout-Subject", "X-Cutout-Warnings", "X-Cutout-Cache"),
    *("Content-Disposition", "WWW-Authenticate", "Allow"),
)
OF_DIALECTS = (
    *("X-Width", "X-Height", "X-Type", "X-Credits-Charged"),
    *("X-Foreground-Top", "X-Foreground-Left", "X-Foreground-Width", "X-Foreground-Height"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    "Inference-Header-Content-Length",
)
READ = (*OWN, *OF_DIALECTS)
PREFLIGHT_S = 600

_ORIGIN_LINE = re.compile(rb"\r\norigin[ \t]*:([^\r\n]*)\r\n", re.IGNORECASE)


def cors_rules(origins: str) -> dict[str, Any]:
    """Return what starlette's ``CORSMiddleware`` is to allow, for comma-separated origins."""
    return {
        "allow_origins": split_origins(origins),
        "allow_methods": ["GET", "HEAD", "POST"],
        "allow_headers": ["*"],
        "expose_headers": READ,
        "allow_credentials": False,
        "allow_private_network": True,
        "max_age": PREFLIGHT_S,
    }


def origin_of(received: bytes) -> str | None:
    """Return the origin that a head names which nobody could read as a whole, in a line that has come whole.

    Args:
        received: The request's line and headers so far, and perhaps what follows them.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    found = _ORIGIN_LINE.search(head + end[:2])
    return None if found is None else found[1].strip(b" \t").decode("latin-1")


def refusal_headers(origins: str | None, origin: str | None) -> dict[str, str]:
    """Return the headers of a refusal before there is a request, which ``CORSMiddleware`` does not see.

    Args:
        origins: Comma-separated origins that may read answers, or None.
        origin: The one that the request names, or None.
    """
    if origins is None:
        return {}
    if origin is None or origin not in split_origins(origins):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(READ),
        "Vary": "Origin",
    }
