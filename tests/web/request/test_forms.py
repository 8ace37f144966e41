"""Forms of real clients: empty file inputs, files without a name, base64 texts."""

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from app.errors import MalformedRequest
from app.options import MaskOptions
from app.web.endpoints import rembg, removebg, withoutbg
from app.web.request.envelope import IMAGE_FIELDS, Envelope, open_envelope
from app.web.request.forms import FORMS, JSON, URLENCODED, kind_of, read_query
from tests.pictures import jpeg, photo, png

UPLOAD = jpeg(photo(24, 32))
OTHER = png(photo(8, 8))
TEXT = base64.b64encode(UPLOAD).decode()
Part = tuple[str, bytes, str]
"""The parameters of Content-Disposition, the value, and the media type, which may be empty."""


def multipart(*parts: Part) -> tuple[str, bytes]:
    body = b""
    for parameters, value, media_type in parts:
        head = f"--frontier\r\nContent-Disposition: form-data; {parameters}\r\n"
        head += f"Content-Type: {media_type}\r\n" if media_type else ""
        body += head.encode() + b"\r\n" + value + b"\r\n"
    return "multipart/form-data; boundary=frontier", body + b"--frontier--\r\n"


def file(name: str, value: bytes = UPLOAD, media_type: str = "image/jpeg") -> Part:
    return f'name="{name}"; filename="photo.jpg"', value, media_type


def empty_file_input(name: str) -> Part:
    return f'name="{name}"; filename=""', b"", "application/octet-stream"


def text(name: str, value: str | bytes) -> Part:
    return f'name="{name}"', value.encode() if isinstance(value, str) else value, ""


def opened(*parts: Part) -> Envelope:
    return open_envelope(*multipart(*parts), [])


@pytest.mark.parametrize(
    "absent",
    [
        *(
            empty_file_input("background"),
            empty_file_input("mask"),
            empty_file_input("file"),
            empty_file_input("image_file"),
            empty_file_input("avatar"),
        ),
        *(text("format", ""), text("quality", " "), text("background", "\r\n"), text("mask", "\t")),
        *(text("image_url", ""), text("file", ""), text("nothing", "")),
    ],
    ids=lambda part: part[0],
)
@pytest.mark.parametrize("comes_first", [True, False])
def test_an_empty_field_or_file_counts_as_absent(absent: Part, *, comes_first: bool) -> None:
    parts = (absent, file("image")) if comes_first else (file("image"), absent)
    envelope = opened(*parts)

    assert (envelope.upload, envelope.options) == (UPLOAD, {})
    assert (envelope.masks, envelope.backdrop, envelope.image_url) == ({}, None, None)


@pytest.mark.parametrize(
    "members", [{"format": None}, {"format": ""}, {"mask": None, "image_url": None, "file": ""}]
)
def test_null_and_an_empty_text_in_json_count_as_absent(members: dict[str, object]) -> None:
    body = json.dumps({"image": TEXT, **members}).encode()
    envelope = open_envelope("application/json", body, [("format", "webp")])

    assert (envelope.upload, envelope.options, envelope.masks) == (UPLOAD, {"format": "webp"}, {})


def test_an_empty_query_field_counts_as_absent() -> None:
    assert read_query(b"format=&quality=%20&size=network") == [("size", "network")]


@pytest.mark.parametrize(
    "sent",
    [
        *(multipart(empty_file_input("image")), multipart(text("file", "")), multipart(file("image", b""))),
        *(("application/json", b'{"image": null}'), ("application/json", b'{"image_file": " "}')),
        *(("application/x-www-form-urlencoded", b"image=&format=png"), ("image/jpeg", b"")),
    ],
    ids=repr,
)
def test_an_empty_picture_is_an_upload_of_no_bytes(sent: tuple[str, bytes]) -> None:
    assert open_envelope(*sent, []).upload == b""


def test_an_empty_url_without_a_picture_has_its_own_message() -> None:
    with pytest.raises(MalformedRequest, match="image_url is empty"):
        opened(text("image_url", " "))


def test_an_empty_file_with_a_name_does_not_count_as_absent() -> None:
    assert opened(file("image"), file("mask", b"")).masks == {"mask": b""}


