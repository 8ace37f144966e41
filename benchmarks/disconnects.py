"""Disconnects: clients disconnect at any moment of a request; are all resources released?

    python -m benchmarks.disconnects [--count 2000] [--at-once 16] [--megapixels 0.3]

First the duration of a request is measured, with the same concurrency. Then each client sends its request,
some only a part of it, and disconnects at a uniformly random moment of that duration, alternately by closing
(FIN) and resetting (RST) the connection. After the last disconnect the metrics are read until no request is
in flight; then a final request must succeed.
"""

import argparse
import asyncio
import random

from benchmarks.client import Client, Connection, Shot
from benchmarks.load import closed_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import Server, add_server_arguments

EMPTY_TIMEOUT_S = 30.0


def main() -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--megapixels", type=float, default=0.3)
    parser.add_argument("--path", default="/v1/cutout")
    args = parser.parse_args()
    print_machine()
    shot = Shot(args.path, jpeg_photo(args.megapixels))
    with Server(args.model, args.models_dir) as server:
        duration_s, empty_s, status = asyncio.run(
            _disconnect_at_random(server, shot, args.count, args.at_once)
        )
        tracebacks = server.log_tail(lines=10**9).count("Traceback")
        metrics = server.metrics()
    cancelled = sum(
        value
        for name, value in metrics.items()
        if name.startswith("cutout_requests_total") and "outcome=client-disconnected" in name
    )
    print(
        f"A request takes {duration_s * 1e3:.0f} ms; {args.count} clients disconnected, "
        f"{cancelled:.0f} of them before the end of their request.\n"
    )
    print_figures(
        [
            Figure("tracebacks", tracebacks, 0),
            Figure("until no request was in flight", empty_s, 2, " s"),
            Figure("status of the final request", status, 200),
        ]
    )


async def _disconnect_at_random(
    server: Server, shot: Shot, count: int, at_once: int
) -> tuple[float, float, int]:
    client = Client(server.host, server.port)
    results = await closed_loop(client, lambda _: shot, clients=at_once, seconds=6)
    duration_s = percentile([result.latency_s for result in results if result.status == 200], 50)
    rng, numbers = random.Random(0), iter(range(count))

    async def send_and_disconnect() -> None:
        for number in numbers:
            connection = await Connection.open(server.host, server.port)
            connection.send(shot, share=rng.random() if number % 4 == 0 else 1.0)
            await asyncio.sleep(rng.uniform(0, duration_s))
            connection.abort() if number % 2 else connection.close()

    await asyncio.gather(*(send_and_disconnect() for _ in range(at_once)))
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    while (await asyncio.to_thread(server.metrics))["cutout_inflight_requests"] > 0:
        if loop.time() - since_s > EMPTY_TIMEOUT_S:
            break
        await asyncio.sleep(0.02)
    empty_s = loop.time() - since_s
    reply = await client.post(shot)
    await client.close()
    return duration_s, empty_s, reply.status


if __name__ == "__main__":
    main()
