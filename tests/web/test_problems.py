import asyncio
import gc
import json
import re
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Message

from app import errors
from app.pipeline.context import RequestContext
from app.telemetry import StepTimes
from app.web.endpoints.dialects import RENDERERS
from app.web.problems import KINDS, PROBLEMS, ProblemWall, problem_of
from tests.fakes import ManualClock
from tests.pictures import jpeg, noise
from tests.web.conftest import Live


def leaves(kind: type[errors.CutoutError]) -> list[type[errors.CutoutError]]:
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return below or [kind]


EXAMPLES: dict[type[errors.CutoutError], errors.CutoutError] = {
    errors.MalformedRequest: errors.MalformedRequest("The body is not JSON."),
    errors.UnknownOption: errors.UnknownOption("colour\n<b>", ("model", "format")),
    errors.InvalidOption: errors.InvalidOption("quality", "integer from 1 to 100"),
    errors.ParameterRefused: errors.ParameterRefused("invalid_size", "Invalid value for size"),
    errors.RegionOutsidePicture: errors.RegionOutsidePicture(),
    errors.RegionIsEmpty: errors.RegionIsEmpty(),
    errors.UploadTooLarge: errors.UploadTooLarge(1000),
    errors.UploadTooSlow: errors.UploadTooSlow(30.0),
    errors.UnsupportedFormat: errors.UnsupportedFormat(("image/png",)),
    errors.PictureTooLarge: errors.PictureTooLarge(12000, 9000, limit_px=50_000_000, limit_side_px=16384),
    errors.ModelTooLarge: errors.ModelTooLarge("large", 2_000_000_000, 400_000_000),
    errors.RequestTooLarge: errors.RequestTooLarge(2_000_000_000, 400_000_000),
    errors.CanvasTooLarge: errors.CanvasTooLarge(9000, 9000, limit_px=50_000_000, limit_side_px=16384),
    errors.FormatExceeded: errors.FormatExceeded("webp", 17_000, 16_383),
    errors.PictureTooComplex: errors.PictureTooComplex("The JPEG has too many scans."),
    errors.Unauthorized: errors.Unauthorized(),
    errors.QuotaExceeded: errors.QuotaExceeded("requests", 60, retry_after_s=7),
    errors.NoForeground: errors.NoForeground(),
    errors.MaskDoesNotFit: errors.MaskDoesNotFit((30, 40), (300, 410)),
    errors.UrlNotAllowed: errors.UrlNotAllowed("address"),
    errors.FetchingDisabled: errors.FetchingDisabled(),
    errors.PictureNotFetched: errors.PictureNotFetched("it answers with status 404"),
    errors.SourceTimedOut: errors.SourceTimedOut(10.0),
    errors.CorruptArchive: errors.CorruptArchive("The ZIP is truncated."),
    errors.EntryRefused: errors.EntryRefused("The file has no name."),
    errors.TooManyPictures: errors.TooManyPictures(1000),
    errors.ResultsUnread: errors.ResultsUnread(16_000_000),
    errors.IdempotencyKeyReused: errors.IdempotencyKeyReused(),
    errors.RequestInProgress: errors.RequestInProgress(),
    errors.CorruptPicture: errors.CorruptPicture("The picture is truncated."),
    errors.Overloaded: errors.Overloaded("requests in flight"),
    errors.NotReady: errors.NotReady("The model is still loading."),
    errors.DeadlineExceeded: errors.DeadlineExceeded(60.0),
    errors.ModelUnavailable: errors.ModelUnavailable("u2net", "/secret/path: expected sha256 aa, found bb"),
    errors.ProviderUnavailable: errors.ProviderUnavailable("CUDA is asked for, but libcuda is missing."),
    errors.InferenceFailed: errors.InferenceFailed("The network gave numbers that are not finite."),
}


def test_every_leaf_of_the_error_tree_has_its_problem() -> None:
    tree = {leaf for leaf in leaves(errors.CutoutError) if leaf.__module__ == "app.errors"}

    assert tree == set(PROBLEMS) == set(EXAMPLES)


def test_slugs_are_unique() -> None:
    slugs = [kind.slug for kind in KINDS]

    assert sorted(set(slugs)) == sorted(slugs)


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_a_problem_response_contains_no_internal_details(error: errors.CutoutError) -> None:
    response = problem_of(error, "r-1")
    body = bytes(response.body).decode()

    assert response.media_type == "application/problem+json"
    assert f"/problems/{PROBLEMS[type(error)].slug}" in body
    assert '"instance":"urn:request:r-1"' in body
    assert not re.search(r"Traceback|secret|sha256|\.py|<b>", body)


def test_the_page_has_every_problem_with_its_status_and_members() -> None:
    page = (Path(__file__).parents[2] / "docs" / "problems.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| (\d+) \| `/problems/([\w-]+)` \| .+ \|([^|]*)\|$", page, re.MULTILINE)
    members = {slug: set(re.findall(r"`(\w+)`", names)) for _, slug, names in found}

    assert sorted((int(status), slug) for status, slug, _ in found) == sorted(
        (kind.status, kind.slug) for kind in KINDS
    )
    for error in EXAMPLES.values():
        body = json.loads(bytes(problem_of(error, "r-1").body))
        additional = set(body) - {"type", "title", "status", "detail", "instance"}
        assert members[PROBLEMS[type(error)].slug] == additional, error


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_retryable_errors_have_retry_after(error: errors.CutoutError) -> None:
    response = problem_of(error, "r-1")
    may_retry = response.status_code in (409, 429, 503) and not isinstance(error, errors.ProviderUnavailable)

    assert may_retry == ("retry-after" in response.headers)


def test_a_refused_upload_is_freed_at_once(live: Live) -> None:
    """Without the garbage collector, although errors and their frames reference each other."""
    cut = jpeg(noise((300, 400, 3)))[:-900]
    for upload in (b"x" * 200_000, cut):
        live.client.post("/v1/mask", content=upload)
        gc.collect()
        gc.disable()
        try:
            assert live.client.post("/v1/mask", content=upload).status_code in (415, 422)
            give_up_at_s = time.monotonic() + 10  # the server may still be running after the response
            while (held := _frames_that_hold(len(upload))) and time.monotonic() < give_up_at_s:
                time.sleep(0.01)
            assert held == []
        finally:
            gc.enable()


def _frames_that_hold(upload_bytes: int) -> list[str]:
    tracebacks = [each for each in gc.get_objects() if isinstance(each, types.TracebackType)]
    return [
        each.tb_frame.f_code.co_name
        for each in tracebacks
        for value in each.tb_frame.f_locals.values()
        if isinstance(value, bytes) and len(value) == upload_bytes
    ]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/mask", lambda body: body["type"] == "/problems/overloaded"),
        ("/v1.0/removebg", lambda body: body["errors"][0]["title"] == "Service unavailable"),
        ("/api/remove", lambda body: "memory" in body["detail"]),
    ],
)
def test_out_of_memory_is_reported_in_every_dialect(path: str, expected: Callable[[Any], bool]) -> None:
    async def run() -> Response:
        sent: list[Message] = []
        context = RequestContext(StepTimes(ManualClock()), 0.0, request_id="r-1")
        scope = {"type": "http", "path": path, "headers": [], "state": {"context": context}}

        async def fails(*_: object) -> None:
            raise MemoryError

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await ProblemWall(fails, renderers=RENDERERS)(scope, receive, send)
        assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
        return Response(sent[1]["body"], sent[0]["status"])

    response = asyncio.run(run())
    assert response.status_code == 503
    assert expected(json.loads(response.body))