@pytest.mark.parametrize("name", ["mask", "keep", "remove", "background"])
@pytest.mark.parametrize("media_type", ["", "image/png", "application/octet-stream", "text/plain"])
def test_a_picture_without_a_file_name_is_a_file(name: str, media_type: str) -> None:
    envelope = opened(file("image"), (f'name="{name}"', OTHER, media_type))

    assert (envelope.backdrop if name == "background" else envelope.masks[name]) == OTHER
    assert envelope.options == {}


def test_an_image_media_type_makes_a_background_a_picture() -> None:
    envelope = opened(file("image"), ('name="background"', b"II*\0 a TIFF", "Image/TIFF"))

    assert envelope.backdrop == b"II*\0 a TIFF"


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/octet-stream"])
def test_a_background_may_still_be_a_colour(media_type: str) -> None:
    envelope = opened(file("image"), ('name="background"', b"#ff8800", media_type))

    assert (envelope.backdrop, envelope.options) == (None, {"background": "#ff8800"})


@pytest.mark.parametrize("name", ["mask", "background"])
def test_a_second_mask_or_background_is_refused(name: str) -> None:
    with pytest.raises(MalformedRequest, match=f"one {name}"):
        opened(file("image"), file(name, OTHER), file(name, OTHER))


@pytest.mark.parametrize("name", IMAGE_FIELDS)
@pytest.mark.parametrize("spelling", [TEXT, f"data:image/jpeg;base64,{TEXT}", TEXT.rstrip("=")])
def test_base64_is_accepted_under_every_name_in_every_kind_of_body(name: str, spelling: str) -> None:
    bodies = (
        multipart(text(name, spelling)),
        multipart((f'name="{name}"', spelling.encode(), "text/plain; charset=utf-8")),
        ("application/x-www-form-urlencoded", urlencode({name: spelling}).encode()),
        ("application/json", json.dumps({name: spelling}).encode()),
    )

    assert [open_envelope(*sent, []).upload for sent in bodies] == [UPLOAD] * 4


def test_a_mask_may_be_base64_in_every_kind_of_form() -> None:
    mask = base64.b64encode(OTHER).decode()
    fields = {"image": TEXT, "mask": mask}
    in_form = open_envelope("application/x-www-form-urlencoded", urlencode(fields).encode(), [])

    assert [opened(file("image"), text("mask", mask)).masks["mask"], in_form.masks["mask"]] == [OTHER, OTHER]


@pytest.mark.parametrize(
    "sent",
    [
        multipart(text("image", "hello, world")),
        ("application/x-www-form-urlencoded", b"file=hello%2C+world"),
        ("application/json", b'{"image_file": "hello, world"}'),
    ],
    ids=repr,
)
def test_a_text_that_is_not_base64_has_its_own_message(sent: tuple[str, bytes]) -> None:
    with pytest.raises(MalformedRequest, match="not base64"):
        open_envelope(*sent, [])


def test_bytes_that_are_not_text_are_a_file() -> None:
    assert opened(text("image", b"II*\0 a TIFF")).upload == b"II*\0 a TIFF"


