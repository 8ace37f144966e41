"""CORS: which web pages may read answers. None, unless the operator names their origins.

Outside the wall, so that a page can read what went wrong, too; a preflight needs no key. Cookies and other
credentials of the browser are never asked for: a key is sent by the page itself.
"""

from typing import Any

SENT = (
    *("X-Api-Key", "Authorization", "Content-Type", "X-Request-Id"),
    *("X-Request-Timeout-Ms", "traceparent", "If-None-Match", "Idempotency-Key"),
)
READ = (
    *("X-Request-Id", "Server-Timing", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy"),
    *("X-Cutout-Model", "X-Cutout-Provider", "X-Cutout-Matting", "X-Cutout-Refine"),
    *("X-Cutout-Verdict", "X-Cutout-Subject", "X-Cutout-Warnings", "X-Cutout-Cache"),
)
PREFLIGHT_S = 600


def cors_rules(origins: str) -> dict[str, Any]:
    """Return what starlette's ``CORSMiddleware`` is to allow, for comma-separated origins."""
    return {
        "allow_origins": [origin.strip() for origin in origins.split(",")],
        "allow_methods": ["GET", "POST"],
        "allow_headers": SENT,
        "expose_headers": READ,
        "allow_credentials": False,
        "max_age": PREFLIGHT_S,
    }
