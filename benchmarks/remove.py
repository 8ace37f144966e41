"""Remove: ``cutout remove`` on files, compared with the engine alone on the same pictures.

    python -m benchmarks.remove [--model u2netp] [--pictures 24] [--megapixels 1] [--rounds 5]

engine   The pipeline with all uploads in memory and the results dropped, as many at a time as the command.
command  The command's own runner on files: it finds nothing else to do than to read, to process and to write.
network  For comparison, the network alone in a bare loop: what the device could do if nothing else used it.

The engine and the command share one pipeline. Their rounds alternate, and the median of the ratios counts, so
that other programs on the machine affect both.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from app.cli.removal.execution import execute
from app.cli.removal.local import LocalProcessor, open_local
from app.cli.removal.requests import RequestTemplate
from app.cli.removal.runner import Rules
from app.cli.removal.stream import planned_items
from app.cli.removal.targets import SUFFIXES, Naming, plan_items
from app.cli.removal.values import Source
from app.settings import Settings
from benchmarks.pictures import jpeg_photo
from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import add_server_arguments


def main() -> None:
    """Print both rates and their ratio."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--megapixels", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print_machine()
    device = os.environ.get("CUTOUT_DEVICE", "cpu")
    settings = Settings(models=(args.model,), models_dir=args.models_dir, device=device)
    with (
        tempfile.TemporaryDirectory() as folder,
        open_local(settings, RequestTemplate("cutout", {}, {})) as local,
    ):
        paths = [Path(folder, f"{number}.jpg") for number in range(args.pictures)]
        for number, path in enumerate(paths):
            path.write_bytes(jpeg_photo(args.megapixels, seed=number))
        uploads = [path.read_bytes() for path in paths]
        asyncio.run(engine_round(local, uploads))
        pairs = [
            (asyncio.run(engine_round(local, uploads)), command_round(local, paths, Path(folder, "out")))
            for _ in range(args.rounds)
        ]
        network = network_rate(local, args.model)
    engine, command = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    ratio = statistics.median(command / engine for engine, command in pairs)
    print(f"## cutout remove, {args.pictures} JPEG of {args.megapixels:g} megapixels, {args.model}\n")
    print(f"{local.in_flight} in flight; engine {engine:.2f}, command {command:.2f} pictures/s; ", end="")
    print(f"the network alone {network:.2f}.\n")
    print_figures([Figure("command, of the engine", ratio, 0.95, is_floor=True)])


async def engine_round(local: LocalProcessor, uploads: list[bytes]) -> float:
    """Return the pictures per second of the pipeline."""
    slots = asyncio.Semaphore(local.in_flight)

    async def one(upload: bytes) -> None:
        async with slots:
            await local.process(upload)

    started_s = time.perf_counter()
    await asyncio.gather(*map(one, uploads))
    return len(uploads) / (time.perf_counter() - started_s)


def command_round(local: LocalProcessor, paths: list[Path], out: Path) -> float:
    """Return the pictures per second of the command's runner, including its planning."""
    shutil.rmtree(out, ignore_errors=True)
    rules = Rules(replaces=False, inputs=(), max_upload_bytes=2**28, read_stdin=lambda: b"")
    started_s = time.perf_counter()
    items = plan_items([Source(path) for path in paths], Naming("-cutout", SUFFIXES["png"], output=out))
    with Path(os.devnull).open("w") as nowhere:
        ended = execute(
            local,
            rules,
            lambda _: planned_items(items),
            Console(file=nowhere),
            total=len(items),
            is_quiet=False,
        )
    took_s = time.perf_counter() - started_s
    if len(list(out.iterdir())) != len(paths) or any(each.problem for each in ended.outcomes):
        raise SystemExit("Some pictures failed.")
    return len(paths) / took_s


def network_rate(local: LocalProcessor, model: str, seconds: float = 3.0) -> float:
    """Return the pictures per second of the network in a bare loop, one at a time."""
    session = local.pipeline.pipeline.models.sessions[model]
    side = session.manifest.input_size_px
    batch = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)
    count, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < seconds:
        session.prepare_run(batch).result()
        count += 1
    return count / (time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
