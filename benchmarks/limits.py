"""Limits: whether a server in a small container serves what fits, refuses the rest, and is never killed.

    docker run -d --name cutout --memory 800m -p 8000:8000 -e CUTOUT_ACCESS__OPEN=true cutout:cpu
    python -m benchmarks.limits --port 8000 --pid $(docker inspect -f '{{.State.Pid}}' cutout)

``--pid`` is the server's process in any cgroup, of v1 or v2. Sends one cutout of each size, then
``--requests`` requests of 0.3 to 48 megapixels over several paths, ``--clients`` at a time; a client with a
503 tries again after a moment. With ``--seconds`` it sends cutouts of one megapixel instead, and prints their
rate and latency: compare ``docker run --cpus`` with ``--cpuset-cpus``. In both cases prints what the kernel
counted: peak memory, processes killed for lack of it, and throttled periods. Linux only.
"""

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.client import Client, Shot
from benchmarks.load import Result, closed_loop, fire, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine, print_table

SIZES_MP = (1.0, 12.0, 24.0, 48.0)
PATHS = (
    *("/v1/cutout", "/v1/cutout?crop=true", "/v1/mask", "/v1/mask?matting=fast", "/v1/cutout?matting=none"),
    *("/v1/cutout?format=webp", "/v1/cutout?shadow=drop&background=%23ffffff", "/v1/cutout?matting=hq"),
)
MAX_TRIES, RETRY_S = 40, 0.5
EXPECTED = frozenset({200, 422, 503})


def main() -> None:
    """Print the tables."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--pid", type=int, required=True, help="process id of the server")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.0, help="time the processor instead")
    args = parser.parse_args()
    print_machine()
    before = counters(args.pid)
    client = Client(args.host, args.port, timeout_s=600)
    if args.seconds:
        asyncio.run(_time_processor(client, args.clients, args.seconds))
    else:
        asyncio.run(_fill_memory(client, args.requests, args.clients))
    after = counters(args.pid)
    periods = after["nr_periods"] - before["nr_periods"]
    throttled = (after["nr_throttled"] - before["nr_throttled"]) / max(1, periods)
    print(
        f"Memory at most {after['peak_bytes'] / 2**20:.0f} of {after['limit_bytes'] / 2**20:.0f} MiB; "
        f"throttled in {throttled:.0%} of {periods} periods.\n"
    )
    killed = after["oom_kill"] - before["oom_kill"]
    print_figures([Figure("killed for lack of memory", killed, 0)])


async def _fill_memory(client: Client, requests: int, clients: int) -> None:
    """Send one cutout of each size alone, then the mixture."""
    alone = []
    for megapixels in SIZES_MP:
        reply = await client.post(Shot("/v1/cutout", jpeg_photo(megapixels)))
        alone.append(
            (f"{megapixels:g}", str(reply.status), "" if reply.status == 200 else _detail(reply.body))
        )
    print_table(("megapixels, alone", "status", "problem"), alone)
    rng = random.Random(0)
    uploads = [(size, jpeg_photo(size)) for size in (0.3 * 160 ** (step / 11) for step in range(12))]
    shots = [(size, Shot(rng.choice(PATHS), upload)) for size, upload in rng.choices(uploads, k=requests)]
    results = await _mixture(client, shots, clients)
    await client.close()
    kinds = Counter(
        (_size_class(size), result.status) for (size, _), result in zip(shots, results, strict=True)
    )
    print_table(
        ("megapixels", "status", "requests"),
        [(name, str(status), str(count)) for (name, status), count in sorted(kinds.items())],
    )
    strange = [result.error or str(result.status) for result in results if result.status not in EXPECTED]
    print_figures([Figure("other statuses and failed connections", len(strange), 0)])
    if strange:
        print(Counter(strange))


async def _mixture(client: Client, shots: Sequence[tuple[float, Shot]], clients: int) -> list[Result]:
    """Send requests, some at a time; return the last response to each."""
    turns = asyncio.Semaphore(clients)
    loop = asyncio.get_running_loop()
    started_s = loop.time()

    async def send(shot: Shot) -> Result:
        async with turns:
            for _ in range(MAX_TRIES):
                result = await fire(client, shot, started_s, intended_s=loop.time() - started_s)
                if result.status != 503:
                    return result
                await asyncio.sleep(RETRY_S)
            return result

    return list(await asyncio.gather(*(send(shot) for _, shot in shots)))


async def _time_processor(client: Client, clients: int, seconds: float) -> None:
    shot = Shot("/v1/cutout", jpeg_photo(1.0))
    await closed_loop(client, lambda _: shot, clients=clients, seconds=3)
    results = await closed_loop(client, lambda _: shot, clients=clients, seconds=seconds)
    await client.close()
    latencies = [result.latency_s for result in results if result.status == 200]
    rate = rate_of(results, begin_s=0, end_s=seconds)
    print_table(
        ("cutouts of a megapixel a second", "p50", "p99", "other than 200"),
        [
            (
                f"{rate:.2f}",
                *(milliseconds(percentile(latencies, percent)) for percent in (50, 99)),
                str(len(results) - len(latencies)),
            )
        ],
    )


def _size_class(megapixels: float) -> str:
    return next((f"up to {size:02}" for size in (1, 12, 24) if megapixels <= size), "up to 48")


def _detail(body: bytes) -> str:
    return body.decode(errors="replace").partition('"detail":"')[2].partition('"')[0]


def counters(pid: int) -> dict[str, int]:
    """Return what the kernel counts for the cgroup of a process, as seen from outside its container."""
    found = dict.fromkeys(("nr_periods", "nr_throttled", "oom_kill", "peak_bytes", "limit_bytes"), 0)
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, group = line.split(":", 2)
        folder = Path("/sys/fs/cgroup") / names / group.lstrip("/")
        for name in ("cpu.stat", "memory.events", "memory.oom_control"):
            pairs = (row.split() for row in _text(folder / name).splitlines())
            found |= {row[0]: int(row[1]) for row in pairs if row[0] in found}
        for name, key in (
            ("memory.max_usage_in_bytes", "peak_bytes"),
            ("memory.peak", "peak_bytes"),
            ("memory.limit_in_bytes", "limit_bytes"),
            ("memory.max", "limit_bytes"),
        ):
            if (text := _text(folder / name)).isdigit():
                found[key] = int(text)
    return found


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


if __name__ == "__main__":
    main()
