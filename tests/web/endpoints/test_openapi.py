import json
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from app.options import CutoutOptions, MaskOptions
from app.web.endpoints.openapi_batch import describe_batch
from app.web.problems import MEDIA_TYPE
from tests.web.conftest import Live


def test_the_document_is_valid_openapi(live: Live) -> None:
    document = live.client.get("/openapi.json").json()

    assert [] == list(OpenAPIV31SpecValidator(document).iter_errors())


def test_every_option_is_a_documented_parameter(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    for path, options in (("/v1/mask", MaskOptions), ("/v1/cutout", CutoutOptions)):
        parameters = paths[path]["post"]["parameters"]

        assert [p["name"] for p in parameters] == [*options.model_fields, "Idempotency-Key"]
        assert all(parameter["description"] for parameter in parameters)


def test_every_option_of_a_batch_is_documented() -> None:
    described = describe_batch()
    parameters = {parameter["name"] for parameter in described["parameters"]}
    fields = set(described["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])
    options = {*MaskOptions.model_fields, *CutoutOptions.model_fields}
    page = (Path(__file__).parents[3] / "docs" / "batch.md").read_text()

    assert parameters == options | {"items", "skip", "Idempotency-Key"}
    assert fields == options | {"items", "skip", "options", "image", "pictures"}
    assert all(f"`{name}`" in page for name in fields - options)


def test_every_format_of_a_result_is_documented_at_its_endpoint(live: Live) -> None:
    paths = live.client.get("/openapi.json").json()["paths"]
    pictures = {"image/png", "image/webp", "image/jpeg", "image/avif"}
    for path, additional in (("/v1/mask", set()), ("/v1/cutout", {"application/zip", "multipart/form-data"})):
        content = paths[path]["post"]["responses"]["200"]["content"]

        assert pictures | additional | {"application/json"} == set(content)


def test_failures_are_documented_with_examples(live: Live) -> None:
    responses = live.client.get("/openapi.json").json()["paths"]["/v1/cutout"]["post"]["responses"]

    assert {"400", "408", "413", "415", "422", "500", "503", "504"} <= set(responses)
    for status in set(responses) - {"200"}:
        assert responses[status]["content"][MEDIA_TYPE]["examples"], status


def test_the_json_example_is_a_valid_request(live: Live) -> None:
    operation = live.client.get("/openapi.json").json()["paths"]["/v1/cutout"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    response = live.client.post(
        "/v1/cutout", content=json.dumps(example), headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 200
