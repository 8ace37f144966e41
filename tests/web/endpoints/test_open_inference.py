"""Requests and responses of the Open Inference Protocol, in JSON and in binary."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.imaging.matting.saliency import stretch, to_grey
from app.imaging.prepare import prepare
from tests.pictures import opened, photo, png
from tests.web.conftest import Live

PICTURE = photo(200, 260)
TENSOR = prepare(PICTURE, 320)[None]
URL = "/v2/models/u2netp/infer"


def json_request(tensor: NDArray[np.uint8], **more: object) -> dict[str, object]:
    described = {"name": "network_input", "datatype": "UINT8", "shape": list(tensor.shape)}
    return {"inputs": [{**described, "data": tensor.ravel().tolist()}], **more}


def post(live: Live, document: object, raw: bytes = b"", **headers: str) -> httpx.Response:
    head = json.dumps(document).encode()
    if raw:
        headers["Inference-Header-Content-Length"] = str(len(head))
    return live.client.post(URL, content=head + raw, headers=headers)


def binary_request(tensor: NDArray[np.uint8]) -> tuple[dict[str, object], bytes]:
    described = {"name": "network_input", "datatype": "UINT8", "shape": list(tensor.shape)}
    described["parameters"] = {"binary_data_size": tensor.size}
    outputs = [{"name": "saliency", "parameters": {"binary_data": True}}]
    return {"id": "one", "inputs": [described], "outputs": outputs}, tensor.tobytes()


def saliency_of(response: httpx.Response) -> NDArray[np.float32]:
    length = int(response.headers["inference-header-content-length"])
    document = json.loads(response.content[:length])
    (output,) = document["outputs"]
    assert output["parameters"]["binary_data_size"] == len(response.content) - length
    return np.frombuffer(response.content[length:], np.float32).reshape(output["shape"])


def test_the_saliency_equals_that_of_the_mask(live: Live) -> None:
    mask = live.client.post("/v1/mask", content=png(PICTURE), params={"size": "network"}).content
    response = post(live, json_request(TENSOR, id="mine"))
    document = response.json()
    (output,) = document["outputs"]
    saliency = np.asarray(output["data"], np.float32).reshape(output["shape"])

    assert (document["id"], document["model_name"], output["datatype"]) == ("mine", "u2netp", "FP32")
    assert saliency.shape == (1, 320, 320)
    assert np.array_equal(to_grey(stretch(saliency[0])), opened(mask))


def test_binary_tensors_give_the_same_bits(live: Live) -> None:
    batch = np.concatenate([TENSOR, TENSOR[:, ::-1], TENSOR])
    together = saliency_of(post(live, *binary_request(batch)))
    (output,) = post(live, json_request(TENSOR)).json()["outputs"]

    assert together.shape == (3, 320, 320)
    assert np.abs(together[0].ravel() - np.asarray(output["data"], np.float32)).max() <= 1e-5
    assert np.abs(together[0] - together[2]).max() <= 1e-5
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_the_pictures_of_a_request_join_those_of_others(live: Live) -> None:
    samples = [s for f in live.service.telemetry.registry.collect() for s in f.samples]
    before = sum(s.value for s in samples if s.name == "cutout_batch_size_sum")
    with ThreadPoolExecutor(3) as pool:
        responses = list(pool.map(lambda _: post(live, *binary_request(np.repeat(TENSOR, 2, 0))), range(3)))
    samples = [s for f in live.service.telemetry.registry.collect() for s in f.samples]

    assert {response.status_code for response in responses} == {200}
    assert sum(s.value for s in samples if s.name == "cutout_batch_size_sum") == before + 6


def test_server_and_model_describe_themselves(live: Live) -> None:
    server, model = (live.client.get(path).json() for path in ("/v2", "/v2/models/u2netp"))
    health = [live.client.get(f"/v2/{path}").status_code for path in ("health/live", "health/ready")]
    ready = [
        live.client.get(f"/v2/models/{name}/ready").status_code for name in ("u2netp", "u2netp/versions/1")
    ]

    assert (server["name"], server["extensions"]) == ("cutout", ["binary_tensor_data"])
    assert model["inputs"] == [{"name": "network_input", "datatype": "UINT8", "shape": [-1, 320, 320, 3]}]
    assert model["outputs"] == [{"name": "saliency", "datatype": "FP32", "shape": [-1, 320, 320]}]
    assert health + ready == [200] * 4


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({}, 400),
        ([], 400),
        ({"inputs": []}, 400),
        ({"inputs": [7]}, 400),
        ({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1, 320, 320, 3]}]}, 400),
        (json_request(TENSOR[:, :64, :64]), 400),
        (json_request(TENSOR[:, :64]), 400),
        ({**json_request(TENSOR), "outputs": [{"name": "x"}]}, 400),
        ({**json_request(TENSOR), "outputs": 7}, 400),
        ({**json_request(TENSOR), "id": ["x"]}, 400),
        ({**json_request(TENSOR), "id": "x" * 70_000}, 400),
        *(
            (
                {
                    "inputs": [
                        {"name": "network_input", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": d}
                    ]
                },
                400,
            )
            for d in (
                None,
                "x",
                ["x"] * 12,
                ["x" * 8000] * 12,
                [[[[]]]],
                [256] * 12,
                [-1] * 12,
                [1.5] * 12,
                [1] * 11,
                [[1], [1, 2]],
                [True] * 12,
            )
        ),
        *(
            ({"inputs": [{"name": "network_input", "datatype": "UINT8", "shape": shape, "data": [1]}]}, 400)
            for shape in (None, [], [1, 2, 3], [0, 320, 320, 3], [-1, 320, 320, 3], [1, 2, 2, True])
        ),
    ],
)
def test_an_invalid_request_gets_an_error_in_the_protocols_format(
    live: Live, document: object, status: int
) -> None:
    response = post(live, document)

    assert response.status_code == status
    assert isinstance(response.json()["error"], str)


def test_a_wrong_length_and_an_unknown_model_get_an_error(live: Live) -> None:
    document, raw = binary_request(TENSOR)
    lengths = [
        live.client.post(
            URL,
            content=json.dumps(document).encode() + raw,
            headers={"Inference-Header-Content-Length": text},
        )
        for text in ("x", "-1", str(10**9), "0" * 5000, "9" * 5000)
    ]
    short = post(live, document, raw[:-1])
    unknown = [live.client.get("/v2/models/none"), live.client.post("/v2/models/none/infer", json={})]
    unknown.append(
        live.client.post(
            "/v2/models/none/infer", content=json.dumps(json_request(TENSOR[:, :2, :2])).encode()
        )
    )

    assert {response.status_code for response in (*lengths, short)} == {400}
    assert [response.status_code for response in unknown] == [404, 400, 404]
    assert all("error" in response.json() for response in unknown)


def test_requests_of_many_pictures_alternate_with_others(live_u2netp: Live) -> None:
    """While two run five pictures each, no more of them are queued than can run in one batch."""
    pipeline = live_u2netp.service.ready_pipeline()
    document, raw = binary_request(np.repeat(TENSOR, 5, axis=0))
    queued_runs = []
    with ThreadPoolExecutor(2) as clients:
        long_requests = [clients.submit(post, live_u2netp, document, raw) for _ in range(2)]
        while not all(each.done() for each in long_requests):
            queued_runs.append(pipeline.admission.wait_estimator.queued_runs)
            time.sleep(0.001)
        responses = [each.result() for each in long_requests]

    assert [200, 200] == [response.status_code for response in responses]
    assert max(queued_runs) == 2


def test_other_requests_are_served_while_a_request_of_many_pictures_runs(live_u2netp: Live) -> None:
    document, raw = binary_request(np.repeat(TENSOR, 9, axis=0))
    runs = live_u2netp.service.ready_pipeline().admission.wait_estimator
    with ThreadPoolExecutor(1) as clients:
        long_request = clients.submit(post, live_u2netp, document, raw)
        while runs.turns_of_others(9) < 8 and not long_request.done():
            time.sleep(0.001)
        mask = live_u2netp.client.post("/v1/mask", content=png(PICTURE), params={"size": "network"})
        is_done = long_request.done()
        response = long_request.result()

    assert (200, 200) == (mask.status_code, response.status_code)
    assert not is_done


def test_many_pictures_that_cannot_all_run_in_time_are_refused_at_once(live_u2netp: Live) -> None:
    document, raw = binary_request(np.repeat(TENSOR, 13, axis=0))
    response = post(live_u2netp, document, raw, **{"X-Request-Timeout-Ms": "400"})

    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert (live_u2netp.service.admission.requests, live_u2netp.service.admission.memory_bytes) == (0, 0)


@pytest.mark.parametrize("indent", [None, 0])
def test_nested_numbers_give_the_same_result_as_flat_ones(live: Live, indent: int | None) -> None:
    nested = json_request(TENSOR)
    nested["inputs"][0]["data"] = TENSOR.tolist()  # type: ignore[index] # a list of one dictionary
    (flat,) = post(live, json_request(TENSOR)).json()["outputs"]
    response = live.client.post(URL, content=json.dumps(nested, indent=indent).encode())

    assert response.status_code == 200
    assert np.abs(np.subtract(response.json()["outputs"][0]["data"], flat["data"])).max() <= 1e-5


@pytest.mark.parametrize("parameters", [{"data": ["a"]}, {"data": [0.5]}, {"data": {"data": [1, "b"]}}])
def test_other_members_named_data_may_have_any_value(live: Live, parameters: dict[str, object]) -> None:
    assert post(live, json_request(TENSOR, parameters=parameters)).status_code == 200
