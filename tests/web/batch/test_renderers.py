import asyncio
import base64
import io
import json
import zipfile

import pytest

from app.web.batch.item import SKIPPED, ItemResult
from app.web.batch.renderers import NdjsonRenderer, Renderer, ZipRenderer, renderer_for
from app.web.batch.report import Report
from tests.pictures import noise
from tests.web.batch.results import result_of

LARGE = noise((300_000,)).tobytes()
ITEMS = [
    ItemResult("f/a.jpg", 200, result_of(LARGE, "image/jpeg", b"mask"), steps_s={"decode": 0.5}),
    ItemResult("f/a.png", 200, result_of(b"second", "image/jpeg")),
    ItemResult("bad\x07", 422, problem={"type": "/problems/corrupt-picture", "status": 422}),
    ItemResult("had.jpg", SKIPPED),
    ItemResult("m.png", 200, result_of(b"grey"), is_mask=True),
]


async def render(renderer: Renderer) -> bytes:
    pieces = [bytes(piece) for item in ITEMS async for piece in renderer.item(item)]
    return b"".join([*pieces, *[bytes(piece) async for piece in renderer.end()]])


def test_a_zip_has_all_results_and_a_report() -> None:
    with zipfile.ZipFile(io.BytesIO(asyncio.run(render(ZipRenderer(Report(ignored=2)))))) as bundle:
        files = {name: bundle.read(name) for name in bundle.namelist()}
    report = json.loads(files.pop("report.json"))

    assert files == {
        "f/a-cutout.jpg": LARGE,
        "f/a-mask.png": b"mask",
        "f/a-cutout-2.jpg": b"second",
        "m-mask.png": b"grey",
    }
    first, _, bad, had, _ = report.pop("items")
    assert (first["result"], first["mask_result"], first["steps_ms"]) == (
        "f/a-cutout.jpg",
        "f/a-mask.png",
        {"decode": 500.0},
    )
    assert bad == {"name": "bad�", "status": 422, "problem": ITEMS[2].problem}
    assert had == {"name": "had.jpg", "status": 304}
    assert report == {
        "succeeded": 3,
        "failed": 1,
        "skipped": 1,
        "ignored": 2,
        "unused_names": [],
        "problem": None,
    }


def test_lines_have_the_pictures_in_base64() -> None:
    first, _, bad, _, _, last = map(json.loads, asyncio.run(render(NdjsonRenderer(Report()))).splitlines())

    assert (LARGE, b"mask") == (base64.b64decode(first["image"]), base64.b64decode(first["mask"]))
    assert first["verdict"]["label"] == "ok"
    assert bad["problem"]["status"] == 422
    assert last["batch"]["succeeded"] == 3


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", ZipRenderer),
        ("*/*", ZipRenderer),
        ("application/x-ndjson", NdjsonRenderer),
        ("application/x-ndjson, */*;q=0.1", NdjsonRenderer),
        ("application/zip, application/x-ndjson", ZipRenderer),
    ],
)
def test_the_client_chooses_lines(accept: str, kind: type[Renderer]) -> None:
    assert type(renderer_for(accept, Report())) is kind
