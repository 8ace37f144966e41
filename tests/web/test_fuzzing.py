"""Random requests to all endpoints never cause an internal error; 503 and 504 are allowed."""

import base64
import json
import socket
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.generated import examples
from tests.pictures import jpeg, photo
from tests.web.conftest import Live

PICTURE = jpeg(photo(24, 32))
TEXT = base64.b64encode(PICTURE).decode()
ENDPOINTS = (
    *("/v1/mask", "/v1/cutout", "/v1.0/removebg", "/v1.0/improve", "/api/remove"),
    *("/v1.0/alpha-channel", "/v1.0/alpha-channel-base64", "/v2/models/u2netp/infer"),
)
NAMES = (
    *(
        "model",
        "format",
        "quality",
        "clean",
        "threshold",
        "background",
        "region",
        "margin",
        "scale",
        "position",
    ),
    *(
        "megapixels",
        "channels",
        "size",
        "roi",
        "crop_margin",
        "shadow_opacity",
        "bg_color",
        "type",
        "bgc",
        "af",
    ),
    *(
        "ae",
        "om",
        "image_url",
        "url",
        "bg_image_url",
        "id",
        "inputs",
        "outputs",
        "parameters",
        "mask",
        "x",
        "",
    ),
)
PICTURES = (
    "image",
    "file",
    "image_file",
    "image_file_b64",
    "image_base64",
    "mask",
    "background",
    "bg_image_file",
)
VALUES = (
    *(
        "",
        "true",
        "auto",
        "png",
        "u2netp",
        "x" * 65,
        "\ud800",
        "a\udfffb",
        "\x00",
        "é",
        "😀",
        "nan",
        "inf",
        "-1",
    ),
    *(
        "1e999",
        "0" * 5000,
        "9" * 5000,
        "١",
        "0 0 1% 1%",
        "255,0,0,0",
        "http://xn--a/",
        "http://[",
        "file:///",
        "#fff",
    ),
    *("../../etc", "x" * 5000, "%", "data:,", TEXT),
)
MORE_VALUES = (
    None,
    True,
    0,
    -1,
    10**400,
    0.5,
    1e308,
    [],
    {},
    [1, "\ud800"],
    {"\ud800": 1},
    [[[]]],
    ["x" * 70_000],
)
TYPES = (
    *(
        "application/json",
        "APPLICATION/JSON; charset=utf-16",
        "application/x-www-form-urlencoded",
        "image/png",
        "",
    ),
    *(
        "multipart/form-data",
        "Multipart/Form-Data; boundary=b",
        "multipart/form-data; boundary=" + "b" * 200,
        "text/plain",
    ),
    *("multipart/form-data; boundary*=utf-8''b", "x" * 2000, "\xff\xfe", "application/json" + "; a=b" * 300),
)
ENCODINGS = (None, None, None, "gzip", "identity", "x", "\xff")
HEADERS = (
    ("Inference-Header-Content-Length", ("5", "9" * 5000, "0" * 5000, "-1", "²", "")),
    ("X-Request-Timeout-Ms", ("60000", "9" * 5000, "0" * 5000, "²", "")),
    ("Idempotency-Key", ("a", "\xe9", "x" * 300)),
    ("If-None-Match", ('"' * 999, "*", "\xe9")),
    ("Accept", ("application/json", "," * 999, "\xe9")),
)
fields = st.lists(st.tuples(st.sampled_from(NAMES + PICTURES), st.sampled_from(VALUES)), max_size=4)
pictures = st.lists(st.tuples(st.sampled_from(PICTURES), st.just(TEXT)), max_size=1)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def in_json(members: list[tuple[str, object]]) -> bytes:
    return json.dumps(dict(members)).encode()


def in_urlencoded(members: list[tuple[str, str]]) -> bytes:
    return b"&".join(
        quote_plus(encoded(n)).encode() + b"=" + quote_plus(encoded(v)).encode() for n, v in members
    )


def in_multipart(members: list[tuple[str, str]]) -> bytes:
    lines = []
    for name, value in members:
        file_name = '; filename="\xff"' if name in PICTURES else ""
        head = (
            b'--b\r\nContent-Disposition: form-data; name="'
            + encoded(name)
            + b'"'
            + file_name.encode("latin-1")
        )
        lines.append(head + b"\r\n\r\n" + (PICTURE if value == TEXT else encoded(value)) + b"\r\n")
    return b"".join(lines) + b"--b--\r\n"


