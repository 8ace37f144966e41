import json

import pytest

from app.errors import CutoutError, InvalidOption, MalformedRequest, UnknownOption
from app.options import CutoutOptions
from app.pipeline.values import MaskRequest
from app.web.batch.form import BatchForm
from tests.pictures import flat, png


def form(*query: tuple[str, str], **fields: object) -> BatchForm:
    made = BatchForm(query)
    for name, value in fields.items():
        made.add(name, value if isinstance(value, bytes) else json.dumps(value).encode())
    return made


def test_options_of_a_picture_override_those_of_all_and_those_the_query() -> None:
    made = form(
        ("format", "webp"),
        ("quality", "50"),
        ("clean", "0.01"),
        options={"format": "avif", "quality": 60},
        items={"a": {"format": "png"}},
    )
    options = made.request_for("a", b"").options

    assert ("png", 60, 0.01) == (options.format, options.quality, options.clean)
    assert made.request_for("b", b"").options.format == "avif"


def test_a_field_overrides_the_options_in_json() -> None:
    assert form(options={"quality": 60}, quality=b"70").request_for("a", b"").options.quality == 70


def test_a_field_that_is_given_twice_is_refused() -> None:
    made = form(quality=b"70")
    with pytest.raises(MalformedRequest):
        made.add("quality", b"71")


def test_results_decide_whether_a_picture_gets_a_mask() -> None:
    made = form(("results", "mask"), ("threshold", "0.5"), items={"a": {"results": "cutout"}})

    assert isinstance(made.request_for("b", b"").options.threshold, float)
    assert isinstance(made.request_for("b", b""), MaskRequest)
    assert isinstance(made.request_for("a", b"").options, CutoutOptions)


def test_options_of_all_that_a_mask_does_not_have_are_left_out_of_a_single_mask() -> None:
    made = form(options={"crop": True}, items={"a": {"results": "mask"}})

    assert isinstance(made.request_for("a", b""), MaskRequest)


def test_a_background_picture_is_put_behind_all_subjects() -> None:
    wall = png(flat(4, 4))
    made = form(background=wall, format=b"jpeg")
    request = made.request_for("a", b"")

    assert request.backdrop is not None
    assert (wall, len(wall)) == (request.backdrop.upload, made.held_bytes)


@pytest.mark.parametrize(
    ("query", "fields", "error"),
    [
        ((("colour", "red"),), {}, UnknownOption),
        ((("results", "mask"), ("crop", "true")), {}, InvalidOption),
        ((("size", "network"),), {}, InvalidOption),
        ((("crop", "perhaps"),), {}, InvalidOption),
        ((("mask", "x"),), {}, InvalidOption),
        ((), {"options": {"quality": "90"}}, InvalidOption),
        ((), {"items": [1]}, MalformedRequest),
        ((), {"items": {"a": 1}}, MalformedRequest),
        ((), {"skip": [1]}, MalformedRequest),
        ((), {"format": b"x" * 5000}, MalformedRequest),
    ],
)
def test_wrong_fields_are_refused(
    query: tuple[tuple[str, str], ...], fields: dict[str, object], error: type[CutoutError]
) -> None:
    def check() -> None:
        form(*query, **fields).check()

    with pytest.raises(error):
        check()


def test_names_without_a_picture_are_listed() -> None:
    made = form(items={"a": {}, "b": {}, "c": {}}, skip=["c"])
    made.request_for("a", b"")

    assert ["b"] == made.unused_names()
    assert made.skips("c")


def test_names_to_skip_are_a_list_or_a_field_each() -> None:
    made = form(skip=["a", "b"])
    for name in (b"c", "ü [1]".encode(), b"[x", b""):
        made.add("skip", name)

    assert all(made.skips(name) for name in ("a", "b", "c", "ü [1]", "[x"))
    assert not made.skips("")


def test_a_retry_may_skip_more_names() -> None:
    first, retry = form(options={"crop": True}), form(options={"crop": True}, skip=["a"])

    assert first.digest() == retry.digest()
    assert first.digest() != form(options={"crop": False}).digest()


@pytest.mark.parametrize("name", ["mask", "keep", "remove"])
def test_a_picture_that_belongs_to_a_single_picture_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(InvalidOption, match=name):
        form().add(name, png(flat(4, 4)))
