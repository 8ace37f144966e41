import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.engine.clock import SystemClock
from app.pipeline.context import RequestContext
from app.telemetry import StepTimes
from app.web.drain import Drain, DrainGate, Phase
from app.web.lingering import DropRate
from tests.fakes import ManualClock


@dataclass
class Peer:
    """A client that sends ``sends``, then nothing more, and records the response."""

    path: str = "/v1/mask"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    sends: tuple[bytes, ...] = (b"whole",)
    is_stalled: bool = False
    messages: list[Message] = field(default_factory=list)

    def scope(self) -> Scope:
        context = RequestContext(StepTimes(ManualClock()), 0.0)
        return {
            "type": "http", "method": "POST", "path": self.path, "headers": list(self.headers),
            "state": {"context": context},
        }  # fmt: skip

    async def receive(self) -> Message:
        if not self.sends:
            await asyncio.Event().wait()
        chunk, self.sends = self.sends[0], self.sends[1:]
        return {"type": "http.request", "body": chunk, "more_body": bool(self.sends) or self.is_stalled}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def response_headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


def served(peer: Peer, drain: Drain, *, app: Callable[..., Awaitable[None]] = echo) -> Peer:
    asyncio.run(
        DrainGate(app, drain=drain, renderers={}, rate=DropRate(SystemClock()))(
            peer.scope(), peer.receive, peer.send
        )
    )
    return peer


def drain_at(phase: Phase) -> Drain:
    clock = ManualClock()
    drain = Drain(clock, delay_s=5, timeout_s=30)
    if phase is not Phase.SERVING:
        drain.begin()
    if phase is Phase.REFUSING:
        clock.advance(5)
    return drain


def test_the_phases_of_a_drain_are_serving_leaving_and_refusing() -> None:
    clock = ManualClock()
    drain = Drain(clock, delay_s=5, timeout_s=30)
    phases = [drain.phase]
    drain.begin()
    for seconds in (0, 4.9, 0.1, 100):
        clock.advance(seconds)
        phases.append(drain.phase)

    assert phases == [Phase.SERVING, Phase.LEAVING, Phase.LEAVING, Phase.REFUSING, Phase.REFUSING]


def test_an_idle_drain_is_over_after_the_delay_and_not_before() -> None:
    clock = ManualClock()
    drain = Drain(clock, delay_s=5, timeout_s=30)
    drain.begin()
    clock.advance(4.9)
    before = drain.is_over()
    clock.advance(0.1)

    assert (before, drain.is_over()) == (False, True)


def test_the_delay_can_be_skipped_and_a_second_begin_changes_nothing() -> None:
    drain = Drain(ManualClock(), delay_s=5, timeout_s=30)
    drain.begin(skips_delay=True)
    drain.begin()

    assert drain.phase is Phase.REFUSING


def test_a_request_in_flight_extends_the_drain_until_its_time_limit() -> None:
    async def wait() -> list[bool]:
        clock = ManualClock()
        drain = Drain(clock, delay_s=5, timeout_s=30)
        task = asyncio.create_task(asyncio.sleep(0))
        drain.begin()
        clock.advance(5)
        observed = []
        with drain.tracking(task):
            observed.append(drain.is_over())
            clock.advance(29.9)
            observed.append(drain.is_over())
            clock.advance(0.2)
            observed.append(drain.is_over())
        return observed

    assert asyncio.run(wait()) == [False, False, True]


def test_a_drain_that_has_not_begun_is_never_over() -> None:
    drain = drain_at(Phase.SERVING)

    assert not drain.is_over()
    assert drain.remaining_s() == float("inf")


def test_a_serving_server_keeps_connections_open() -> None:
    peer = served(Peer(), drain_at(Phase.SERVING))

    assert (peer.status, b"connection" in peer.response_headers) == (200, False)


def test_a_leaving_server_serves_and_closes_the_connection() -> None:
    peer = served(Peer(), drain_at(Phase.LEAVING))

    assert (peer.status, peer.response_headers[b"connection"]) == (200, b"close")


