"""Response options: the requests that ``benchmarks.responses`` sends to ``/v1/mask`` and ``/v1/cutout``.

Most layouts of cutouts are sent with a mask, so that the network does not run for each of them.
"""

from dataclasses import replace

import numpy as np

from benchmarks.pictures import jpeg_photo
from benchmarks.response_requests import (
    BROKEN,
    EMPTY,
    ETAG,
    FORM_TYPE,
    JSON,
    MASK,
    OTHER,
    PICTURES,
    SMALL,
    TINY,
    TRIMAP,
    URLENCODED,
    WITH_ALPHA,
    Request,
    post,
    post_form,
    post_json,
    post_urlencoded,
    text_of,
)
from tests.pictures import png

BOTH_OPTIONS = [
    "format=webp",
    "format=webp&quality=100",
    "format=WEBP&quality=30",
    "format=avif&quality=50",
    "matting=none",
    "matting=fast",
    "clean=0.01",
    "clean=0.1&threshold=0.4",
    "refine=crop",
    "refine=none",
    "refine=crop&matting=none",
    "threshold=0.5",
    "threshold=0.999",
    "require_foreground=true",
    "require_foreground=no",
    "model=second",
    "model=",
    "model=unknown",
    "model=broken",
    "format=",
    "format=x",
    "quality=0",
    "quality=101",
    "quality=high",
    "quality=%20",
    "clean=0.2",
    "clean=x",
    "refine=all",
    "threshold=1",
    "threshold=0",
    "threshold=nan",
    "matting=best",
    "require_foreground=perhaps",
    "model=A%20",
    "unknown=1",
    "matting=none&matting=fast",
    "matting=fast&matting=fast",
    "model=mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm",
    "%ff=1",
    "%D0%B6=1",
    "=1",
    "&&",
]
LONG_QUERIES = (f"model={'m' * 65}", f"format={'x' * 5000}", "&".join(f"a{n}=1" for n in range(70)))
MASK_OPTIONS = [
    "format=jpeg&quality=70",
    "format=JPG",
    "format=image/jpeg",
    "size=network",
    "size=source",
    "size=big",
    "size=network&matting=fast",
    "size=network&refine=crop",
    "size=network&threshold=0.5",
    "format=zip",
    "format=auto",
    "crop=true",
    "results=mask,cutout",
    "region=0%200%2050%25%2050%25",
]
CUTOUT_OPTIONS = [
    "format=zip",
    "format=zip&quality=40",
    "format=auto",
    "format=jpeg",
    "format=jpeg&background=white",
    "background=red",
    "background=%23f80",
    "background=%23ff880080",
    "background=%23ff880080&channels=rgba",
    "background=blur",
    "background=blur&format=auto",
    "background=white&format=auto",
    "background=reddish",
    "background=blur&crop=true",
    "background=blur&region=0px%200px%2050px%2050px",
    "background=transparent",
    "background=red&format=zip",
    "crop=true",
    "crop=1&margin=10px%205%25",
    "crop=true&margin=3px",
    "crop=true&margin=1px%202px%203px%204px",
    "crop=true&margin=600px",
    "margin=1px%202px%203px",
    "crop=x",
    "crop=true&background=%23abc&shadow=drop&format=webp",
    "crop=true&matting=none&channels=alpha",
    "scale=50%25",
    "scale=5%25",
    "scale=100%25&position=center",
    "position=20%25%2080%25",
    "position=0%25",
    "position=left",
    "scale=30%25&position=center&shadow=drop&background=teal",
    "scale=half",
    "shadow=drop",
    "shadow=drop&shadow_opacity=0",
    "shadow=drop&shadow_opacity=100&crop=true",
    "shadow=soft",
    "shadow_opacity=101",
    "haze=keep",
    "haze=remove",
    "haze=none",
    "refine=auto",
    "region=10%25%200%25%2090%25%2080px",
    "region=0px%200px%209px%209px",
    "region=0px%200px%209000px%209px",
    "region=50%25%2050%25%2050%25%2050%25",
    "region=all",
    "region=10%25%2010%25%2090%25%2090%25&crop=true&locates=true",
    "channels=alpha",
    "channels=rgba",
    "channels=alpha&format=jpeg",
    "channels=alpha&format=zip",
    "channels=rgba&background=white",
    "channels=rgba&background=white&format=auto",
    "channels=cmyk",
    "locates=true",
    "locates=true&scale=40%25",
    "megapixels=0.01",
    "megapixels=0.01&crop=true&locates=on",
    "megapixels=0",
    "megapixels=1e9",
    "megapixels=5",
    "results=mask,cutout",
    "results=cutout,mask&format=webp&crop=true",
    "results=mask",
    "results=cutout",
    "results=mask,cutout&megapixels=0.01",
    "results=mask,cutout&region=0%25%200%25%209%25%209%25",
    "size=network",
    "threshold=0.5&shadow=drop&background=white&format=jpeg&quality=60",
]
WITH_NETWORK = [
    "format=zip",
    "background=blur",
    "crop=true&margin=5%25",
    "scale=50%25",
    "shadow=drop",
    "locates=true",
    "channels=alpha",
    "megapixels=0.01&crop=true",
]


