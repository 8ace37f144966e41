"""Precision over HTTP: what is reported, and that no result in another precision is reused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelUnavailable
from app.pipeline.local import open_local_pipeline
from tests.networks import add_redness_precision, redness_model
from tests.pictures import jpeg, photo
from tests.web.conftest import Live, serving, settings_with

pytestmark = pytest.mark.process
UPLOAD = jpeg(photo(60, 80))
WITHOUT_VARIANT = {"speed_ratio": None, "difference": None}


@pytest.fixture(scope="module")
def two_precisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with u2netp in float32 and in int8, whose maps differ far more than its manifest says."""
    folder = tmp_path_factory.mktemp("models")
    add_redness_precision(redness_model(folder, "u2netp"), full=200.0, difference=0.001)
    return folder


@pytest.fixture(scope="module")
def in_float32(two_precisions: Path) -> Iterator[Live]:
    with serving(settings_with(two_precisions, precision="float32", cache_bytes=10**6)) as served:
        yield served


@pytest.fixture(scope="module")
def in_int8(two_precisions: Path) -> Iterator[Live]:
    with serving(settings_with(two_precisions, precision="int8", cache_bytes=10**6)) as served:
        yield served


def post(live: Live, path: str = "/v1/mask", **headers: str) -> Any:
    response = live.client.post(path, content=UPLOAD, headers=headers)
    response.raise_for_status()
    return response


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout"])
def test_responses_name_the_precision(in_float32: Live, in_int8: Live, path: str) -> None:
    served = {"float32": in_float32, "int8": in_int8}

    in_headers = [post(live, path).headers["x-cutout-precision"] for live in served.values()]
    in_json = [post(live, path, accept="application/json").json() for live in served.values()]

    assert list(served) == in_headers
    assert list(served) == [each["precision"] for each in in_json]


def test_a_result_without_a_network_has_no_precision(in_int8: Live) -> None:
    files = {"image": UPLOAD, "mask": UPLOAD}
    response = in_int8.client.post("/v1/cutout", files=files)

    assert "none" == response.headers["x-cutout-precision"]


def test_results_in_a_batch_name_the_precision(in_int8: Live) -> None:
    response = in_int8.client.post(
        "/v1/batch", files={"image": ("a.jpg", UPLOAD)}, headers={"Accept": "application/x-ndjson"}
    )

    assert '"precision":"int8"' in response.text.splitlines()[0].replace(" ", "")


def test_servers_in_two_precisions_have_other_entity_tags(in_float32: Live, in_int8: Live) -> None:
    """Behind one load balancer, a client's copy of one is not that of the other."""
    first, second = post(in_float32), post(in_int8)
    tag = first.headers["etag"]
    again, other = (
        live.client.post("/v1/mask", content=UPLOAD, headers={"If-None-Match": tag})
        for live in (in_float32, in_int8)
    )

    assert tag != second.headers["etag"]
    assert first.content != second.content
    assert (304, 200) == (again.status_code, other.status_code)
    assert other.content == second.content


def test_a_repeated_key_and_the_cache_return_the_result_of_the_same_precision(in_int8: Live) -> None:
    key = {"Idempotency-Key": "p"}
    first, repeated, cached = (post(in_int8, **headers) for headers in (key, key, {}))

    assert "hit" == repeated.headers["x-cutout-cache"] == cached.headers["x-cutout-cache"]
    assert ["int8"] * 2 == [each.headers["x-cutout-precision"] for each in (repeated, cached)]
    assert first.content == repeated.content == cached.content


def test_the_models_list_and_the_probe_say_what_is_served(in_int8: Live) -> None:
    (model,) = in_int8.client.get("/v1/models").json()["models"]
    choice = {"precision": "int8", "requested": "int8", "reason": "CUTOUT_PRECISION=int8", **WITHOUT_VARIANT}
    manifest = in_int8.service.ready_pipeline().models.sessions["u2netp"].manifest

    assert ("int8", choice) == (model["precision"], model["precision_choice"])
    assert manifest.precisions["int8"].sha256 == model["sha256"]
    assert {"u2netp": choice} == in_int8.client.get("/readyz").json()["precisions"]


def test_auto_says_why_it_stays_in_float32(two_precisions: Path) -> None:
    """However long the runs of both graphs take."""
    with serving(settings_with(two_precisions, precision="auto")) as live:
        choice = live.client.get("/readyz").json()["precisions"]["u2netp"]
        value = live.service.telemetry.registry.get_sample_value
        response = post(live)

    assert ("float32", "auto") == (choice["precision"], choice["requested"])
    assert choice["reason"].startswith("int8 differs by 0.")
    assert choice["difference"] == value("cutout_precision_difference", {"model": "u2netp"}) > 0.003
    assert choice["speed_ratio"] == value("cutout_precision_speed_ratio", {"model": "u2netp"}) > 0
    assert 1 == value("cutout_precision_info", {"model": "u2netp", "requested": "auto", "active": "float32"})
    assert "float32" == response.headers["x-cutout-precision"]


def test_auto_without_another_graph_is_float32(models_dir: Path) -> None:
    with serving(settings_with(models_dir, precision="auto")) as live:
        (model,) = live.client.get("/v1/models").json()["models"]

    choice = {"precision": "float32", "requested": "auto", "reason": "no int8 file in the manifest"}
    assert {**choice, **WITHOUT_VARIANT} == model["precision_choice"]


def test_a_precision_that_no_file_has_stops_the_start(two_precisions: Path) -> None:
    settings = settings_with(two_precisions, precision="fp16")

    with pytest.raises(ModelUnavailable) as refusal, open_local_pipeline(settings):
        pass
    assert "no fp16 file in the manifest of u2netp, but CUTOUT_PRECISION=fp16" == refusal.value.reason
