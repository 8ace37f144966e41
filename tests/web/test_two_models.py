"""Two models in one process: memory for one of them, and what the list of models says."""

from pathlib import Path

import pytest

from tests.networks import redness_model
from tests.pictures import jpeg, photo
from tests.web.conftest import serving, settings_with

UPLOAD = jpeg(photo(120, 160))


@pytest.mark.process
def test_memory_for_one_model_refuses_the_other_with_a_clear_problem(tmp_path: Path) -> None:
    redness_model(tmp_path, "u2netp")
    redness_model(tmp_path, "large", side=2048)
    with serving(settings_with(tmp_path, engine={"models_bytes": 64 * 2**20})) as live:
        refused = [live.client.post("/v1/mask?model=large", content=UPLOAD) for _ in range(2)]
        served = live.client.post("/v1/mask", content=UPLOAD)
        models = live.client.get("/v1/models").json()["models"]

    problems = [response.json() for response in refused]
    assert {(response.status_code, served.status_code) for response in refused} == {(422, 200)}
    assert {problem["type"] for problem in problems} == {"/problems/model-too-large"}
    assert problems[0]["model"] == "large"
    assert problems[0]["needed_bytes"] > problems[0]["limit_bytes"] > 0
    assert [model["name"] for model in models] == ["u2netp"]


@pytest.mark.process
def test_the_list_of_models_says_how_fast_each_is_here_and_what_it_takes(tmp_path: Path) -> None:
    redness_model(tmp_path, "u2netp")
    with serving(settings_with(tmp_path)) as live:
        (model,) = live.client.get("/v1/models").json()["models"]

    assert model["run_ms"]["1"] > 0
    assert model["memory_bytes"] > 0


@pytest.mark.process
def test_a_batch_uses_the_model_that_it_names(tmp_path: Path) -> None:
    redness_model(tmp_path, "u2netp")
    redness_model(tmp_path, "other")
    with serving(settings_with(tmp_path)) as live:
        accept = {"Accept": "application/x-ndjson"}
        sent = live.client.post("/v1/batch?model=other", files={"image": ("a.jpg", UPLOAD)}, headers=accept)

    assert '"model": "other"' in sent.text or '"model":"other"' in sent.text
