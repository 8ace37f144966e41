"""Naughty strings: texts that often break programs, and requests with them in every place."""

import json
from collections.abc import Iterator

STRINGS: dict[str, tuple[str, ...]] = {
    "empty": ("", " ", "\t", "\u00a0", "\u200b", "\ufeff"),
    "words of languages": (
        "undefined",
        "null",
        "NULL",
        "nil",
        "None",
        "true",
        "NaN",
        "Infinity",
        "-1",
        "[object Object]",
    ),
    "numbers": ("0", "-0", "1e309", "1_000", "0x10", "٣", "９", "1,5", "9" * 400, "." * 9, "1/0"),
    "markup": (
        "<script>alert(1)</script>",
        "'\"><svg/onload=x>",
        "&amp;&#0;",
        "]]>",
        "<!--",
        "{{7*7}}",
        "${7*7}",
        "%{7}",
    ),
    "commands": (
        "$(touch /tmp/x)",
        "`id`",
        "; rm -rf /",
        "| cat",
        "&& true",
        "' OR 1=1 --",
        "%s%n%x",
        "%00",
        "\\x00",
    ),
    "paths": (
        "../../../../etc/passwd",
        "..\\..\\x",
        "/etc/passwd",
        "C:\\x",
        "file:///etc/passwd",
        "CON",
        "nul.png",
        "~",
        "//x",
    ),
    "line ends": ("a\r\nSet-Cookie: x=1", "a\nb", "a\rb", "a\r\n\r\nb", "\u2028", "\u0085", "\v\f"),
    "controls": ("\x00", "a\x00b", "\x01\x02\x1f", "\x7f", "\x1b[31mred", "\b\b"),
    "encodings": ("ÅÍÎÏ", "éé", "e\u0301", "ß", "İ", "ǅ", "表ポあ", "Ω≈ç√", "\ufffd", "\uffff", "\U0010ffff"),
    "right to left": ("\u202etxt.gnp", "مُنَاقَشَةُ", "ﷺ", "\u2066x\u2069"),
    "many in one": ("👩‍👩‍👧‍👦", "🇩🇪", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔", "క్ష", "جُ‌", "͔" * 60),
    "long": ("a" * 300, "é" * 2000, "x" * 9000, "%41" * 500),
    "structures": (
        '{"a":1}',
        "[]",
        "a=b&c=d",
        ";;;;",
        "a;b=c",
        '"',
        "\\",
        '\\"',
        "data:,",
        "a,b",
        "*/*;q=9",
        "bytes=0-",
    ),
}
"""Each is sent as UTF-8, even where it is not allowed, as in a header or a path."""

HEADERS = (
    *(
        "X-Request-Id",
        "traceparent",
        "X-Api-Key",
        "Authorization",
        "Accept",
        "Content-Type",
        "Content-Encoding",
    ),
    *(
        "X-Request-Timeout-Ms",
        "Origin",
        "Host",
        "User-Agent",
        "If-None-Match",
        "Cookie",
        "Expect",
        "Connection",
    ),
    *("Content-Length", "Transfer-Encoding", "X-Forwarded-For", "Range", "Upgrade"),
)
BOUNDARY = "limit"


def naughty_strings() -> Iterator[str]:
    """Yield every string."""
    for strings in STRINGS.values():
        yield from strings


def requests_with(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name of each place for a text, and a request with the text there.

    No request has a picture: the steps after decoding are not tested here.
    """
    raw = text.encode("utf-8", "surrogatepass")
    for name in HEADERS:
        yield f"header {name}", _post(b"", headers=name.encode() + b": " + raw + b"\r\n", replaces=name)
    yield "header name", _post(b"", headers=raw + b": x\r\n")
    yield "method", raw + b" /v1/mask HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    yield "path", b"GET /" + raw + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    yield "problem page", b"GET /problems/" + raw + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    yield "query name", _post(b"x", query=raw + b"=1")
    yield "body", _post(raw)
    for option in (
        "model",
        "format",
        "quality",
        "background",
        "threshold",
        "require_foreground",
        "image_url",
    ):
        yield f"query {option}", _post(b"x", query=option.encode() + b"=" + raw)
        yield f"json {option}", _json({"image": "AA==", option: text})
        yield f"field {option}", _multipart(b'name="%s"' % option.encode(), raw)
    yield "json name", _json({"image": "AA==", text: 1})
    yield "json picture", _json({"image": text})
    yield "json body", _post(raw, headers=b"Content-Type: application/json\r\n")
    yield "field name", _multipart(b'name="' + raw + b'"', b"x")
    yield "field name, bare", _multipart(b"name=" + raw, b"x")
    yield "file name", _multipart(b'name="image"; filename="' + raw + b'"', b"x")
    yield "file name, extended", _multipart(b"name=\"image\"; filename*=UTF-8''" + raw, b"x")
    yield "part header", _multipart(b'name="image"; filename="a"\r\nContent-Type: ' + raw, b"x")
    yield "part header name", _multipart(b'name="image"; filename="a"\r\n' + raw + b": x", b"x")
    yield (
        "boundary",
        _post(
            b"--" + raw + b"--\r\n", headers=b"Content-Type: multipart/form-data; boundary=" + raw + b"\r\n"
        ),
    )


def _post(body: bytes, *, headers: bytes = b"", query: bytes = b"", replaces: str = "") -> bytes:
    own = {
        "Host": b"x",
        "Connection": b"close",
        "Content-Length": str(len(body)).encode(),
    }
    lines = b"".join(
        name.encode() + b": " + value + b"\r\n" for name, value in own.items() if name != replaces
    )
    target = b"/v1/cutout" + (b"?" + query if query else b"")
    return b"POST " + target + b" HTTP/1.1\r\n" + lines + headers + b"\r\n" + body


def _json(members: dict[str, object]) -> bytes:
    return _post(json.dumps(members).encode(), headers=b"Content-Type: application/json\r\n")


def _multipart(disposition: bytes, value: bytes) -> bytes:
    line = b"--" + BOUNDARY.encode()
    part = (
        line
        + b"\r\nContent-Disposition: form-data; "
        + disposition
        + b"\r\n\r\n"
        + value
        + b"\r\n"
        + line
        + b"--\r\n"
    )
    return _post(part, headers=b"Content-Type: multipart/form-data; boundary=" + BOUNDARY.encode() + b"\r\n")
