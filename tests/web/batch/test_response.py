"""Whole batches within this process: limits, shutdown, and what is held at the end."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from app.main import create_app
from app.pipeline.build import open_pipeline
from app.settings import Settings
from app.web.service import Service
from tests.pictures import jpeg, photo
from tests.web.conftest import settings_with

PICTURE = jpeg(photo(40, 60))


def packed(names: list[str], content: bytes = PICTURE) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as bundle:
        for name in names:
            bundle.writestr(name, content)
    return target.getvalue()


class InProcess:
    """A service without sockets; ``post`` sends one batch and returns its lines."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.service: Service = self.app.state.service
        self.service.pipeline = open_pipeline(settings, self.service.telemetry)

    async def respond(self, body: bytes | AsyncIterator[bytes], path: str = "/v1/batch") -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            return await client.post(path, content=body, headers={"Accept": "application/x-ndjson"})

    def post(self, body: bytes | AsyncIterator[bytes], path: str = "/v1/batch") -> list[dict[str, object]]:
        response = asyncio.run(self.respond(body, path))
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def close(self) -> None:
        assert self.service.pipeline is not None
        self.service.pipeline.close()

    def is_free(self) -> bool:
        admission, batches = self.service.admission, self.service.batches
        held = admission.requests, admission.upload_bytes, admission.memory_bytes, admission.pixels
        return not any((*held, batches.batches, batches.pictures))


@pytest.fixture(scope="module")
def start(models_dir: Path) -> Iterator[Callable[..., InProcess]]:
    """Starts a service with some limits, and closes it at the end."""
    started: list[InProcess] = []

    def start_one(*, cache_bytes: int = 0, **limits: object) -> InProcess:
        settings = settings_with(models_dir, cache_bytes=cache_bytes)
        changed = {"limits": settings.limits.model_copy(update=limits)}
        started.append(InProcess(settings.model_copy(update=changed)))
        return started[-1]

    yield start_one
    for each in started:
        each.close()


@pytest.fixture(scope="module")
def server(start: Callable[..., InProcess]) -> InProcess:
    return start(batch_items=5, batch_bytes=60_000)


def statuses(lines: list[dict[str, object]]) -> list[object]:
    return sorted(str(line["status"]) for line in lines[:-1])


def problem_of(lines: list[dict[str, object]]) -> str:
    batch = lines[-1]["batch"]
    assert isinstance(batch, dict)
    return str(batch["problem"]["type"])


def test_the_pictures_before_one_too_many_are_processed(server: InProcess) -> None:
    lines = server.post(packed([f"{i}.jpg" for i in range(7)]))

    assert ["200"] * 5 == statuses(lines)
    assert problem_of(lines) == "/problems/too-many-pictures"
    assert server.is_free()


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    """Send a body without a declared length."""
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


def test_the_pictures_before_the_limit_of_the_body_are_processed(server: InProcess) -> None:
    large = PICTURE + bytes(40_000)
    lines = server.post(pieces(packed(["a.jpg", "b.jpg"], large)))

    assert ["200", "413"] == statuses(lines)
    assert problem_of(lines) == "/problems/upload-too-large"


def test_a_body_that_is_declared_too_large_is_refused_at_once(server: InProcess) -> None:
    response = asyncio.run(server.respond(bytes(60_001)))

    assert (response.status_code, server.is_free()) == (413, True)


def test_a_stopping_server_processes_what_it_has_begun_and_reports_the_rest(
    start: Callable[..., InProcess],
) -> None:
    server = start()

    async def body() -> AsyncIterator[bytes]:
        whole = packed(["a.jpg", "b.jpg"])
        middle = whole.index(b"b.jpg") - 30
        yield whole[:middle]
        server.service.drain.begin(skips_delay=True)
        yield whole[middle:]

    lines = server.post(body())

    assert ["200"] == statuses(lines)
    assert problem_of(lines) == "/problems/not-ready"
    assert server.is_free()


def test_a_batch_ends_at_its_deadline(start: Callable[..., InProcess]) -> None:
    server = start(batch_deadline_s=0.5)

    async def body() -> AsyncIterator[bytes]:
        whole = packed(["a.jpg", "b.jpg"])
        middle = whole.index(b"b.jpg") - 30
        yield whole[:middle]
        await asyncio.sleep(0.6)
        yield whole[middle:]

    lines = server.post(body())

    assert ["200"] == statuses(lines)
    assert problem_of(lines) == "/problems/deadline-exceeded"


def test_one_batch_too_many_is_refused_with_a_time_to_try_again(server: InProcess) -> None:
    limit = server.service.settings.limits.batches

    async def run() -> httpx.Response:
        for _ in range(limit):
            server.service.batches.batches += 1
        try:
            return await server.respond(packed(["a.jpg"]))
        finally:
            server.service.batches.batches -= limit

    response = asyncio.run(run())
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")


def test_a_picture_waits_for_the_uploads_of_others(start: Callable[..., InProcess]) -> None:
    server = start()
    admission = server.service.admission

    async def run() -> httpx.Response:
        others = admission.enter()
        others.hold_bytes(admission.budget.upload_bytes)
        responding = asyncio.create_task(server.respond(packed(["a.jpg"])))
        await asyncio.sleep(0.2)
        assert not responding.done()
        others.release()
        return await responding

    response = asyncio.run(run())
    assert json.loads(response.text.splitlines()[0])["status"] == 200
    assert server.is_free()


def test_a_form_whose_fields_follow_its_pictures_is_refused_from_there_on(server: InProcess) -> None:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            files = [("image", ("a.jpg", PICTURE)), ("crop", (None, b"true"))]
            accept = {"Accept": "application/x-ndjson"}
            return await client.post("/v1/batch", files=files, headers=accept)

    lines = [json.loads(line) for line in asyncio.run(run()).text.splitlines()]
    assert ["200"] == statuses(lines)
    assert problem_of(lines) == "/problems/malformed-request"


def test_a_link_in_an_archive_is_no_picture(server: InProcess) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as bundle:
        bundle.writestr(link, "/etc/passwd")
    lines = server.post(target.getvalue())

    assert ["415"] == statuses(lines)


def test_the_cache_serves_pictures_of_batches(start: Callable[..., InProcess]) -> None:
    server = start(cache_bytes=10**6)
    first, again = (server.post(packed(["a.jpg"]))[0] for _ in range(2))

    assert first["image"] == again["image"]
    assert "infer" not in dict(again["steps_ms"])  # type: ignore[call-overload]


def test_a_client_that_leaves_after_its_body_ends_the_work(start: Callable[..., InProcess]) -> None:
    server = start()
    messages = [
        {"type": "http.request", "body": packed([f"{i}.jpg" for i in range(50)]), "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def run() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/batch",
            "raw_path": b"/v1/batch",
            "query_string": b"",
            "headers": [],
            "client": None,
            "server": None,
            "root_path": "",
            "http_version": "1.1",
            "scheme": "http",
        }
        await server.app(scope, receive, send)  # type: ignore[arg-type]
        for _ in range(100):
            if server.is_free():
                return
            await asyncio.sleep(0.05)

    asyncio.run(run())
    assert server.is_free()
    assert all(message.get("more_body", True) for message in sent)
