"""Response limits: the requests of ``benchmarks.responses`` about methods, heads, keys and limits.

``PAIRS`` maps the name of a pair of servers to its settings.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

from app.web.endpoints.table import ENDPOINTS
from app.web.problems import KINDS
from benchmarks.response_requests import (
    BROKEN,
    OTHER,
    PICTURES,
    TINY,
    Request,
    get,
    post,
    post_form,
    post_json,
)
from tests.pictures import flat, png, png_header

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
ORIGIN = "https://shop.example"
FREE_KEY, SLOW_KEY, SMALL_KEY = "cutout_free", "cutout_slow", "cutout_small"
KEYS = f"""
[keys.free]
sha256 = "{hashlib.sha256(FREE_KEY.encode()).hexdigest()}"
[keys.slow]
sha256 = "{hashlib.sha256(SLOW_KEY.encode()).hexdigest()}"
requests_per_minute = 3
[keys.small]
sha256 = "{hashlib.sha256(SMALL_KEY.encode()).hexdigest()}"
megapixels_per_minute = 0.1
"""
PAIRS: Mapping[str, Mapping[str, str]] = {
    "open": {
        "CUTOUT_CACHE_BYTES": "67108864",
        "CUTOUT_WEB__CORS_ORIGINS": ORIGIN,
        "CUTOUT_LIMITS__HEAD_TIMEOUT_S": "2",
    },
    "limited": {  # the runner adds the file of keys
        "CUTOUT_ENGINE__DECODERS": "1",
        "CUTOUT_LIMITS__UPLOAD_BYTES": "200000",
        "CUTOUT_LIMITS__PICTURE_PIXELS": "1500000",
        "CUTOUT_LIMITS__UPLOAD_TIMEOUT_S": "1",
        "CUTOUT_MEMORY_BUDGET": "67108864",
        "CUTOUT_REMOTE__ENABLED": "true",
        "CUTOUT_REMOTE__CONNECT_TIMEOUT_S": "0.3",
        "CUTOUT_WEB__PATH_PREFIX": "/cutout",
    },
}


def endpoint_requests(model: str) -> list[Request]:
    """Return requests with each method to each endpoint, and requests with heads that are refused."""
    return [*_endpoints(model), *_refused_heads()]


def _endpoints(model: str) -> list[Request]:
    """Return a request with each method to each endpoint, and to paths where nothing is."""
    filled = {"{name:path}": "swagger-ui.css", "{slug:path}": "malformed-request", "{name}": model}
    paths = [re.sub(r"\{.*?\}", lambda found: filled[found[0]], each.path) for each in ENDPOINTS]
    paths += ["/", "/v1", "/v1/mask/", "/v1.0/nothing", "/v2/models/unknown", "/api/nothing", "/metrics"]
    paths += ["/docs/nothing", "/docs/swagger-ui-bundle.js", "/docs/favicon.png", "/problems/nothing", "/%ff"]
    return [
        *(Request(path, method) for path in paths for method in METHODS),
        *(get(f"/problems/{kind.slug}") for kind in KINDS),
        *(get(path, ("Origin", ORIGIN)) for path in ("/readyz", "/nothing", "/v1.0/account")),
        get("/readyz", ("Origin", "https://other.example")),
        *(
            Request(path, "OPTIONS", headers=(("Origin", origin), ("Access-Control-Request-Method", "POST")))
            for path in ("/v1/cutout", "/v1.0/removebg")
            for origin in (ORIGIN, "https://other.example")
        ),
        get(
            "/livez",
            ("X-Request-Id", "chosen-by-the-client"),
            ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"),
        ),
        get("/nothing", ("X-Request-Id", "chosen-by-the-client")),
    ]


def _refused_heads() -> list[Request]:
    """Return requests that are refused before they are requests."""
    line, host = "GET /livez HTTP/1.1\r\n", "Host: a\r\n"
    heads = (
        *(f"GET /livez HTTP/3.0\r\n{host}\r\n", f"{line}{host}X: {'x' * 20_000}\r\n\r\n", f"{line}\r\n"),
        *(
            f"{line}{host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            f"{line}{host}A b: c\r\n\r\n",
        ),
        *(
            line + host + "X: y\r\n" * 300 + "\r\n",
            f"{line}{host}",
            "nonsense\r\n\r\n",
            f"{line}Host: a\nX: y\r\n\r\n",
        ),
        f"GET http://example.com/livez?x HTTP/1.1\r\n{host}Connection: close\r\n\r\n",
        f"GET ftp://example.com/livez HTTP/1.1\r\n{host}Origin: {ORIGIN}\r\n\r\n",
        f"GET /livez HTTP/1.0\r\n{host}\r\n",
        f"POST /v1/mask HTTP/1.1\r\n{host}Content-Length: x\r\n\r\n",
        f"POST /v1/mask HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    )
    return [Request(f"a head: {head[:60]!r}", "", raw=head.encode()) for head in heads]


def limited_requests(model: str) -> list[Request]:
    """Return requests to servers with keys, quotas and small limits; a key is added where there is none."""
    paths = ("/v1/mask", "/v1.0/removebg", "/v1.0/alpha-channel", "/api/remove", f"/v2/models/{model}/infer")
    no_key, bad_key = ("X-Api-Key", ""), ("X-Api-Key", "cutout_wrong")
    bearer, slow, small = (
        ("Authorization", f"Bearer {FREE_KEY}"),
        ("X-Api-Key", SLOW_KEY),
        ("X-Api-Key", SMALL_KEY),
    )
    urls = (
        "http://127.0.0.1/",
        "ftp://example.com/a",
        "http://a:b@example.com/",
        "http://example.com:81/",
        "x",
    )
    plain, white, wide = png(flat(300, 300)), png(flat(70, 70, (255, 255, 255))), png(flat(1200, 1200))
    head = f"POST /v1/mask HTTP/1.1\r\nHost: a\r\nX-Api-Key: {FREE_KEY}\r\nContent-Length: 99\r\n\r\nabc"
    requests = [
        *(post(path, OTHER, key) for path in paths for key in (no_key, bad_key)),
        *(
            get(path, no_key)
            for path in ("/livez", "/openapi.json", "/v1/models", "/v2", "/v1.0/account", "/nothing")
        ),
        *(
            get(path, bearer)
            for path in ("/v1/models", "/cutout/v1/models", "/cutout", "/cutout/livez", "/cutoutlivez")
        ),
        *(
            get("/v1/models", ("Authorization", text))
            for text in ("Basic YTpi", f"bearer  {FREE_KEY}", "Bearer")
        ),
        *(get("/v1/models", slow) for _ in range(4)),
        *(get(path, slow) for path in ("/v1.0/account", "/v2", "/api/remove?url=x")),
        *(post(path, OTHER, small) for path in ("/v1/mask", "/v1/cutout")),
        *(post_form("/v1.0/removebg", {"image_file": OTHER}, small) for _ in range(3)),
        *(post(path, TINY, small) for path in ("/v1/mask", f"/v2/models/{model}/infer")),
        *(post(path, bytes(200_001)) for path in paths),
        replace(post("/v1/mask", bytes(200_001)), is_chunked=True),
        post("/v1/mask", png_header(3000, 3000)),
        post_form("/v1/cutout?crop=true&margin=500px&matting=none", {"image": plain, "mask": white}),
        *(post(f"/v1/cutout?matting={matting}", wide) for matting in ("hq", "none")),
        *(post("/v1/cutout", picture) for picture in (OTHER, *PICTURES[:6], *BROKEN)),
        *(post_json(path, {"image_url": url}) for path in ("/v1/mask", "/v1.0/removebg") for url in urls),
        *(get(f"/api/remove?{urlencode({'url': url})}") for url in urls),
        post_form("/v1.0/removebg", {"image_file": OTHER, "bg_image_url": urls[0]}),
        Request("an upload that stops", "", raw=head.encode()),
    ]
    return [_with_key(request) for request in requests]


def _with_key(request: Request) -> Request:
    names = {name for name, _ in request.headers}
    has_key = request.raw is not None or not names.isdisjoint(("X-Api-Key", "Authorization"))
    return request if has_key else replace(request, headers=(*request.headers, ("X-Api-Key", FREE_KEY)))
