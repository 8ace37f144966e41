"""The text of strokes."""

import json
from typing import Any

import pytest

from app.imaging.matting.stroke_list import MAX_POINTS, MAX_STROKES, MAX_TEXT_BYTES, Stroke, parse_strokes

DOT = {"kind": "keep", "width": 4, "points": [[10, 10]]}


def text_of(**changes: Any) -> str:
    return json.dumps([{**DOT, **changes}])


def test_strokes_are_parsed_in_their_order() -> None:
    strokes = parse_strokes(
        json.dumps([DOT, {"kind": "remove", "width": 2.5, "points": [[1, 2], [3.5, -4]]}])
    )

    assert strokes == (
        Stroke("keep", 4.0, ((10.0, 10.0),)),
        Stroke("remove", 2.5, ((1.0, 2.0), (3.5, -4.0))),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "nothing", "{}", "null", "3", '"keep"', "[3]", "[[]]", "[null]", "[" * 5000, "[" * 9000),
        *(text_of(kind="erase"), text_of(kind=None), text_of(width=0), text_of(width=-1), text_of(width="4")),
        *(text_of(width=True), text_of(points=[]), text_of(points=[[1]]), text_of(points=[[1, 2, 3]])),
        *(text_of(points=[[1, None]]), text_of(points=[{"x": 1}]), text_of(points=3), text_of(opacity=1)),
        '[{"kind": "keep", "width": 4}]',
        *(text_of(width=number) for number in (float("nan"), float("inf"), 10**400)),
        *(text_of(points=[[number, 1]]) for number in (float("nan"), float("-inf"), True, 10**400)),
        text_of(width=0).replace("0", "1e999"),
    ],
)
def test_a_text_that_is_no_list_of_strokes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the option's error describes the form
        parse_strokes(text)


def test_the_count_of_strokes_and_points_and_the_length_of_the_text_are_limited() -> None:
    full_list = json.dumps([DOT] * MAX_STROKES, separators=(",", ":"))
    full_stroke = text_of(points=[[1, 2]] * MAX_POINTS)

    assert len(parse_strokes(full_list)) == MAX_STROKES
    assert len(parse_strokes(full_stroke)[0].points) == MAX_POINTS
    for text in (
        json.dumps([DOT] * (MAX_STROKES + 1)),
        text_of(points=[[1, 2]] * (MAX_POINTS + 1)),
        text_of(points=[[1, 2]] * (MAX_POINTS + MAX_STROKES + 1)),
        "[]" + " " * MAX_TEXT_BYTES,
    ):
        with pytest.raises(ValueError, match="too many"):
            parse_strokes(text)


def test_the_whole_text_is_json() -> None:
    assert parse_strokes(" [ ] ") == ()
