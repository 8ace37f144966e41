"""Batch: what a batch of hundreds of pictures costs, and what it costs the other requests.

    python -m benchmarks.batch [--pictures 300] [--megapixels 1] [--seconds 20]

All phases use one server and the same pictures, of which a batch has three corrupt ones, a bomb and a name
that leaves its folder. Single requests at the concurrency of the batch come first, then a light load of
single requests alone, then the same load during a batch. The figures are ratios within this run.

Linux only: reads ``/proc``.
"""

import argparse
import asyncio
import io
import os
import re
import socket
import zipfile
from dataclasses import dataclass

from benchmarks.client import Client, Shot
from benchmarks.load import closed_loop, percentile, rate_of
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, milliseconds, print_figures, print_machine
from benchmarks.server import Server, add_server_arguments

CORRUPT = 3
SENT_BYTES = 16 * 1024
LINES, ZIP = "application/x-ndjson", "application/zip"
PATH = "/v1/cutout"


@dataclass(frozen=True, slots=True)
class BatchRun:
    """The outcome of one batch."""

    seconds: float
    first_result_share: float
    succeeded: int
    failed: int


def main() -> None:
    """Print the figures."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--pictures", type=int, default=300, help="pictures of a batch")
    parser.add_argument("--megapixels", type=float, default=1.0, help="size of each picture")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each single load")
    args = parser.parse_args()
    print_machine()
    uploads = [jpeg_photo(args.megapixels, seed=seed) for seed in range(8)]
    content = pack(uploads, args.pictures)
    with Server(args.model, args.models_dir) as server:
        asyncio.run(_measure(server, uploads, content, args.pictures, args.seconds))


def pack(uploads: list[bytes], count: int) -> bytes:
    """Build a ZIP of ``count`` files, five of which cannot be processed."""
    good = count - CORRUPT - 2
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:
        for index in range(good):
            bundle.writestr(f"shop/{index:04}.jpg", uploads[index % len(uploads)])
            if index == good // 2:
                for number in range(CORRUPT):
                    bundle.writestr(f"shop/corrupt-{number}.jpg", uploads[0][: len(uploads[0]) // 2])
                bundle.writestr("shop/bomb.png", bytes(30 * 2**20), zipfile.ZIP_DEFLATED)
                bundle.writestr("../evil.jpg", uploads[0])
    return target.getvalue()


async def send_batch(server: Server, content: bytes, accept: str) -> BatchRun:
    """Send a batch and read its response meanwhile."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    client = socket.socket()
    client.setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES
    )  # else it counts as sent what waits here
    client.connect((server.host, int(server.port)))
    reader, writer = await asyncio.open_connection(sock=client, limit=2**24)
    writer.transport.set_write_buffer_limits(0)
    head = f"POST /v1/batch HTTP/1.1\r\nHost: benchmark\r\nAccept: {accept}\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode())
    sent_bytes = 0

    async def send() -> None:
        nonlocal sent_bytes
        for start in range(0, len(content), SENT_BYTES):
            writer.write(content[start : start + SENT_BYTES])
            await writer.drain()
            sent_bytes = start + SENT_BYTES

    sending = asyncio.create_task(send())
    received = bytearray(await reader.read(2**16))
    share = sent_bytes / len(content)
    while piece := await reader.read(2**20):
        received += piece
    await sending
    writer.close()
    totals = re.findall(rb'"(succeeded|failed)": ?([0-9]+)', bytes(received[-400_000:]))
    counts = {name.decode(): int(count) for name, count in totals}
    return BatchRun(loop.time() - begun_s, share, counts["succeeded"], counts["failed"])


async def _measure(server: Server, uploads: list[bytes], content: bytes, count: int, seconds: float) -> None:
    client = Client(server.host, server.port)
    concurrency = os.cpu_count() or 1

    def choose(number: int) -> Shot:
        return Shot(PATH, uploads[number % len(uploads)])

    await closed_loop(client, choose, clients=concurrency, seconds=3)
    server.forget_peak()
    saturated = await closed_loop(client, choose, clients=concurrency, seconds=seconds)
    single_peak = server.peak_bytes()
    rate = rate_of(saturated, begin_s=0, end_s=seconds)
    alone = await closed_loop(client, choose, clients=1, seconds=seconds)
    server.forget_peak()
    batch = await send_batch(server, content, ZIP)
    batch_peak = server.peak_bytes()
    running = asyncio.create_task(send_batch(server, content, LINES))
    await asyncio.sleep(1)
    during = await closed_loop(client, choose, clients=1, seconds=seconds)
    is_overlapping = not running.done()
    lines = await running
    await client.close()
    p99_alone, p99_during = (percentile([r.latency_s for r in each], 99) for each in (alone, during))
    print(
        f"{len(content) / 2**20:.0f} MiB in {batch.seconds:.1f} s as a ZIP, {lines.seconds:.1f} s as lines; "
        f"singles p50 {milliseconds(percentile([r.latency_s for r in alone], 50))} alone, "
        f"{milliseconds(percentile([r.latency_s for r in during], 50))} during a batch; p99 "
        f"{milliseconds(p99_alone)} and {milliseconds(p99_during)}; batch outlasted them: {is_overlapping}.\n"
    )
    print_figures(
        [
            Figure("results as a ZIP", batch.succeeded, count - 5, is_floor=True),
            Figure("errors as a ZIP", batch.failed, 5),
            Figure("results as lines", lines.succeeded, count - 5, is_floor=True),
            Figure("errors as lines", lines.failed, 5),
            Figure("share of the upload sent at the first result", batch.first_result_share, 0.5),
            Figure("peak over that of single requests", (batch_peak - single_peak) / 2**20, 64, " MiB"),
            Figure("p99 of other requests, ratio", p99_during / p99_alone, 2),
            Figure("throughput, ratio", batch.succeeded / batch.seconds / rate, 0.9, is_floor=True),
            Figure("failed single requests", sum(r.status != 200 for r in during), 0),
        ]
    )


if __name__ == "__main__":
    main()
