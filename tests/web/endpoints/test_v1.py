import base64
import io
import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.pictures import flat, jpeg, photo, png
from tests.web.conftest import Live, serving, settings_with

PHOTO = photo(300, 451)
UPLOAD = jpeg(PHOTO)
AS_JPEG = {"Content-Type": "image/jpeg"}


def opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded))


def test_a_raw_upload_gives_a_cutout_of_the_same_size_with_straight_alpha(live: Live) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, headers=AS_JPEG)
    cutout = opened(response.content)
    pixels = np.asarray(cutout)

    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert (cutout.mode, cutout.size) == ("RGBA", (451, 300))
    assert not pixels[pixels[:, :, 3] == 0].any()
    assert 0.1 < (pixels[:, :, 3] > 128).mean() < 0.6


def test_a_mask_is_grey_and_has_the_same_size(live: Live) -> None:
    response = live.client.post("/v1/mask", content=UPLOAD, headers=AS_JPEG)

    assert (opened(response.content).mode, opened(response.content).size) == ("L", (451, 300))


def test_raw_multipart_and_json_give_the_same_result(live: Live) -> None:
    raw = live.client.post("/v1/cutout?format=webp", content=UPLOAD, headers=AS_JPEG)
    multipart = live.client.post("/v1/cutout", files={"image": UPLOAD}, data={"format": "webp"})
    text = base64.b64encode(UPLOAD).decode()
    as_json = live.client.post("/v1/cutout", json={"image": text, "format": "webp"})

    assert raw.headers["content-type"] == "image/webp"
    assert raw.content == multipart.content == as_json.content
    assert raw.headers["etag"] == multipart.headers["etag"] == as_json.headers["etag"]


def test_headers_describe_the_result(live: Live) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, headers={**AS_JPEG, "X-Request-Id": "abc-1"})
    described = {name: value for name, value in response.headers.items() if name.startswith("x-")}
    matting = described.pop("x-cutout-matting")
    steps = re.findall(r"(\w+);dur=[\d.]+", response.headers["server-timing"])

    assert described == {
        "x-request-id": "abc-1",
        "x-content-type-options": "nosniff",
        "x-cutout-model": "u2netp",
        "x-cutout-provider": "CPUExecutionProvider",
        "x-cutout-precision": "float32",
        "x-cutout-refine": "none",
        "x-cutout-verdict": "ok",
    }
    assert re.fullmatch(r"fast;dur=\d+\.\d", matting)
    assert steps == [
        "receive",
        "admit",
        "decode",
        "prepare",
        "batch",
        "infer",
        "matte",
        "compose",
        "encode",
        "total",
    ]
    assert re.fullmatch(r'"[0-9a-f]{32}"', response.headers["etag"])


def test_a_valid_traceparent_is_returned(live: Live) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    passed = live.client.get("/livez", headers={"traceparent": trace})
    ignored = live.client.get("/livez", headers={"traceparent": "00-nonsense"})

    assert passed.headers["traceparent"] == trace
    assert "traceparent" not in ignored.headers


def test_a_request_that_the_queue_leaves_no_time_for_is_refused_at_once(live: Live) -> None:
    pipeline = live.service.pipeline
    assert pipeline is not None
    with pipeline.admission.wait_estimator.counting(pipeline.models.default, 10_000):
        response = live.client.post("/v1/mask", content=UPLOAD, headers={"X-Request-Timeout-Ms": "1000"})

    assert (response.status_code, response.json()["type"]) == (503, "/problems/overloaded")
    assert int(response.headers["retry-after"]) > 1
    assert live.service.admission.requests == 0


def test_an_idle_server_admits_a_request_with_any_deadline(live: Live) -> None:
    """Otherwise an estimate that was learnt in a slow hour would refuse every request for ever."""
    response = live.client.post("/v1/mask", content=UPLOAD, headers={"X-Request-Timeout-Ms": "1"})

    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")
    assert response.json()["deadline_s"] == 0.001
    assert live.service.admission.requests == 0


@pytest.mark.parametrize("text", ["soon", "-5", "0", "1.5"])
def test_a_deadline_that_is_not_a_positive_integer_is_malformed(live: Live, text: str) -> None:
    response = live.client.post("/v1/mask", content=UPLOAD, headers={"X-Request-Timeout-Ms": text})

    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")


def test_the_entity_tag_depends_on_picture_options_and_endpoint(live: Live) -> None:
    tags = [
        live.client.post(path, content=upload, headers=AS_JPEG).headers["etag"]
        for path, upload in (
            ("/v1/mask", UPLOAD),
            ("/v1/cutout", UPLOAD),
            ("/v1/cutout?matting=none", UPLOAD),
            ("/v1/cutout", jpeg(PHOTO, quality=80)),
        )
    ]

    assert len(set(tags)) == 4


