import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from app.engine.clock import SystemClock
from app.errors import NotReady, UploadTooLarge, UploadTooSlow
from app.imaging.progress import no_check
from app.web.batch.reading import BodyReader
from app.web.problems import ClientDisconnected


def reader(
    bodies: Sequence[bytes], *, limit: int = 100, timeout_s: float = 5, pause_s: float = 0
) -> BodyReader:
    """Read a body that arrives in pieces, with a pause before each; the last piece is the end."""
    waiting = list(bodies)

    async def receive() -> dict[str, object]:
        await asyncio.sleep(pause_s)
        if not waiting:
            return {"type": "http.disconnect"}
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": body != b"end"}

    request = Request({"type": "http", "headers": []}, receive)  # type: ignore[arg-type]
    return BodyReader(request, SystemClock(), limit_bytes=limit, timeout_s=timeout_s)


async def read(body: BodyReader, *, work_s: float = 0) -> list[bytes]:
    chunks = []
    async for chunk in body.chunks(no_check):
        chunks.append(chunk)
        await asyncio.sleep(work_s)
    return chunks


def test_a_body_is_read_to_its_end() -> None:
    body = reader([b"a", b"", b"b", b"end"])

    assert [b"a", b"b", b"end"] == asyncio.run(read(body))
    assert (5, True) == (body.received_bytes, body.is_at_end)


def test_a_body_over_the_limit_is_not_read_further() -> None:
    with pytest.raises(UploadTooLarge):
        asyncio.run(read(reader([bytes(60), bytes(60)], limit=100)))


def test_a_disconnect_ends_the_reading() -> None:
    with pytest.raises(ClientDisconnected):
        asyncio.run(read(reader([b"a"])))


def test_a_slow_client_is_not_waited_for() -> None:
    with pytest.raises(UploadTooSlow):
        asyncio.run(read(reader([b"a"] * 9, timeout_s=0.05, pause_s=0.02)))


def test_the_time_of_the_server_does_not_count() -> None:
    body = reader([b"a", b"b", b"c", b"end"], timeout_s=0.05)

    assert len(asyncio.run(read(body, work_s=0.04))) == 4


def test_each_picture_has_the_whole_time() -> None:
    body = reader([b"a", b"b", b"c", b"end"], timeout_s=0.2, pause_s=0.08)

    async def run() -> int:
        count = 0
        async for _ in body.chunks(no_check):
            body.begin_picture()
            count += 1
        return count

    assert asyncio.run(run()) == 4


def test_a_client_that_sends_nothing_does_not_hold_up_a_server_that_is_stopping() -> None:
    is_stopping = False

    def check() -> None:
        if is_stopping:
            raise NotReady("The server is stopping.")

    async def run() -> None:
        nonlocal is_stopping
        reading = anext(reader([b"a"], timeout_s=60, pause_s=60).chunks(check))
        waiting = asyncio.ensure_future(reading)
        await asyncio.sleep(0.05)
        is_stopping = True
        async with asyncio.timeout(5):
            await waiting

    with pytest.raises(NotReady):
        asyncio.run(run())
