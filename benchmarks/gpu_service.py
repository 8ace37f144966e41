"""GPU service: the whole service over HTTP on a card, and whether the card or the host limits it."""

import asyncio
import sys

from benchmarks.client import Client, Shot
from benchmarks.gpu_sessions import Absent
from benchmarks.gpu_steps import Bench, Json
from benchmarks.load import Result, closed_loop, percentile
from benchmarks.pictures import jpeg_photo
from benchmarks.server import Server


def measure_service(bench: Bench) -> Json:
    """Return throughput, p50 and p95 of the whole service over HTTP, for masks and cutouts."""
    with Server(bench.model, bench.models_dir, {"CUTOUT_DEVICE": bench.device}) as server:
        figures = _over_http(server, bench)
    bench.service_rate = _best(figures)
    return figures


def measure_host(bench: Bench) -> Json:
    """Return the same with a network that takes no time: the limit that decoding, encoding and HTTP set."""
    settings = {"CUTOUT_MODELS": bench.model, "CUTOUT_WEB__PORT": "0"}
    command = (sys.executable, "-m", "benchmarks.noop")
    with Server(bench.model, bench.models_dir, settings, command=command) as server:
        figures = _over_http(server, bench)
    bench.host_rate = _best(figures)
    return figures


def find_limit(bench: Bench) -> Json:
    """Return whether the card or the host's pools limit each endpoint, from the figures of the other steps.

    Raises:
        Absent: One of the steps has no figures.
    """
    if not bench.best_rate or not bench.host_rate:
        raise Absent("it needs the rates of the card and of the host")
    name, card = max(bench.best_rate.items(), key=lambda item: item[1])
    served = bench.best_rate.get("TF32", card)  # ONNX Runtime's default, which the service leaves as it is
    return {
        path: {
            "card as served": served,
            f"card at best ({name})": card,
            "host": host,
            "service": bench.service_rate.get(path),
            "limited by": "the card" if served < host else "the host",
        }
        for path, host in bench.host_rate.items()
    }


def _over_http(server: Server, bench: Bench) -> Json:
    figures: Json = {}
    for path in ("/v1/mask", "/v1/cutout"):
        shot = Shot(path, jpeg_photo(bench.megapixels))
        figures[path] = {str(count): _at(server, shot, count, bench.seconds) for count in bench.clients}
    return figures


def _at(server: Server, shot: Shot, clients: int, seconds: float) -> Json:
    async def send(length_s: float) -> list[Result]:
        client = Client(server.host, server.port)
        results = await closed_loop(client, lambda _: shot, clients=clients, seconds=length_s)
        await client.close()
        return results

    asyncio.run(send(seconds / 8))
    before_s = server.cpu_s()
    results = asyncio.run(send(seconds))
    cpu_s = server.cpu_s() - before_s
    latencies_s = [result.latency_s for result in results if result.status == 200]
    elapsed_s = max(result.ended_s for result in results)
    return {
        "rate": len(latencies_s) / elapsed_s,
        "p50_ms": 1e3 * percentile(latencies_s, 50),
        "p95_ms": 1e3 * percentile(latencies_s, 95),
        "errors": len(results) - len(latencies_s),
        "cpu_ms": 1e3 * cpu_s / max(1, len(latencies_s)),
    }


def _best(figures: Json) -> dict[str, float]:
    return {path: max(each["rate"] for each in loads.values()) for path, loads in figures.items()}
