"""Strokes in the API: what a person has painted is obeyed, in every form in which it can be sent."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from app.imaging.matting.stroke_list import MAX_TEXT_BYTES
from tests.pictures import opened, png
from tests.web.conftest import Live, serving, settings_with

HEIGHT, WIDTH = 150, 200
PATCH = np.zeros((HEIGHT, WIDTH), bool)
PATCH[55:95, 120:150] = True
STROKE = {"kind": "keep", "width": 10, "points": [[130, 75], [140, 75]]}
STROKES = json.dumps([STROKE])


@pytest.fixture(scope="module")
def live(models_dir: Path) -> Iterator[Live]:
    """The service with a fast model, and time enough for strokes on a busy machine."""
    with serving(settings_with(models_dir, engine={"hq_budget_s": 60})) as served:
        yield served


def scene() -> bytes:
    """A red disc, which the network finds, and a blue patch, which it does not find, on grey."""
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    cv2.circle(rgb, (60, 75), 25, (230, 30, 20), -1)
    rgb[PATCH] = (40, 60, 190)
    return png(rgb)


def drawn(value: int = 255, scale: int = 1) -> bytes:
    """A picture of the stroke."""
    strokes = np.zeros((HEIGHT * scale, WIDTH * scale), np.uint8)
    cv2.line(strokes, (130 * scale, 75 * scale), (140 * scale, 75 * scale), value, 10 * scale)
    return png(strokes)


PICTURE = scene()


def sent(live: Live, path: str = "/v1/cutout", files: Any = None, **options: Any) -> httpx.Response:
    parts = {"image": PICTURE, **(files or {})}
    response = live.client.post(
        path, files={name: (name, part, "image/png") for name, part in parts.items()}, data=options
    )
    assert response.status_code == 200, response.text
    return response


def alpha_of(response: httpx.Response) -> np.ndarray:
    pixels = opened(response.content)
    return pixels if pixels.ndim == 2 else pixels[:, :, 3]


def is_far() -> np.ndarray:
    free = (opened(drawn()) < 128).astype(np.uint8)
    return np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > HEIGHT / 4)


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/mask", {}),
        ("/v1/mask", {"matting": "fast"}),
        ("/v1/mask", {"threshold": "0.5"}),
        ("/v1/cutout", {}),
        ("/v1/cutout", {"matting": "none"}),
        ("/v1/cutout", {"matting": "hq", "clean": "0.001"}),
        ("/v1/cutout", {"refine": "crop"}),
        ("/v1/cutout", {"threshold": "0.5", "channels": "alpha"}),
    ],
)
def test_a_stroke_is_obeyed_its_patch_follows_and_far_pixels_are_the_same(
    live: Live, path: str, options: dict[str, str]
) -> None:
    before, after = sent(live, path, **options), sent(live, path, strokes=STROKES, **options)

    assert alpha_of(before)[PATCH].max() < 128
    assert (alpha_of(after)[opened(drawn()) > 0][5:-5] == 255).all()
    assert np.mean(alpha_of(after)[PATCH] >= 128) > 0.9
    assert np.array_equal(opened(before.content)[is_far()], opened(after.content)[is_far()])


def test_a_remove_stroke_removes_a_patch_of_the_mask_sent_along(live: Live) -> None:
    mask = np.where(PATCH, np.uint8(255), alpha_of(sent(live)))
    response = sent(live, files={"mask": png(mask), "remove": drawn()})
    after = alpha_of(response)

    assert response.headers["x-cutout-provider"] == "none"
    assert (after[opened(drawn()) > 0] == 0).all()
    assert np.mean(after[PATCH] < 128) > 0.9
    assert np.array_equal(mask[is_far()], after[is_far()])


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout"])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_picture_of_strokes_does_what_the_strokes_do(live: Live, path: str, scale: int) -> None:
    painted = alpha_of(sent(live, path, files={"keep": drawn(scale=scale)}))
    in_text = alpha_of(sent(live, path, strokes=STROKES))

    assert np.mean(painted != in_text) < 0.01
    assert (painted[PATCH] >= 128).mean() > 0.9


def test_a_dark_picture_of_strokes_paints_nothing(live: Live) -> None:
    assert np.array_equal(alpha_of(sent(live)), alpha_of(sent(live, files={"keep": drawn(127)})))


def test_the_alpha_of_a_picture_of_strokes_counts(live: Live) -> None:
    """As a canvas of a web page draws it: white on transparent."""
    rgba = np.dstack((np.full((HEIGHT, WIDTH, 3), 255, np.uint8), opened(drawn())))
    on_canvas, on_black = (sent(live, files={"keep": keep}) for keep in (png(rgba), drawn()))

    assert np.array_equal(alpha_of(on_black), alpha_of(on_canvas))


def test_json_and_the_query_take_the_same_strokes(live: Live) -> None:
    def text(upload: bytes) -> str:
        return base64.b64encode(upload).decode()

    members = {"image": text(PICTURE), "strokes": STROKES, "remove": text(drawn(0))}
    in_json = live.client.post("/v1/mask", json=members)
    in_query = live.client.post("/v1/mask", content=PICTURE, params={"strokes": STROKES})
    drawn_in_json = live.client.post("/v1/mask", json={"image": text(PICTURE), "keep": text(drawn())})

    assert np.array_equal(alpha_of(in_json), alpha_of(in_query))
    assert np.mean(alpha_of(drawn_in_json) != alpha_of(in_query)) < 0.01


def test_a_long_text_of_strokes_is_accepted_in_every_form(live: Live) -> None:
    points = [[130 + index % 11, 75] for index in range(3000)]
    text = json.dumps([{**STROKE, "points": points}])
    fields = {"image": base64.b64encode(PICTURE).decode(), "strokes": text}
    responses = [
        sent(live, "/v1/mask", strokes=text),
        live.client.post("/v1/mask", json=fields),
        live.client.post("/v1/mask", data=fields),
    ]

    assert len(text) > 30_000
    assert [200] * 3 == [response.status_code for response in responses]
    assert len({response.content for response in responses}) == 1


@pytest.mark.parametrize(
    "strokes",
    [
        *("none", "[", '{"kind": "keep"}', '[{"kind": "keep", "width": 4, "points": []}]', "[NaN]"),
        '[{"kind": "keep", "width": 1e999, "points": [[1, 2]]}]',
        "[" + " " * MAX_TEXT_BYTES + "]",
        json.dumps([{**STROKE, "width": 900, "points": [[0, 0], [200, 150]] * 60}]),
    ],
)
@pytest.mark.parametrize("form", ["multipart", "json", "urlencoded"])
def test_wrong_strokes_are_refused_by_name(live: Live, strokes: str, form: str) -> None:
    fields = {"image": base64.b64encode(PICTURE).decode(), "strokes": strokes}
    request: dict[str, Any] = {"json": fields} if form == "json" else {"data": fields}
    if form == "multipart":
        request = {"files": {"image": ("a", PICTURE, "image/png")}, "data": {"strokes": strokes}}
    response = live.client.post("/v1/cutout", **request)

    assert response.status_code == 422
    assert (response.json()["type"], response.json()["name"]) == ("/problems/invalid-option", "strokes")


def test_a_list_in_place_of_the_text_is_refused_by_name(live: Live) -> None:
    members = {"image": base64.b64encode(PICTURE).decode(), "strokes": [STROKE]}
    response = live.client.post("/v1/cutout", json=members)

    assert (response.status_code, response.json()["name"]) == (422, "strokes")


@pytest.mark.parametrize("name", ["keep", "remove"])
def test_a_picture_of_strokes_in_another_shape_is_refused(live: Live, name: str) -> None:
    files = {
        "image": ("a", PICTURE, "image/png"),
        name: ("b", png(np.zeros((90, 90), np.uint8)), "image/png"),
    }
    response = live.client.post("/v1/mask", files=files)

    assert (response.status_code, response.json()["type"]) == (422, "/problems/mask-does-not-fit")
    assert name in response.json()["detail"]


@pytest.mark.parametrize("part", ["strokes", "keep", "remove", "mask"])
def test_a_mask_at_the_networks_size_takes_no_strokes(live: Live, part: str) -> None:
    files: dict[str, Any] = {"image": ("a", PICTURE, "image/png")}
    files[part] = (None, STROKES) if part == "strokes" else (part, drawn(), "image/png")
    response = live.client.post("/v1/mask?size=network", files=files)

    assert (response.status_code, response.json()["name"]) == (422, "size")


def test_each_painting_has_its_own_entity_tag(live: Live) -> None:
    mask = png(alpha_of(sent(live)))
    tags = [
        sent(live, "/v1/cutout", files, **options).headers["etag"]
        for files, options in (
            ({}, {}),
            ({}, {"strokes": STROKES}),
            ({"keep": drawn()}, {}),
            ({"remove": drawn()}, {}),
            ({"mask": mask}, {}),
            ({"mask": mask, "keep": drawn()}, {}),
        )
    ]

    assert len(set(tags)) == len(tags)
    again = live.client.post(
        "/v1/cutout",
        files={"image": ("a", PICTURE, "image/png"), "keep": ("k", drawn(), "image/png")},
        headers={"If-None-Match": tags[2]},
    )
    assert again.status_code == 304


def test_without_time_only_the_strokes_are_obeyed_with_a_warning(models_dir: Path) -> None:
    with serving(settings_with(models_dir, engine={"hq_budget_s": 1e-9})) as hurried:
        response = sent(hurried, "/v1/mask", strokes=STROKES)

    assert response.headers["x-cutout-warnings"] == "strokes_cut_short"
    assert response.headers["etag"].startswith("W/")
    assert (alpha_of(response)[opened(drawn()) > 0][5:-5] == 255).all()


def test_strokes_are_a_step_of_their_own(live: Live) -> None:
    steps = sent(live, strokes=STROKES).headers["server-timing"]

    assert "strokes;dur=" in steps
    assert "strokes;dur=" not in sent(live).headers["server-timing"]


def test_strokes_follow_the_region_and_the_size_of_the_picture(live: Live) -> None:
    region = sent(live, strokes=STROKES, region="50px 25px 200px 150px", matting="none")
    smaller = sent(live, strokes=STROKES, megapixels="0.0075", matting="none")

    assert np.mean(alpha_of(region)[PATCH] >= 128) > 0.9
    assert alpha_of(smaller).shape == (75, 100)
    assert np.mean(alpha_of(smaller)[PATCH[::2, ::2]] >= 128) > 0.85


def test_a_kept_patch_is_a_subject_where_the_network_finds_none(live: Live) -> None:
    rgb = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    rgb[PATCH] = (40, 60, 190)
    files = {"image": ("a", png(rgb), "image/png")}
    options = {"require_foreground": "true", "crop": "true"}
    refused = live.client.post("/v1/cutout", files=files, data=options)
    response = live.client.post("/v1/cutout", files=files, data={**options, "strokes": STROKES})

    assert refused.json()["type"] == "/problems/no-foreground"
    assert (response.status_code, response.headers["x-cutout-verdict"]) == (200, "ok")
    assert opened(response.content).shape[:2] == pytest.approx((40, 30), abs=6)


def test_the_mask_of_a_cutout_with_strokes_is_corrected_too(live: Live) -> None:
    response = live.client.post(
        "/v1/cutout",
        files={"image": ("a", PICTURE, "image/png")},
        data={"results": "mask,cutout", "strokes": STROKES},
        headers={"Accept": "application/json"},
    )
    mask = opened(base64.b64decode(response.json()["mask"]))

    assert np.mean(mask[PATCH] >= 128) > 0.9


def test_transparent_parts_of_the_picture_stay_transparent(live: Live) -> None:
    rgba = np.dstack((opened(PICTURE), np.where(PATCH, np.uint8(0), np.uint8(255))))
    files = {"image": ("a", png(rgba), "image/png")}
    response = live.client.post("/v1/cutout", files=files, data={"strokes": STROKES})

    assert (alpha_of(response)[PATCH] == 0).all()


def test_the_alpha_of_the_picture_counts_once_however_often_the_result_is_sent_back(live: Live) -> None:
    rgba = np.dstack([opened(PICTURE), np.full((HEIGHT, WIDTH), 200, np.uint8)])
    alphas = [alpha_of(sent(live, files={"image": png(rgba)}))]
    for _ in range(2):
        parts = {"image": png(rgba), "mask": png(alphas[-1])}
        alphas.append(alpha_of(sent(live, files=parts, strokes=STROKES)))

    assert 200 == alphas[0].max()
    assert np.allclose(alphas[0][is_far()], alphas[2][is_far()], atol=1)
    assert (200 == alphas[2][75, 130:140]).all()
