import asyncio
import socket
import time

import pytest
from starlette.requests import Request

from app.web.disconnect import LOST_KEY, cancel_on_disconnect, wait_for_loss
from app.web.problems import ClientDisconnected
from tests.pictures import jpeg, photo
from tests.web.conftest import Live


def request_with(*messages: dict[str, str]) -> Request:
    """Build a request whose client sends ``messages``, then nothing more."""
    waiting = list(messages)

    async def receive() -> dict[str, str]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return Request({"type": "http", "headers": []}, receive)


def test_work_is_cancelled_when_the_client_disconnects() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def run() -> None:
        async with cancel_on_disconnect(request_with({"type": "http.disconnect"})):
            await work()

    with pytest.raises(ClientDisconnected):
        asyncio.run(run())
    assert ended == ["cancelled"]


def test_results_and_errors_pass_through() -> None:
    async def respond() -> int:
        async with cancel_on_disconnect(request_with()):
            return 7

    async def fail() -> int:
        async with cancel_on_disconnect(request_with()):
            raise LookupError("as raised")

    assert asyncio.run(respond()) == 7
    with pytest.raises(LookupError, match="as raised"):
        asyncio.run(fail())


def test_the_loss_of_a_connection_is_noticed_without_reading() -> None:
    async def run() -> None:
        request = request_with()
        lost = request.scope["state"] = {LOST_KEY: asyncio.Event()}
        lost[LOST_KEY].set()
        await wait_for_loss(request)

    with pytest.raises(ClientDisconnected):
        asyncio.run(run())


def test_a_disconnect_is_counted_once_and_releases_the_permit(live: Live) -> None:
    upload = jpeg(photo(3000, 4000))  # a small one may be finished before the disconnect is known
    registry = live.service.telemetry.registry

    def disconnected() -> float:
        outcome = {"endpoint": "/v1/mask", "outcome": "client-disconnected"}
        counts = (
            registry.get_sample_value("cutout_requests_total", outcome | {"model": model})
            for model in ("u2netp", "none")
        )
        return sum(count or 0 for count in counts)

    before = disconnected()
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", live.port)) as client:
            head = f"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: {len(upload)}\r\n\r\n"
            client.sendall(head.encode() + upload)
    give_up_at_s = time.monotonic() + 120
    admission = live.service.admission  # a running step keeps its part of the permit until it ends
    while (disconnected() < before + 3 or admission.requests) and time.monotonic() < give_up_at_s:
        time.sleep(0.02)

    assert disconnected() == before + 3
    assert (admission.requests, admission.pixels, admission.memory_bytes) == (0, 0, 0)


def test_a_disconnect_during_the_upload_releases_the_permit(live: Live) -> None:
    with socket.create_connection(("127.0.0.1", live.port)) as client:
        client.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    give_up_at_s = time.monotonic() + 120
    while live.service.admission.requests and time.monotonic() < give_up_at_s:
        time.sleep(0.02)

    assert live.service.admission.requests == live.service.admission.upload_bytes == 0