def test_a_response_in_progress_at_the_signal_closes_the_connection() -> None:
    drain = drain_at(Phase.SERVING)

    async def app_with_signal(scope: Scope, receive: Receive, send: Send) -> None:
        drain.begin()
        await echo(scope, receive, send)

    assert served(Peer(), drain, app=app_with_signal).response_headers[b"connection"] == b"close"


@pytest.mark.parametrize("headers", [(), ((b"expect", b"100-continue"),)])
def test_a_refusing_server_responds_with_a_problem(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    peer = served(Peer(headers=headers), drain_at(Phase.REFUSING))

    assert (
        peer.status,
        peer.response_headers[b"connection"],
        int(peer.response_headers[b"retry-after"]) > 0,
    ) == (
        503,
        b"close",
        True,
    )
    assert json.loads(peer.messages[1]["body"])["type"] == "/problems/not-ready"


def test_a_refused_upload_is_read_to_its_end_so_that_the_response_arrives() -> None:
    headers = ((b"content-length", b"3"),)
    peer = served(Peer(headers=headers, sends=(b"a", b"b", b"c")), drain_at(Phase.REFUSING))

    assert (peer.status, peer.sends) == (503, ())


def test_a_client_that_expects_100_continue_is_refused_without_reading() -> None:
    peer = served(Peer(headers=((b"expect", b"100-continue"),)), drain_at(Phase.REFUSING))

    assert peer.sends == (b"whole",)


@pytest.mark.parametrize("proxy", [b"via", b"x-forwarded-for", b"forwarded"])
def test_the_upload_of_a_proxy_that_passes_on_expect_is_read_to_its_end(proxy: bytes) -> None:
    """Caddy sends the body at once, and resets its client if the response comes before the body's end."""
    headers = ((b"content-length", b"3"), (b"expect", b"100-continue"), (proxy, b"1"))
    peer = served(Peer(headers=headers, sends=(b"a", b"b", b"c")), drain_at(Phase.REFUSING))

    assert (peer.status, peer.sends) == (503, ())


def test_a_refused_client_that_never_finishes_sending_gets_a_response_at_exit() -> None:
    async def stall() -> Peer:
        peer = Peer(is_stalled=True)
        drain_gate = DrainGate(
            echo, drain=drain_at(Phase.REFUSING), renderers={}, rate=DropRate(SystemClock())
        )
        request = asyncio.create_task(drain_gate(peer.scope(), peer.receive, peer.send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        request.cancel()
        await request
        return peer

    assert asyncio.run(stall()).status == 503


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/startupz"])
def test_probes_are_served_in_every_phase(path: str) -> None:
    assert served(Peer(path=path), drain_at(Phase.REFUSING)).status == 200


def test_a_request_in_flight_at_the_time_limit_is_cancelled_with_a_503() -> None:
    async def stall() -> tuple[int, int, Peer]:
        clock = ManualClock()
        drain = Drain(clock, delay_s=5, timeout_s=30)
        peer = Peer(is_stalled=True)
        drain_gate = DrainGate(echo, drain=drain, renderers={}, rate=DropRate(SystemClock()))
        request = asyncio.create_task(drain_gate(peer.scope(), peer.receive, peer.send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        drain.begin()
        clock.advance(35.1)
        before = drain.in_flight
        lost = drain.abandon()
        await request
        return before + drain.in_flight, lost, peer

    in_flight, lost, peer = asyncio.run(stall())

    assert (in_flight, lost) == (1, 1)
    assert (peer.status, peer.response_headers[b"connection"]) == (503, b"close")


def test_a_cancellation_before_the_end_of_the_drain_is_not_swallowed() -> None:
    async def cancel() -> None:
        peer = Peer(is_stalled=True)
        drain_gate = DrainGate(
            echo, drain=drain_at(Phase.SERVING), renderers={}, rate=DropRate(SystemClock())
        )
        request = asyncio.create_task(drain_gate(peer.scope(), peer.receive, peer.send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        request.cancel()
        await request

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