def option_requests() -> list[Request]:
    """Return requests with every option, in every envelope, and such that depend on others."""
    return [*_options(), *_envelopes(), *_conditional()]


def _options() -> list[Request]:
    """Return requests with every option, alone and together with others."""
    accepts_json = ("Accept", JSON)
    return [
        *(
            post(f"/v1/{name}?{query}", SMALL)
            for name in ("mask", "cutout")
            for query in ("", *BOTH_OPTIONS, *LONG_QUERIES)
        ),
        *(post(f"/v1/mask?{query}", SMALL) for query in MASK_OPTIONS),
        *(
            post(target, SMALL)
            if "region" in query or "results" in query
            else post_form(target, {"image": TINY, "mask": MASK})
            for query in CUTOUT_OPTIONS
            for target in (f"/v1/cutout?{query}",)
        ),
        *(post(f"/v1/cutout?{query}", SMALL) for query in WITH_NETWORK),
        *(post(f"/v1/{name}?matting=hq", TINY) for name in ("mask", "cutout")),
        post("/v1/cutout?matting=hq&refine=crop&crop=true&format=webp", TINY),
        *(post("/v1/cutout", picture) for picture in PICTURES),
        *(post("/v1/mask", picture) for picture in PICTURES[:3]),
        *(post("/v1/cutout", picture, kind="application/octet-stream") for picture in BROKEN),
        *(post(f"/v1/{name}?require_foreground=true", EMPTY) for name in ("mask", "cutout")),
        *(post(f"/v1/mask{query}", OTHER, accepts_json) for query in ("", "?size=network", "?matting=x")),
        *(
            post(f"/v1/cutout{query}", OTHER, accepts_json)
            for query in ("", "?format=zip", "?results=mask,cutout&locates=true", "?crop=true&background=red")
        ),
        post("/v1/cutout", OTHER, ("Accept", "application/json, image/png")),
        post("/v1/cutout", OTHER, ("Accept", "text/html")),
        post("/v1/cutout", png(np.zeros((8, 16_384), np.uint8)), kind="image/png"),
        post("/v1/cutout?format=webp", png(np.zeros((8, 16_384), np.uint8)), kind="image/png"),
    ]