def test_json_has_the_properties_of_the_result_and_base64(live: Live) -> None:
    plain = live.client.post("/v1/mask", content=UPLOAD, headers=AS_JPEG)
    response = live.client.post("/v1/mask", content=UPLOAD, headers={**AS_JPEG, "Accept": "application/json"})
    document = response.json()

    assert base64.b64decode(document.pop("image")) == plain.content
    assert (document["width_px"], document["height_px"], document["media_type"]) == (451, 300, "image/png")
    assert document["verdict"]["label"] == "ok"
    assert document["steps_ms"]["infer"] > 0
    assert document["matting_ms"] == pytest.approx(document["steps_ms"]["matte"], abs=0.1)
    assert response.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize(
    "accept", ["*/*", "image/png", "application/json, text/plain, */*", "image/*,application/json"]
)
def test_a_client_that_accepts_both_gets_the_image(live: Live, accept: str) -> None:
    response = live.client.post("/v1/mask", content=UPLOAD, headers={**AS_JPEG, "Accept": accept})

    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize("accept", ["application/zip", "application/json, application/zip"])
def test_a_cutout_as_a_zip_has_colours_and_alpha(live: Live, accept: str) -> None:
    plain = opened(live.client.post("/v1/cutout", content=UPLOAD).content)
    response = live.client.post("/v1/cutout?format=zip", content=UPLOAD, headers={"Accept": accept})
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        names, alpha = archive.namelist(), opened(archive.read("alpha.png"))

    assert (response.headers["content-type"], names) == ("application/zip", ["color.jpg", "alpha.png"])
    assert np.array_equal(np.asarray(alpha), np.asarray(plain)[:, :, 3])


def test_an_avif_has_the_same_alpha_as_a_png(live: Live) -> None:
    plain, response = (live.client.post(f"/v1/cutout?format={f}", content=UPLOAD) for f in ("png", "avif"))

    assert response.headers["content-type"] == "image/avif"
    assert np.array_equal(*(np.asarray(opened(a.content))[:, :, 3] for a in (plain, response)))


def test_a_scene_without_a_subject_gives_an_empty_result_with_its_verdict(live: Live) -> None:
    response = live.client.post("/v1/cutout", content=png(flat(200, 300)))

    assert response.headers["x-cutout-verdict"] == "no_foreground"
    assert not np.asarray(opened(response.content)).any()


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout"])
def test_a_scene_without_a_subject_is_refused_if_one_is_required(live: Live, path: str) -> None:
    scene, subject = (
        live.client.post(f"{path}?require_foreground=true", content=upload)
        for upload in (png(flat(200, 300)), UPLOAD)
    )

    assert (422, "/problems/no-foreground") == (scene.status_code, scene.json()["type"])
    assert 200 == subject.status_code


def test_cleaning_leaves_one_component(live: Live) -> None:
    options = {"size": "network", "threshold": "0.9", "clean": "0.1"}
    response = live.client.post("/v1/mask", params=options, content=UPLOAD)
    count, _ = cv2.connectedComponents(np.asarray(opened(response.content)), connectivity=8)

    assert 2 == count  # the background and the subject


def test_a_result_of_hq_without_enough_time_has_a_weak_tag(live: Live, models_dir: Path) -> None:
    whole = live.client.post("/v1/mask?matting=hq", content=UPLOAD)
    with serving(settings_with(models_dir, engine={"hq_budget_s": 1e-9})) as hurried:
        cut_short = hurried.client.post("/v1/mask?matting=hq", content=UPLOAD)

    assert "hq_cut_short" == cut_short.headers["x-cutout-warnings"]
    assert cut_short.headers["etag"] == f"W/{whole.headers['etag'].removeprefix('W/')}"


def test_refine_runs_the_network_twice_for_a_small_subject(live: Live) -> None:
    canvas = np.full((1200, 1600, 3), 235, dtype=np.uint8)
    canvas[500:756, 700:956] = np.asarray(opened(UPLOAD).convert("RGB").resize((256, 256)))
    upload = png(canvas)
    once, twice = (live.client.post(f"/v1/mask?refine={way}", content=upload) for way in ("none", "crop"))

    assert ("none", "crop") == (once.headers["x-cutout-refine"], twice.headers["x-cutout-refine"])
    assert opened(once.content).size == opened(twice.content).size == (1600, 1200)
    assert once.content != twice.content
    assert ["refine" in response.headers["server-timing"] for response in (once, twice)] == [False, True]


def test_refine_runs_the_network_once_for_a_subject_that_fills_the_picture(live: Live) -> None:
    upload = png(np.asarray(opened(UPLOAD).convert("RGB"))[100:400, 150:350])
    response = live.client.post("/v1/mask?refine=crop", content=upload)

    assert "none" == response.headers["x-cutout-refine"]


def test_a_network_sized_mask_has_the_size_of_the_map(live: Live) -> None:
    response = live.client.post("/v1/mask?size=network", content=UPLOAD)

    assert opened(response.content).size == (320, 320)


