"""Precision: what the settings choose, in a real server process."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import Server
from tests.networks import add_redness_precision, redness_model
from tests.pictures import jpeg, photo

pytestmark = pytest.mark.journey
Serve = Callable[..., Server]
UPLOAD = jpeg(photo(60, 80))


@pytest.fixture(scope="module")
def served_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in two precisions, whose maps differ more than its manifest says."""
    folder = tmp_path_factory.mktemp("models")
    add_redness_precision(redness_model(folder, "u2netp"), full=200.0)
    return folder


def test_servers_in_two_precisions_give_their_results_other_entity_tags(serve: Serve) -> None:
    urls = [serve("--model", "u2netp", CUTOUT_PRECISION=name).url for name in ("float32", "int8", "auto")]
    responses = [httpx.post(f"{url}/v1/mask", content=UPLOAD) for url in urls]
    tags = [response.headers["etag"] for response in responses]

    assert ["float32", "int8", "float32"] == [each.headers["x-cutout-precision"] for each in responses]
    assert tags[0] == tags[2] != tags[1]
    assert responses[0].content == responses[2].content != responses[1].content


def test_a_precision_without_a_file_stops_the_start(serve: Serve) -> None:
    server = serve("--model", "u2netp", CUTOUT_PRECISION="fp16")

    assert 3 == server.process.wait(60)
    reason = "no fp16 file in the manifest of u2netp, but CUTOUT_PRECISION=fp16"
    assert reason in "".join(server.stderr)


def test_a_damaged_graph_stops_the_start_with_auto(serve: Serve, tmp_path: Path) -> None:
    target = redness_model(tmp_path, "u2netp")
    add_redness_precision(target)
    (target / "model.int8.onnx").write_bytes(b"damaged")
    server = serve("--model", "u2netp", models=tmp_path, CUTOUT_PRECISION="auto")

    assert 3 == server.process.wait(60)
    assert "model.int8.onnx is not the file its manifest names" in "".join(server.stderr)
