import base64
import itertools
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import MalformedRequest
from app.web.request.envelope import IMAGE_FIELDS, open_envelope

PNG = b"\x89PNG\r\n\x1a\nnot really"


def multipart(files: object, fields: dict[str, str] | None = None) -> tuple[str, bytes]:
    request = httpx.Request("POST", "http://test", files=files, data=fields or {})  # type: ignore[arg-type] # httpx's union
    return request.headers["content-type"], request.read()


@pytest.mark.parametrize("name", IMAGE_FIELDS)
def test_a_multipart_picture_may_have_any_of_the_accepted_names(name: str) -> None:
    content_type, body = multipart({name: ("photo.png", PNG, "image/png")}, {"format": "webp"})
    envelope = open_envelope(content_type, body, [("quality", "80")])

    assert envelope.upload == PNG
    assert envelope.options == {"quality": "80", "format": "webp"}


@given(st.binary(max_size=3000).filter(lambda upload: b"--" not in upload))
def test_every_kind_of_body_gives_the_same_picture(upload: bytes) -> None:
    """Unless the bytes start like a form, in which case the content type does not matter."""
    content_type, body = multipart({"image": ("a", upload, "image/png")})
    text = base64.b64encode(upload).decode()
    envelopes = [
        open_envelope("image/jpeg", upload, []),
        open_envelope(content_type, body, []),
        open_envelope("application/json", json.dumps({"image": text}).encode(), []),
        open_envelope(
            "application/json; charset=utf-8",
            json.dumps({"image": f"data:image/png;base64,{text}"}).encode(),
            [],
        ),
    ]

    assert [upload] * 4 == [envelope.upload for envelope in envelopes]


def test_base64_in_lines_is_decoded() -> None:
    text = base64.encodebytes(bytes(range(256))).decode()

    assert open_envelope("application/json", json.dumps({"image": text}).encode(), []).upload == bytes(
        range(256)
    )


def two_pictures() -> tuple[str, bytes]:
    return multipart([("image", ("a", PNG)), ("file", ("b", PNG))])


def cut_off() -> tuple[str, bytes]:
    content_type, body = multipart({"image": ("a", PNG)})
    return content_type, body[:-20]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        multipart({"picture": ("a.png", PNG)}),
        multipart({"image": ("a", PNG)}, {"x": "y" * 5000}),
        two_pictures(),
        multipart([("image", ("a", PNG)), *[("x", (None, "y"))] * 65]),
        multipart({"image": ("a" * 5000, PNG)}),
        multipart({"image": ("a", PNG, "image/png", {f"X-{n}": "1" for n in range(8)})}),
        cut_off(),
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"garbage" * 100),
        ("application/json", b""),
        ("application/json", b"[1, 2]"),
        ("application/json", b'{"image": 7}'),
        ("application/json", b'{"image": "", "quality": NaN}'),
        ("application/json", b'{"image": "", "image": ""}'),
        ("application/json", '{"image": ""}'.encode("utf-16")),
        ("application/json", b'{"image": "%%%%"}'),
        ("application/json", b'{"image": "data:image/png,abc"}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b'{"a": ' + b"9" * 6000 + b"}"),
        ("application/json", b'"\xff\xfe'),
    ],
    ids=itertools.count(),  # boundaries are random, and names of tests must not be
)
def test_an_invalid_body_is_malformed(content_type: str, body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        open_envelope(content_type, body, [])


def test_an_option_with_two_different_values_is_malformed() -> None:
    with pytest.raises(MalformedRequest):
        open_envelope("image/png", PNG, [("format", "png"), ("format", "webp")])


def test_an_option_in_the_body_overrides_the_query() -> None:
    query = [("format", "png"), ("quality", "80")]
    in_json = open_envelope("application/json", json.dumps({"image": "", "format": "webp"}).encode(), query)
    in_form = open_envelope(*multipart({"image": ("a", PNG)}, {"format": "webp"}), query)

    assert in_json.options == in_form.options == {"format": "webp", "quality": "80"}


def test_an_option_with_the_same_value_twice_is_one_option() -> None:
    envelope = open_envelope("image/png", PNG, [("format", "png"), ("format", "png")])

    assert envelope.options == {"format": "png"}


@given(st.binary(max_size=400), st.sampled_from(["application/json", "multipart/form-data; boundary=ab"]))
def test_random_bodies_raise_nothing_but_malformed_request(body: bytes, content_type: str) -> None:
    raised: Exception | None = None
    try:
        open_envelope(content_type, body, [])
    except Exception as error:  # noqa: BLE001 - the test checks its type
        raised = error

    assert raised is None or isinstance(raised, MalformedRequest)


@pytest.mark.parametrize("size", [300, 40_000])
def test_the_prefix_of_a_data_url_may_contain_any_text(size: int) -> None:
    upload = bytes(range(256)) * (size // 256)
    url = f"data:image/png;name=für 😍;base64,{base64.b64encode(upload).decode()}"

    for ascii_only in (True, False):
        body = json.dumps({"image": url}, ensure_ascii=ascii_only).encode()
        assert open_envelope("application/json", body, []).upload == upload


@pytest.mark.parametrize("size", [300, 40_000])
@pytest.mark.parametrize("odd", ["é", "😍", "\ud800", "-"])
def test_non_ascii_text_is_not_base64(size: int, odd: str) -> None:
    body = json.dumps({"image": "A" * size + odd + "A" * 4}).encode()
    with pytest.raises(MalformedRequest):
        open_envelope("application/json", body, [])
