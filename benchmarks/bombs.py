"""Bombs: how fast, and with how much memory, does the server refuse small files that are large to decode?

    python -m benchmarks.bombs [--rounds 5] [--at-once 8]

Each bomb of ``tests/bombs.py`` is first sent alone, several times; the slowest response counts. Then all
bombs are sent in rounds, some at once, and the growth of the server's memory at its peak is measured. Because
uploads take memory themselves, junk of the same sizes is sent in the same order before, for comparison.
"""

import argparse
import asyncio
import random

from benchmarks.client import Client, Shot
from benchmarks.hostile import send, shot_of
from benchmarks.load import Result, fire
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments
from tests.bombs import bombs
from tests.pictures import jpeg, photo

WARM_UPS = 40


def main() -> None:
    """Print the refusals of each bomb, and the figures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=8)
    args = parser.parse_args()
    print_machine()
    uploads = bombs()
    with Server(args.model, args.models_dir) as server:
        print_figures(asyncio.run(_measure(server, uploads, args)))


async def _measure(server: Server, uploads: dict[str, bytes], args: argparse.Namespace) -> list[Figure]:
    ordinary = shot_of(jpeg(photo(900, 1200)), "raw")  # the first pictures allocate memory that is kept
    await send(server, [ordinary] * WARM_UPS, args.at_once)
    alone = [await _send_alone(server, shot_of(upload, "raw"), args.rounds) for upload in uploads.values()]
    slowest = dict(zip(uploads, alone, strict=True))
    print_table(
        ("bomb", "bytes", "status", "slowest of " + str(args.rounds)),
        [
            (name, str(len(uploads[name])), str(result.status), f"{result.latency_s * 1e3:.0f} ms")
            for name, result in slowest.items()
        ],
    )
    order = list(uploads.values()) * args.rounds
    random.Random(0).shuffle(order)
    _, junk_mib, _ = await _send_together(server, [bytes(len(upload)) for upload in order], args.at_once)
    batch, peak_mib, final_mib = await _send_together(server, order, args.at_once)
    responses = [*alone, *batch]
    return [
        Figure("bombs not refused with 4xx", sum(not 400 <= r.status < 500 for r in responses), 0),
        Figure("slowest refusal, alone", max(r.latency_s for r in alone) * 1e3, 250, " ms"),
        Figure(f"peak memory with {args.at_once} at once", peak_mib, 25, " MiB"),
        Figure("the same above junk of the same sizes", peak_mib - junk_mib, 25, " MiB"),
        Figure("memory afterwards", final_mib, 25, " MiB"),
    ]


async def _send_together(
    server: Server, uploads: list[bytes], at_once: int
) -> tuple[list[Result], float, float]:
    """Send all, some at once; return the results, and the growth of memory, peak and afterwards, in MiB."""
    before = server.rss_bytes()
    server.forget_peak()
    results = await send(server, [shot_of(upload, "raw") for upload in uploads], at_once)
    return results, (server.peak_bytes() - before) / 2**20, (server.rss_bytes() - before) / 2**20


async def _send_alone(server: Server, shot: Shot, rounds: int) -> Result:
    client = Client(server.host, server.port)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    results = [await fire(client, shot, started_s, intended_s=loop.time() - started_s) for _ in range(rounds)]
    await client.close()
    return max(results, key=lambda result: result.latency_s)


if __name__ == "__main__":
    main()