JSON_BODY = json.dumps({"image": TEXT, "quality": 80}).encode()


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "Application/JSON; charset=utf-8", "application/problem+json", "text/json"),
        *(
            "application/vnd.api+json",
            "text/plain",
            "text/plain;charset=UTF-8",
            "",
            "application/octet-stream",
        ),
        "application/x-www-form-urlencoded",
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n ", b" \n"])
def test_json_is_detected_by_its_type_or_its_first_brace(content_type: str, before: bytes) -> None:
    envelope = open_envelope(content_type, before + JSON_BODY, [])

    assert (envelope.upload, envelope.options, envelope.typed) == (UPLOAD, {"quality": 80}, {"quality"})


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "application/octet-stream", "image/jpeg", "application/json", "text/plain", "multipart/mixed"),
        *("multipart/form-data", "multipart/form-data; boundary=", "application/x-www-form-urlencoded"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_multipart_body_without_a_declared_boundary_has_its_own_message(
    content_type: str, before: bytes
) -> None:
    with pytest.raises(MalformedRequest, match="names no boundary"):
        open_envelope(content_type, before + multipart(file("image"))[1], [])


@pytest.mark.parametrize("boundary", ["undefined", "frontiers"])
def test_a_boundary_that_is_not_in_the_body_has_its_own_message(boundary: str) -> None:
    with pytest.raises(MalformedRequest, match="does not have the boundary"):
        open_envelope(f"multipart/form-data; boundary={boundary}", multipart(file("image"))[1], [])


@pytest.mark.parametrize(
    ("content_type", "body", "kind"),
    [
        ("application/x-www-form-urlencoded", UPLOAD, b""),
        ("application/x-www-form-urlencoded", OTHER, b""),
        ("application/x-www-form-urlencoded", b"GIF89a=\0=\0", b""),
        ("application/x-www-form-urlencoded", b"II*\0=", b""),
        ("application/x-www-form-urlencoded", b"image=AAAA", URLENCODED),
        ("application/x-www-form-urlencoded", b"a%5B0%5D=1", URLENCODED),
        ("image/png", b"{}", b""),
        ("image/svg+json", b"[]", b""),
        ("application/json", b"[]", JSON),
        ("text/plain", b"[]", b""),
        ("text/plain", UPLOAD, b""),
    ],
)
def test_the_first_bytes_distinguish_a_picture_from_a_form(
    content_type: str, body: bytes, kind: bytes
) -> None:
    assert kind_of(content_type, body)[0] == kind
    assert kind in {b"", *FORMS}


DIALECTS = {
    "removebg": ("image_file", lambda *sent: removebg.parse_request(*sent, [])),
    "rembg": ("file", lambda *sent: rembg.parse_request(*sent, [])),
    "withoutbg": ("file", lambda *sent: withoutbg.parse_request(*sent, [])),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "kind", ["file", "no file name", "multipart", "urlencoded", "unescaped", "JSON", "JSON as text", "BOM"]
)
def test_every_dialect_accepts_a_picture_in_every_kind_of_body(dialect: str, kind: str) -> None:
    name, parse_request = DIALECTS[dialect]
    in_json = json.dumps({name: f"data:image/jpeg;base64,{TEXT}", "format": None, "model": ""}).encode()
    bodies: Mapping[str, tuple[str, bytes]] = {
        "file": multipart(
            file(name), empty_file_input("bg_image_file"), text("image_url", ""), text("url", " ")
        ),
        "no file name": multipart((f'name="{name}"', UPLOAD, "")),
        "multipart": multipart(text(name, TEXT), text("bg_color", "")),
        "urlencoded": ("application/x-www-form-urlencoded", urlencode({name: TEXT, "bgc": ""}).encode()),
        "unescaped": ("application/x-www-form-urlencoded", f"bgc=&{name}={TEXT}".encode()),
        "JSON": ("application/vnd.x+json", in_json),
        "JSON as text": ("text/plain", in_json),
        "BOM": ("application/json", b"\xef\xbb\xbf" + in_json),
    }

    assert parse_request(*bodies[kind]).picture.upload == UPLOAD


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_reports_an_empty_picture(dialect: str) -> None:
    name, parse_request = DIALECTS[dialect]
    for sent in (
        multipart(empty_file_input(name)),
        multipart(file(name, b"")),
        ("application/json", json.dumps({name: None}).encode()),
    ):
        with pytest.raises(Exception, match=re.compile("is empty")):
            parse_request(*sent)


@pytest.mark.parametrize("yes", ["true", "1", "on", "YES"])
def test_dialects_accept_the_booleans_of_v1(yes: str) -> None:
    sent = multipart(file("image_file"), text("crop", yes))
    mask = rembg.parse_request(*multipart(file("file"), text("om", yes)), [])

    assert removebg.parse_request(*sent, []).options.layout.crop
    assert isinstance(mask.options, MaskOptions)


@pytest.mark.parametrize(("spelling", "name"), [("jpg", "jpeg"), ("JPEG", "jpeg"), ("image/webp", "webp")])
def test_dialects_accept_the_format_names_of_v1(spelling: str, name: str) -> None:
    sent = multipart(file("image_file"), text("format", spelling))

    assert removebg.parse_request(*sent, []).options.format == name
