"""Decoder kills: the effect on clients when decoder processes are killed under load.

    python -m benchmarks.decoder_kills [--seconds 60] [--clients 8] [--decoders 2] [--every 1]

Serves u2netp with decoder processes, and kills a random one with SIGKILL each second, as an operator or a
system out of memory would, if a picture was decoded since the last kill: on a busy machine a decoder may need
longer to start. Clients send different pictures over keep-alive connections, without pauses. The
pictures are valid, so 422 is wrong; 503 is returned if the second decoder of a picture was killed as well.
"""

import argparse
import io
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import Figure, print_figures, print_machine
from benchmarks.server import Server, add_server_arguments


def main() -> None:
    """Print the counts of statuses."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    add_server_arguments(parser)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--decoders", type=int, default=2)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills")
    args = parser.parse_args()
    print_machine()
    settings = {"CUTOUT_ENGINE__DECODERS": str(args.decoders)}
    with Server(args.model, args.models_dir, settings) as server:
        statuses, kills = kill_under_load(server, args)
        left = len(decoders_of(server.pid))
    print(f"## One decoder killed each {args.every:g} s for {args.seconds:g} s, {args.clients} clients\n")
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    print(f"statuses: {counts}; kills: {kills}\n")
    print_figures(
        [
            Figure("422 for a good picture", statuses[422], 0, ""),
            Figure("503 a kill", statuses[503] / max(1, kills), 1, ""),
            Figure("neither 200 nor 503", statuses.total() - statuses[200] - statuses[503], 0, ""),
            Figure("decoders missing or too many at the end", abs(left - args.decoders), 0, ""),
        ]
    )


def kill_under_load(server: Server, args: argparse.Namespace) -> tuple[Counter[int], int]:
    """Return the counts of response statuses, and the number of decoders that were killed."""
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def send_requests(number: int) -> None:
        upload = _picture(number)
        with httpx.Client(base_url=f"http://{server.host}:{server.port}", timeout=120) as client:
            while not is_over.is_set():
                statuses[client.post("/v1/mask", content=upload).status_code] += 1

    clients = [threading.Thread(target=send_requests, args=(number,)) for number in range(args.clients)]
    for client in clients:
        client.start()
    rng = random.Random(0)
    kills = served = 0
    until_s = time.monotonic() + args.seconds
    while time.monotonic() < until_s:
        time.sleep(args.every)
        decoders = decoders_of(server.pid)
        if decoders and statuses[200] > served:
            served = statuses[200]
            os.kill(rng.choice(decoders), signal.SIGKILL)
            kills += 1
    time.sleep(2)  # until the last killed decoder is replaced
    is_over.set()
    for client in clients:
        client.join()
    return statuses, kills


def decoders_of(pid: int) -> list[int]:
    """Return the process ids of a server's decoders."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    pids = [int(child) for file in tasks for child in file.read_text().split()]
    return [
        child
        for child in pids
        if b"app.pipeline.sandboxed_decoder" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def _picture(number: int) -> bytes:
    noise = np.random.default_rng(number).integers(0, 255, (600, 800, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(noise).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


if __name__ == "__main__":
    main()
