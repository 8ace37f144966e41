"""Measure: drives every peer by the same client with the same pictures, in interleaved rounds.

All peers run all the time, each with one model. While one of them is measured the others are stopped by a
signal, because some use a tenth of a core without a single request. In each round every case is measured once
with each peer, and the order of the peers rotates, so that a slow minute of the machine meets different ones.
A closed loop keeps a number of requests in flight; an open loop sends at random instants and counts latency
from the intended instant (``benchmarks.load``).
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.client import Shot
from benchmarks.load import Result, closed_loop, open_loop
from benchmarks.peers.process import NotStarted, PeerProcess

PATIENCE_S = 60.0
"""A request that takes this much longer than a loop is given up, and counts as an error."""
SETTLE_S = 0.5
"""The time before each measurement in which the peer wakes up."""


@dataclass(frozen=True, slots=True)
class Case:
    """A size and an operation, with ``clients`` in a closed loop or ``rate`` in an open one."""

    model: str
    operation: str
    megapixels: float
    clients: int | None = None
    rate: float | None = None

    @property
    def load(self) -> str:
        """The load in words, for tables."""
        return f"{self.clients}" if self.clients else f"{self.rate:g}/s"


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement of a case with a peer.

    ``latencies_s`` has the successful requests, ``statuses`` all of them, ``elapsed_s`` the time until the
    last response. ``cpu_s`` and ``peak_bytes`` are those of all processes of the peer.
    """

    latencies_s: tuple[float, ...] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    @property
    def throughput(self) -> float:
        """Successful requests per second until the last response; 0 if none succeeded."""
        return len(self.latencies_s) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def cpu_per_request_s(self) -> float:
        """Processor time of a successful request; NaN if none succeeded."""
        return self.cpu_s / len(self.latencies_s) if self.latencies_s else float("nan")

    @property
    def errors(self) -> int:
        """The number of requests that were not successful."""
        return sum(count for status, count in self.statuses.items() if status != "200")


def measure_round(
    processes: Sequence[PeerProcess],
    cases: Sequence[Case],
    upload_of: Callable[[Case], bytes],
    seconds: float,
    number: int,
) -> Iterator[tuple[Case, str, Round]]:
    """Yield one measurement of every case with every peer that has it; ``number`` rotates the peers.

    All peers are stopped before the first measurement, and go on after the last one.
    """
    for process in processes:
        process.pause()
    yield from _measure_cases(processes, cases, upload_of, seconds, number)
    for process in processes:
        process.resume()


def _measure_cases(
    processes: Sequence[PeerProcess],
    cases: Sequence[Case],
    upload_of: Callable[[Case], bytes],
    seconds: float,
    number: int,
) -> Iterator[tuple[Case, str, Round]]:
    for index, case in enumerate(cases):
        upload = upload_of(case)
        start = (number + index) % max(1, len(processes))
        for process in (*processes[start:], *processes[:start]):
            shot = process.peer.request(case.operation, case.model, upload)
            if shot is not None:
                process.resume()
                measured = _measure(process, case, shot, seconds, seed=number)
                process.pause()
                yield case, process.peer.name, measured


def _measure(process: PeerProcess, case: Case, shot: Shot, seconds: float, seed: int) -> Round:
    if not process.is_alive():
        return Round(statuses={process.why_ended or "the peer has exited": 1}, elapsed_s=seconds)
    time.sleep(SETTLE_S)
    process.forget_peak()
    began_cpu_s = process.cpu_s()
    results, elapsed_s = asyncio.run(_load(process, case, shot, seconds, seed))
    return Round(
        latencies_s=tuple(round(result.latency_s, 5) for result in results if result.status == 200),
        statuses=dict(Counter(result.error or str(result.status) for result in results)),
        elapsed_s=elapsed_s,
        cpu_s=max(0.0, process.cpu_s() - began_cpu_s),
        peak_bytes=process.peak_bytes,
    )


async def _load(
    process: PeerProcess, case: Case, shot: Shot, seconds: float, seed: int
) -> tuple[list[Result], float]:
    """Return the results of one loop, and the time from its start to its last response."""
    client = process.peer.client(process.host, process.port, timeout_s=seconds + PATIENCE_S)
    try:
        if case.rate:
            results = await open_loop(client, lambda _: shot, rate=case.rate, seconds=seconds, seed=seed)
        else:
            results = await closed_loop(client, lambda _: shot, clients=case.clients or 1, seconds=seconds)
    finally:
        await client.close()
    return results, max((result.ended_s for result in results), default=seconds)


def request_once(process: PeerProcess, shot: Shot) -> tuple[int, bytes, float]:
    """Send one request that is not measured; return status, body and seconds.

    Raises:
        NotStarted: The connection failed, or the response took too long.
    """

    async def send() -> tuple[int, bytes, float]:
        client = process.peer.client(process.host, process.port, timeout_s=3 * PATIENCE_S)
        began_s = time.monotonic()
        try:
            reply = await client.post(shot)
        finally:
            await client.close()
        return reply.status, reply.body, time.monotonic() - began_s

    try:
        return asyncio.run(send())
    except (OSError, TimeoutError) as error:
        raise NotStarted(
            f"its first request failed: {type(error).__name__} {error}; {process.log_tail()}"
        ) from error