def _envelopes() -> list[Request]:
    """Return requests with every kind of body, and such bodies with faults."""
    fields = {"matting": "none", "crop": "yes"}
    text = text_of(OTHER)
    extra: tuple[dict[str, str | bytes], ...] = (
        *({"mask": MASK}, {"mask": TRIMAP}, {"mask": MASK, "crop": "true", "shadow": "drop"}),
        *(
            {"mask": text_of(MASK)},
            {"mask": MASK, "results": "mask,cutout"},
            {"mask": png(np.zeros((40, 40), np.uint8))},
        ),
        *(
            {"mask": MASK, "region": "0% 0% 50% 50%"},
            {"mask": b"no picture"},
            {"mask": MASK, "matting": "hq"},
        ),
        *({"background": OTHER}, {"background": OTHER, "format": "jpeg"}, {"background": WITH_ALPHA}),
        *({"background": WITH_ALPHA, "channels": "rgba"}, {"background": OTHER, "format": "zip"}),
        *({"background": OTHER, "mask": MASK, "format": "auto"}, {"background": b"no picture"}),
        *({"file": OTHER}, {"image_url": "http://example.com/a.jpg"}, {"background": ""}, {"mask": b""}),
    )
    unclosed = post_form("/v1/cutout", {"image": OTHER})
    return [
        *(post_form("/v1/cutout", {name: OTHER, **fields}) for name in ("image", "file", "image_file")),
        post_form("/v1/cutout?quality=70&matting=fast", {"image": text, **fields}),
        *(post_form("/v1/cutout", {"image": TINY, **more}) for more in extra),
        *(post_form("/v1/mask", {"image": TINY, name: MASK}) for name in ("mask", "background")),
        *(
            post_urlencoded("/v1/mask", {"image": given, "matting": "fast"})
            for given in (text, f"data:image/jpeg;base64,{text}", "%%%", "")
        ),
        *(
            post_json("/v1/cutout", {"image": given, "crop": True})
            for given in (text, f"data:image/jpeg;base64,{text}", "%%%", "", None, 5, [text], {"a": text})
        ),
        *(
            post_json("/v1/mask", {"image": text, "threshold": given})
            for given in (0.5, "0.5", True, None, [1])
        ),
        post_json("/v1/cutout", {"image": text, "file": text}),
        *(
            post("/v1/mask", body, kind=JSON)
            for body in (b"", b"{", b"[]", b'"\xff"', b'{"image": "\\ud800"}')
        ),
        *(post("/v1/mask", body, kind=FORM_TYPE) for body in (b"", b"x", unclosed.body[:-20])),
        post("/v1/mask", unclosed.body, kind="multipart/form-data"),
        *(post("/v1/mask", body, kind=URLENCODED) for body in (b"", b"image", b"\xff=1", b"image=%ff")),
        replace(post("/v1/mask", OTHER), is_chunked=True),
        replace(post_form("/v1/mask", {"image": OTHER}), is_chunked=True),
        *(post("/v1/mask", OTHER, ("Content-Encoding", coding)) for coding in ("gzip", "identity")),
        Request("/v1/mask", body=OTHER),
        post("/v1/mask", b""),
        post("/v1/mask?image_url=http://example.com/a.jpg", b""),
        post("/v1/mask?image_url=http://example.com/a.jpg", OTHER),
    ]


def _conditional() -> list[Request]:
    """Return requests that depend on others: entity tags, the cache, idempotency keys, time limits."""
    tagged, key = ("If-None-Match", ETAG), ("Idempotency-Key", "first")
    slow = post("/v1/cutout?matting=hq", jpeg_photo(0.3, seed=5), ("Idempotency-Key", "slow"))
    return [
        *(
            post("/v1/mask?clean=0.002", OTHER, *more)
            for more in ((), (tagged,), (), (("If-None-Match", "*"),))
        ),
        *(
            post("/v1/mask?clean=0.002", OTHER, *more)
            for more in ((("Accept", JSON),), (("Accept", JSON), tagged))
        ),
        post("/v1/mask?clean=0.003", OTHER, ("If-None-Match", '"0123456789abcdef0123456789abcdef"')),
        *(post("/v1/cutout?clean=0.004", OTHER, key) for _ in range(2)),
        post("/v1/cutout?clean=0.005", OTHER, key),
        post("/v1/cutout?clean=0.004", SMALL, key),
        *(
            post("/v1/cutout", OTHER, ("Idempotency-Key", text))
            for text in ("", "two words", "k" * 256, '"q"')
        ),
        replace(slow, at_once=2),
        *(
            post("/v1/mask", OTHER, ("X-Request-Timeout-Ms", text))
            for text in ("30000", "0", "-1", "1.5", "x", "")
        ),
    ]
