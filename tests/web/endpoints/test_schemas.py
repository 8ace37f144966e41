"""The schemas of the OpenAPI document agree with real JSON responses."""

from typing import Any

import pytest
from pydantic import BaseModel

from app.web.endpoints.openapi import RESULT
from app.web.endpoints.schemas import Alive, ModelList, PictureResult, Problem, Ready, Started, all_schemas
from tests.pictures import jpeg, photo
from tests.web.conftest import Live

IN_JSON = {"Accept": "application/json"}


@pytest.mark.parametrize(
    ("path", "model"),
    [("/livez", Alive), ("/readyz", Ready), ("/startupz", Started), ("/v1/models", ModelList)],
)
def test_a_response_matches_its_schema(live: Live, path: str, model: type[BaseModel]) -> None:
    document = live.client.get(path).json()

    assert model.model_validate(document).model_dump(mode="json") == document


@pytest.mark.parametrize("path", ["/v1/mask", "/v1/cutout", "/v1/cutout?results=cutout,mask"])
def test_a_result_matches_its_schema(live: Live, path: str) -> None:
    document = live.client.post(path, content=jpeg(photo(60, 80)), headers=IN_JSON).json()
    parsed = PictureResult.model_validate(document)

    assert parsed.model_dump(mode="json", exclude_unset=True) == document
    assert (parsed.mask is None) == ("results" not in path)


@pytest.mark.parametrize(
    ("query", "sent", "members"),
    [
        ("", b"nonsense", {"accepted"}),
        ("?nope=1", b"", {"name", "accepted"}),
        ("?quality=0", jpeg(photo(60, 80)), {"name", "accepted"}),
    ],
)
def test_a_problem_matches_its_schema(live: Live, query: str, sent: bytes, members: set[str]) -> None:
    document = live.client.post(f"/v1/mask{query}", content=sent).json()
    parsed = Problem.model_validate(document)

    assert parsed.model_dump(mode="json") == document
    assert set(parsed.model_extra or {}) == members


def test_the_example_of_a_result_matches_its_schema() -> None:
    assert PictureResult.model_validate(RESULT).model_dump(mode="json", exclude_unset=True) == RESULT


def references(of: Any) -> set[str]:
    """Return the names of all schemas that a document refers to."""
    if isinstance(of, dict):
        named = {of["$ref"].rpartition("/")[2]} if isinstance(of.get("$ref"), str) else set()
        return named.union(*(references(each) for each in of.values()))
    return set().union(*(references(each) for each in of)) if isinstance(of, list) else set()


def test_every_json_response_has_a_schema_and_every_schema_is_used(live: Live) -> None:
    document = live.client.get("/openapi.json").json()
    contents = [
        content
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for name, content in response.get("content", {}).items()
        if name.endswith("json")
    ]

    assert all("$ref" in content["schema"] for content in contents)
    assert references(document) == set(all_schemas()) == set(document["components"]["schemas"])