typed = st.tuples(st.sampled_from(NAMES + PICTURES), st.sampled_from(VALUES + MORE_VALUES))
bodies = st.one_of(
    st.tuples(
        st.sampled_from(TYPES[:2]),
        st.builds(lambda a, b: in_json(a + b), st.lists(typed, max_size=4), pictures),
    ),
    st.tuples(st.just(TYPES[2]), st.builds(lambda a, b: in_urlencoded(a + b), fields, pictures)),
    st.tuples(st.just(TYPES[6]), st.builds(lambda a, b: in_multipart(a + b), fields, pictures)),
    st.tuples(st.sampled_from(TYPES), st.binary(max_size=200) | st.just(PICTURE)),
)
headers = st.lists(
    st.sampled_from([(name, value) for name, values in HEADERS for value in values]),
    max_size=2,
    unique_by=lambda h: h[0],
)


@settings(examples(2), suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ENDPOINTS), bodies, fields, headers, st.sampled_from(ENCODINGS))
def test_random_requests_never_cause_an_internal_error(
    live: Live,
    endpoint: str,
    body: tuple[str, bytes],
    query: list[tuple[str, str]],
    more: list[tuple[str, str]],
    encoding: str | None,
) -> None:
    sent = [(b"content-type", body[0].encode("latin-1"))]
    sent += [(name.encode(), value.encode("latin-1")) for name, value in more]
    sent += [] if encoding is None else [(b"content-encoding", encoding.encode("latin-1"))]
    line = endpoint if not query else f"{endpoint}?{in_urlencoded(query)[:8000].decode()}"
    response = live.client.post(line, content=body[1], headers=sent)

    assert response.status_code < 500 or response.status_code in (503, 504), (response.text, line, body)


@pytest.mark.parametrize("text", ["\ud800", "x\udfff", "\udc00\ud800"])
@pytest.mark.parametrize(
    ("endpoint", "name"),
    [
        *(
            (endpoint, name)
            for endpoint in ("/v1/mask", "/v1/cutout")
            for name in ("model", "image", "image_url", "x")
        ),
        *(("/v1.0/removebg", name) for name in ("image_url", "image_file_b64", "format", "x")),
        *(("/api/remove", name) for name in ("model", "file", "url", "x")),
        *(("/v1.0/alpha-channel-base64", name) for name in ("file", "image_base64")),
        *((ENDPOINTS[-1], name) for name in ("id", "x")),
    ],
)
def test_text_that_is_not_unicode_is_refused_in_every_place(
    live: Live, endpoint: str, name: str, text: str
) -> None:
    sent = [
        (endpoint, TYPES[0], in_json([(name, text)])),
        (endpoint, TYPES[0], in_json([("x", [{text: 1}])])),
        (endpoint, TYPES[2], in_urlencoded([(name, text)])),
        (endpoint, TYPES[2], in_urlencoded([(text, name)])),
        (endpoint, TYPES[6], in_multipart([(text, "")])),
        (f"{endpoint}?{in_urlencoded([(name, text)]).decode()}", "image/jpeg", PICTURE),
        (f"/v2/models/{quote(encoded(text))}/infer", TYPES[0], b"{}"),
    ]
    statuses = [
        live.client.post(line, content=body, headers={"Content-Type": kind}).status_code
        for line, kind, body in sent
    ]

    assert statuses == [400] * 7


def of_version(live: Live, line: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", live.port), timeout=20) as client:
        client.sendall(line + b"\r\nHost: here\r\n\r\n")
        return client.recv(4096)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        *(
            (b" HTTP/" + version, b"505")
            for version in (b"2.0", b"1.9", b"1.2", b"0.9", b"3", b"2", b"11.1", b"1.10")
        ),
        *((b" HTTP/" + version, b"200") for version in (b"1.0", b"1.1")),
        *(
            (other, b"400")
            for other in (b"", b" HTTP", b" HTTP/", b" http/1.1", b" HTTP/1.x", b" HTTP/1.1 x", b" XTTP/2.0")
        ),
    ],
)
def test_other_http_versions_are_refused(live: Live, end: bytes, status: bytes) -> None:
    response = of_version(live, b"GET /livez" + end)

    assert response.startswith(b"HTTP/1.1 " + status + b" ")
    assert (status == b"505") is (b"/problems/http-version" in response)