def test_a_threshold_gives_a_binary_mask(live: Live) -> None:
    response = live.client.post("/v1/mask?threshold=0.5", content=UPLOAD)

    assert set(np.unique(np.asarray(opened(response.content)))) == {0, 255}


def test_a_background_colour_fills_the_removed_background(live: Live) -> None:
    response = live.client.post("/v1/cutout?background=%23ff8800&format=jpeg&quality=95", content=UPLOAD)
    pixels = np.asarray(opened(response.content)).astype(int)

    assert opened(response.content).format == "JPEG"
    assert np.abs(pixels[:20, :20] - (255, 136, 0)).max() < 12


def test_a_model_other_than_the_default_is_loaded_by_the_first_request_for_it(
    live: Live, models_dir: Path
) -> None:
    if not (models_dir / "u2net" / "manifest.json").exists():
        pytest.skip("models/u2net is not exported")
    response = live.client.post("/v1/mask?model=u2net", content=UPLOAD)
    listed = live.client.get("/v1/models").json()

    assert (response.status_code, response.headers["x-cutout-model"]) == (200, "u2net")
    assert [model["name"] for model in listed["models"]] == ["u2netp", "u2net"]


def test_the_models_in_service_are_listed(live_u2netp: Live) -> None:
    response = live_u2netp.client.get("/v1/models").json()

    assert response["default"] == "u2netp"
    assert response["models"][0]["name"] == "u2netp"
    assert response["models"][0]["parameters"] == 1_131_181
    assert response["models"][0]["license"] == "Apache-2.0"


TRUNCATED = UPLOAD[: len(UPLOAD) // 2]


@pytest.mark.parametrize(
    ("path", "content", "status", "slug"),
    [
        ("/v1/cutout", b"this is not an image", 415, "unsupported-format"),
        ("/v1/cutout", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported-format"),
        ("/v1/cutout", b"", 422, "corrupt-picture"),
        ("/v1/mask", TRUNCATED, 422, "corrupt-picture"),
        ("/v1/mask", UPLOAD[:-200], 422, "corrupt-picture"),
        ("/v1/cutout?model=birefnet", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?format=gif", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?quality=0", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?matting=magic", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?background=nocolour", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?format=jpeg", UPLOAD, 422, "invalid-option"),
        ("/v1/cutout?format=zip&background=white", UPLOAD, 422, "invalid-option"),
        ("/v1/mask?format=zip", UPLOAD, 422, "invalid-option"),
        ("/v1/mask?size=huge", UPLOAD, 422, "invalid-option"),
        ("/v1/mask?threshold=2", UPLOAD, 422, "invalid-option"),
        ("/v1/mask?colour=red", UPLOAD, 400, "unknown-option"),
        ("/v1/mask?format=png&format=webp", UPLOAD, 400, "malformed-request"),
        ("/v1/cutout", bytes(4_000_001), 413, "upload-too-large"),
        ("/v1/cutout", png(flat(3606, 3606)), 422, "picture-too-large"),
        ("/v1/nothing", UPLOAD, 404, "not-found"),
    ],
)
def test_an_invalid_request_gets_its_problem_and_the_next_one_is_served(
    live: Live, path: str, content: bytes, status: int, slug: str
) -> None:
    response = live.client.post(path, content=content)
    body = response.json()

    assert (response.status_code, body["type"]) == (status, f"/problems/{slug}")
    assert response.headers["content-type"] == "application/problem+json"
    assert body["instance"] == f"urn:request:{response.headers['x-request-id']}"
    assert not re.search(r"Traceback|File \"|site-packages|PIL|numpy", response.text)
    assert live.client.get(body["type"]).text.startswith(slug)
    assert live.client.post("/v1/mask", content=UPLOAD).status_code == 200
    assert live.service.admission.requests == 0


def test_the_error_of_a_wrong_multipart_field_lists_the_right_ones(live: Live) -> None:
    response = live.client.post("/v1/cutout", files={"picture": UPLOAD})

    assert (response.status_code, response.json()["type"]) == (400, "/problems/malformed-request")
    assert "image, file, image_file" in response.json()["detail"]


def test_a_compressed_body_is_refused(live: Live) -> None:
    response = live.client.post("/v1/cutout", content=UPLOAD, headers={"Content-Encoding": "gzip"})

    assert (response.status_code, response.json()["accepted"]) == (415, ["identity"])


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_content_encoding_identity_is_accepted(live: Live, encoding: str) -> None:
    response = live.client.post("/v1/mask", content=UPLOAD, headers={"Content-Encoding": encoding})

    assert response.status_code == 200


def test_a_chunked_upload_has_the_same_limit(live: Live) -> None:
    response = live.client.post("/v1/cutout", content=(bytes(100_000) for _ in range(41)))

    assert response.status_code == 413


def test_the_wrong_method_is_a_problem(live: Live) -> None:
    response = live.client.get("/v1/cutout")

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["type"] == "/problems/method-not-allowed"
