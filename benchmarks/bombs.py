"""Bombs: files that are little to send and much to decode; how soon is each refused, and at what cost?

    python -m benchmarks.bombs [--rounds 5] [--at-once 8]

Each of the bombs of ``tests/bombs.py`` goes alone first, several times; the slowest counts. Then all go in
rounds, some at once, and the memory of the server is looked at: what it holds above its start at its peak.
Uploads are memory themselves, so junk of the same sizes in the same order goes before, to compare with.
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
    """Print what came back."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=8)
    args = parser.parse_args()
    print_machine()
    made = bombs()
    with Server(args.model, args.models_dir) as server:
        print_figures(asyncio.run(_throw(server, made, args)))


async def _throw(server: Server, made: dict[str, bytes], args: argparse.Namespace) -> list[Figure]:
    ordinary = shot_of(jpeg(photo(900, 1200)), "raw")  # a first picture takes memory that stays
    await send(server, [ordinary] * WARM_UPS, args.at_once)
    alone = [await _alone(server, shot_of(upload, "raw"), args.rounds) for upload in made.values()]
    slowest = dict(zip(made, alone, strict=True))
    print_table(
        ("bomb", "bytes", "status", "slowest of " + str(args.rounds)),
        [
            (name, str(len(made[name])), str(result.status), f"{result.latency_s * 1e3:.0f} ms")
            for name, result in slowest.items()
        ],
    )
    order = list(made.values()) * args.rounds
    random.Random(0).shuffle(order)
    _, junk_mib, _ = await _together(server, [bytes(len(upload)) for upload in order], args.at_once)
    together, peak_mib, held_mib = await _together(server, order, args.at_once)
    responses = [*alone, *together]
    return [
        Figure("bombs not refused with 4xx", sum(not 400 <= r.status < 500 for r in responses), 0),
        Figure("slowest refusal, alone", max(r.latency_s for r in alone) * 1e3, 250, " ms"),
        Figure(f"peak memory with {args.at_once} at once", peak_mib, 25, " MiB"),
        Figure("the same above junk of the same sizes", peak_mib - junk_mib, 25, " MiB"),
        Figure("memory afterwards", held_mib, 25, " MiB"),
    ]


async def _together(server: Server, uploads: list[bytes], at_once: int) -> tuple[list[Result], float, float]:
    """Send all, some at once; return the results, and how memory grew at its peak and in the end, in MiB."""
    before = server.rss_bytes()
    server.forget_peak()
    results = await send(server, [shot_of(upload, "raw") for upload in uploads], at_once)
    return results, (server.peak_bytes() - before) / 2**20, (server.rss_bytes() - before) / 2**20


async def _alone(server: Server, shot: Shot, rounds: int) -> Result:
    client = Client(server.host, server.port)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    results = [await fire(client, shot, started_s, intended_s=loop.time() - started_s) for _ in range(rounds)]
    await client.close()
    return max(results, key=lambda result: result.latency_s)


if __name__ == "__main__":
    main()
