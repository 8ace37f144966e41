"""Commits: two checkouts of the project against each other, in turns, on the same machine.

    python -m benchmarks.commits BEFORE AFTER [--model u2netp] [--seconds 8] [--rounds 5] [--parts gpu]

BEFORE and AFTER are folders, for example ``git worktree add ../before v1.0``. Both servers run all the time,
and short rounds of requests alternate between them, with the order reversed in every other round, so that
another program on the machine slows down both. The median of the rounds' ratios counts.

floor  ``benchmarks.noop`` of each checkout, a 64 × 64 JPEG: all that a request costs but for pixels.
gpu    The same with a network that takes 2 ms a run, and a picture of 1 megapixel: the pace of a GPU.
1mp    The real network, 1 megapixel, ``/v1/mask``.
12mp   The real network, 12 megapixels, ``/v1/cutout``.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.client import Client, Shot
from benchmarks.engine import padded_jpeg
from benchmarks.load import Result, closed_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import print_machine, print_table
from benchmarks.server import Server, add_server_arguments

WARM_S = 1.5
GPU_RUN_MS = "2"
FIGURES = ("requests/s", "p50", "p99", "CPU/request")
"""The last is the server's CPU time, on which other programs have the least influence."""
_START = "import sys; from app.cli import main; sys.exit(main())"  # of a checkout, not the installed one
SERVE_COMMAND = (sys.executable, "-c", _START, "serve", "--host", "127.0.0.1", "--port", "0")
"""Serves the checkout that is the current folder."""


def main() -> None:
    """Print a table of ratios for each part."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4, help="requests in flight")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    print_machine()
    for part in args.parts:
        noop, shot = PARTS[part]
        settings = {"CUTOUT_MODELS": args.model, "CUTOUT_WEB__PORT": "0"}
        with ExitStack() as stack:
            servers = [
                stack.enter_context(
                    Server(args.model, args.models_dir, settings, command=_command(noop), root=root.resolve())
                )
                for root in (args.before, args.after)
            ]
            rounds = asyncio.run(_compare(servers, shot, args.clients, args.rounds, args.seconds))
        _print(part, rounds)


def _command(noop: Sequence[str]) -> tuple[str, ...]:
    if noop:
        return (sys.executable, "-m", "benchmarks.noop", *noop[1:])
    return SERVE_COMMAND


async def _compare(
    servers: Sequence[Server], shot: Shot, clients: int, rounds: int, seconds: float
) -> list[tuple[list[float], list[float]]]:
    """Return the figures of each round, before and after."""
    measured = []
    for number in range(-1, rounds):
        figures: dict[int, list[float]] = {}
        for index in (0, 1) if number % 2 else (1, 0):
            server = servers[index]
            client = Client(server.host, server.port)
            length_s = WARM_S if number < 0 else seconds
            begin_s = server.cpu_s()
            results = await closed_loop(client, lambda _: shot, clients=clients, seconds=length_s)
            cpu_s = server.cpu_s() - begin_s
            await client.close()
            figures[index] = [*_figures(results, length_s), 1e3 * cpu_s / len(results)]
        if number >= 0:  # the first round warms up
            measured.append((figures[0], figures[1]))
    return measured


def _figures(results: Sequence[Result], seconds: float) -> list[float]:
    failed = [result for result in results if result.status != 200]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(results)} requests failed: {failed[0]}")
    latencies_s = [result.latency_s for result in results]
    rate = rate_of(results, begin_s=0.0, end_s=seconds)
    return [rate, *(1e3 * percentile(latencies_s, percent) for percent in (50, 99))]


def _print(part: str, rounds: Sequence[tuple[list[float], list[float]]]) -> None:
    print(f"\n## {part}\n")
    rows = []
    for index, name in enumerate(FIGURES):
        before = statistics.median(each[0][index] for each in rounds)
        after = statistics.median(each[1][index] for each in rounds)
        ratios = [each[1][index] / each[0][index] for each in rounds]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        unit = "" if index == 0 else " ms"
        median = f"{statistics.median(ratios):.3f}"
        rows.append((name, f"{before:.1f}{unit}", f"{after:.1f}{unit}", median, spread))
    print_table(("Figure", "Before", "After", "After : before (median)", "Spread"), rows)


_SMALL = Shot("/v1/mask", padded_jpeg(10_000))
PARTS: dict[str, tuple[tuple[str, ...], Shot]] = {
    "floor": (("noop",), _SMALL),
    "gpu": (("noop", "--run-ms", GPU_RUN_MS), Shot("/v1/mask", jpeg_photo(1.0))),
    "1mp": ((), Shot("/v1/mask", jpeg_photo(1.0))),
    "12mp": ((), Shot("/v1/cutout", jpeg_photo(12.0))),
}

if __name__ == "__main__":
    main()
