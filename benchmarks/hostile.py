"""Hostile: sends a folder of files that break decoders, in every envelope, and checks the server.

    python -m benchmarks.hostile FOLDER [--passes 2] [--at-once 8] [--mutations 20000]

The folder has ``expected.tsv``: one line per file, with its path first and its class last (``ok``,
``ok_otherfmt``, ``too_large``, ``corrupt``, ``unidentified``). In each pass every file is sent as raw body,
as multipart and as base64 in JSON, some at once; the network (``benchmarks.noop``) does nothing, so decoding
is tested. Then files of the class ``ok`` are sent with bytes flipped, removed, repeated and overwritten at
random, from a fixed seed. Memory is the resident memory of the process after each pass.
"""

import argparse
import asyncio
import base64
import csv
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import Client, Shot
from benchmarks.load import Result, fire, percentile
from benchmarks.report import Figure, print_figures, print_machine, print_table
from benchmarks.server import Server, add_server_arguments

STATUSES = {
    "ok": {200},
    "ok_otherfmt": {200, 415},  # depending on whether the format is enabled
    "too_large": {422},
    "corrupt": {422},
    "unidentified": {415},
}
ENVELOPES = ("raw", "multipart", "base64")
BOUNDARY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@dataclass(frozen=True, slots=True)
class Sample:
    """One file and its class."""

    path: Path
    kind: str


def main() -> None:
    """Print statuses, unexpected responses and figures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--mutations", type=int, default=20_000)
    args = parser.parse_args()
    print_machine()
    samples = list(read_samples(args.folder))
    settings = {"CUTOUT_MODELS": args.model, "CUTOUT_WEB__PORT": "0"}
    command = (sys.executable, "-m", "benchmarks.noop")
    with Server(args.model, args.models_dir, settings, command=command) as server:
        figures = asyncio.run(_all_passes(server, samples, args))
        figures.append(Figure("the process ended", not server.is_alive(), 0))
        tracebacks = server.log_tail(lines=10**9).count("Traceback")
        figures.append(Figure("tracebacks in the log", tracebacks, 0))
    print_figures(figures)


def read_samples(folder: Path) -> Iterator[Sample]:
    """Yield the files that a folder's ``expected.tsv`` lists."""
    with (folder / "expected.tsv").open(encoding="utf-8", newline="") as lines:
        for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row and not row[0].startswith("#"):
                yield Sample(folder / row[0], row[-1])


async def _all_passes(server: Server, samples: Sequence[Sample], args: argparse.Namespace) -> list[Figure]:
    rss_bytes: list[int] = []
    results: list[tuple[Sample, str, Result]] = []
    for _ in range(args.passes):
        for envelope in ENVELOPES:
            shots = [shot_of(sample.path.read_bytes(), envelope) for sample in samples]
            responses = await send(server, shots, args.at_once)
            results += [(s, envelope, r) for s, r in zip(samples, responses, strict=True)]
        await asyncio.sleep(1)
        rss_bytes.append(server.rss_bytes())
    counts = Counter((sample.kind, result.status) for sample, _, result in results)
    print(f"## {len(samples)} files, {args.passes} times, as {', '.join(ENVELOPES)}\n")
    rows = [(kind, str(status), str(count)) for (kind, status), count in sorted(counts.items())]
    print_table(("class", "status", "responses"), rows)
    unexpected = {(s.path.name, s.kind, r.status) for s, _, r in results if r.status not in STATUSES[s.kind]}
    if unexpected:
        print_table(
            ("unexpected file", "class", "status"),
            [(name, kind, str(status)) for name, kind, status in sorted(unexpected)],
        )
    expected_count = sum(r.status in STATUSES[s.kind] for s, _, r in results)
    mutated = await send(server, list(_mutations(samples, args.mutations)), args.at_once)
    mutated_counts = Counter(result.status for result in mutated)
    print(f"{len(mutated)} mutations: {dict(sorted(mutated_counts.items()))}\n")
    responses = [result for _, _, result in results]
    return [
        Figure("responses 5xx or none", sum(_failed(r) for r in responses), 0),
        Figure(
            "responses of the expected class",
            100 * expected_count / len(responses),
            99.9,
            " %",
            is_floor=True,
        ),
        Figure("slowest response", percentile([r.latency_s for r in responses], 100), 2, " s"),
        Figure("memory, last pass above first", (rss_bytes[-1] - rss_bytes[0]) / 2**20, 16, " MiB"),
        Figure("mutations with 5xx or no response", sum(_failed(r) for r in mutated), 0),
        Figure("slowest response to a mutation", percentile([r.latency_s for r in mutated], 100), 2, " s"),
    ]


def _failed(result: Result) -> bool:
    return result.status >= 500 or result.status == 0


async def send(server: Server, shots: Sequence[Shot], at_once: int) -> list[Result]:
    """Send all, some at once; the results are in the order of the shots."""
    client = Client(server.host, server.port)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    results: dict[int, Result] = {}
    waiting = iter(enumerate(shots))

    async def send_in_turn() -> None:
        for number, shot in waiting:
            results[number] = await fire(client, shot, started_s, intended_s=loop.time() - started_s)

    await asyncio.gather(*(send_in_turn() for _ in range(at_once)))
    await client.close()
    return [results[number] for number in range(len(shots))]


def shot_of(upload: bytes, envelope: str) -> Shot:
    """Wrap an upload in an envelope."""
    if envelope == "raw":
        return Shot("/v1/cutout", upload, (("Content-Type", "application/octet-stream"),))
    if envelope == "base64":
        body = json.dumps({"image": base64.b64encode(upload).decode("ascii")}).encode("ascii")
        return Shot("/v1/cutout", body, (("Content-Type", "application/json"),))
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    return Shot("/v1/cutout", head + upload + f"\r\n--{BOUNDARY}--\r\n".encode(), (("Content-Type", kind),))


def _mutations(samples: Sequence[Sample], count: int) -> Iterator[Shot]:
    """Yield files of the class ``ok``, each damaged at one to eight positions."""
    rng = random.Random(0)
    valid_uploads = [sample.path.read_bytes() for sample in samples if sample.kind == "ok"]
    for _ in range(count):
        damaged = bytearray(rng.choice(valid_uploads))
        for _ in range(rng.randint(1, 8)):
            _damage(damaged, rng)
        yield shot_of(bytes(damaged), "raw")


def _damage(upload: bytearray, rng: random.Random) -> None:
    start = rng.randrange(max(1, min(len(upload), 2 ** rng.randint(3, 24))))  # more often in headers
    end = min(len(upload), start + 2 ** rng.randint(0, 6))
    kind = rng.randrange(4)
    if kind == 0 and start < len(upload):
        upload[start] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del upload[start:end]
    elif kind == 2:
        upload[start:start] = upload[start:end]
    else:
        upload[start:end] = rng.randbytes(end - start)


if __name__ == "__main__":
    main()
