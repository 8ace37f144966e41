"""Peers: this server and other servers, the same pictures, the same client, the same machine.

    make bench-peers PEERS_ARGS="--peers rembg,plain --models u2netp --sizes 1,12 --clients 1,8 --rounds 5"

Each peer gets an environment of its own (``--environments``), is started as its documentation describes, and
runs all the time; its first requests are checked and not measured. Rounds alternate between all peers. Writes
``peers.json`` and ``peers.md`` into ``--out`` after every round, so an interrupted run has a report too.
``docs/peers.md`` describes each peer, and how to read the table.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.fleet import Conditions, Fleet
from benchmarks.peers.intervals import MAX_ROUNDS
from benchmarks.peers.measure import Case, Round, measure_round
from benchmarks.peers.peer import MODELS, OPERATIONS
from benchmarks.peers.registry import PEERS
from benchmarks.peers.report import OURS, Json, markdown, summary, to_json
from benchmarks.peers.uploads import Upload, detail, upload_of
from benchmarks.report import ROOT, machine

TRIAL_MEGAPIXELS = 0.3


@dataclass(slots=True)
class Measurements:
    """All rounds so far, by case and peer, and what the report says about the machine and the peers."""

    header: Json
    rounds: dict[tuple[Case, str], list[Round]] = field(default_factory=dict)
    peers: list[Json] = field(default_factory=list)
    absent: list[Json] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write ``peers.json`` and ``peers.md``."""
        measured = [to_json(case, name, rounds) for (case, name), rounds in self.rounds.items()]
        report = {**self.header, "peers": self.peers, "absent": self.absent, "measured": measured}
        (folder / "peers.json").write_text(json.dumps(report, indent=1) + "\n")
        (folder / "peers.md").write_text(markdown(report))


def main() -> None:
    """Measure, and write the report."""
    args = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # ends the peers too
    args.out.mkdir(parents=True, exist_ok=True)
    uploads = {size: upload_of(size, args.data) for size in args.sizes}
    pictures = {
        f"{size:g}": (
            f"{len(upload.encoded) / 1e6:.2f} MB, {upload.origin}, detail {detail(upload.encoded):.1f}"
        )
        for size, upload in uploads.items()
    }
    header = {"rounds": 0, "seconds": args.seconds, "machine": machine(), "pictures": pictures}
    measurements = Measurements({**header, "precision": args.precision or "default"})
    until_s = time.monotonic() + 60 * args.minutes / len(args.models)
    for model in args.models:
        _measure_model(args, model, uploads, measurements, until_s)
        until_s += 60 * args.minutes / len(args.models)
    measurements.write(args.out)
    print((args.out / "peers.md").read_text())
    print(", ".join(f"{name}: {count}" for name, count in sorted(summary(_measured(measurements)).items())))


def _measured(measurements: Measurements) -> list[Json]:
    return [to_json(case, name, rounds) for (case, name), rounds in measurements.rounds.items()]


def _measure_model(
    args: argparse.Namespace,
    model: str,
    uploads: dict[float, Upload],
    measurements: Measurements,
    until_s: float,
) -> None:
    """Run all rounds of one model, and write the report after each; stop before a round that has no time."""
    conditions = Conditions(
        environments=args.environments,
        weights=args.weights,
        models_dir=args.models_dir,
        precision=args.precision,
        max_bytes=int(args.memory * 2**30),
    )
    cases = list(_cases(args, model))
    chosen = [PEERS[name] for name in args.peers]
    with Fleet(chosen, model, conditions, upload_of(TRIAL_MEGAPIXELS)) as fleet:
        measurements.peers += fleet.described
        measurements.absent += fleet.absent
        for number in range(args.rounds):
            began_s = time.monotonic()
            measured = measure_round(
                fleet.processes, cases, lambda case: uploads[case.megapixels].encoded, args.seconds, number
            )
            for case, name, result in measured:
                measurements.rounds.setdefault((case, name), []).append(result)
                rate = f"{result.throughput:.2f}/s, {result.errors} errors"
                print(
                    f"{number} {case.operation} {case.megapixels:g} {case.load} {name}: {rate}",
                    file=sys.stderr,
                )
            measurements.header["rounds"] = max(measurements.header["rounds"], number + 1)
            measurements.write(args.out)
            now_s = time.monotonic()
            if now_s + (now_s - began_s) > until_s:
                break
            fleet.revive()


def _cases(args: argparse.Namespace, model: str) -> Iterator[Case]:
    for operation in args.operations:
        for size in args.sizes:
            for clients in args.clients:
                yield Case(model, operation, size, clients=clients)
            for rate in args.rates:
                yield Case(model, operation, size, rate=rate)


def _arguments() -> argparse.Namespace:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--peers", type=_names(PEERS), default=list(PEERS), help=", ".join(PEERS))
    add("--models", type=_names(MODELS), default=list(MODELS))
    add("--operations", type=_names(OPERATIONS), default=list(OPERATIONS))
    add("--sizes", type=_numbers, default=[0.3, 1.0, 3.0, 12.0, 24.0], help="megapixels")
    add("--clients", type=_counts, default=[1, 8, 32], help="requests in flight (closed loop); may be empty")
    add("--rates", type=_numbers, default=[], help="requests per second (open loop)")
    add("--rounds", type=int, default=5, choices=range(1, MAX_ROUNDS + 1))
    add("--seconds", type=float, default=8.0, help="length of one measurement")
    add("--minutes", type=float, default=24 * 60.0, help="begin no round that would end later")
    add("--precision", help="CUTOUT_PRECISION of this server, such as float32 or auto")
    add("--data", type=Path, help="a folder with photographs of at least the wanted sizes")
    add("--out", type=Path, default=ROOT / "bench-peers")
    add("--environments", type=Path, default=ROOT / ".venv-bench", help="one environment per peer")
    add(
        "--weights",
        type=Path,
        default=ROOT / "models" / "weights",
        help="the published u2netp.onnx, u2net.onnx",
    )
    add("--models-dir", type=Path, default=ROOT / "models")
    add("--memory", type=float, default=_memory_gib() * 0.6, help="GiB a peer may hold before it is ended")
    args = parser.parse_args()
    if OURS not in args.peers:
        args.peers.insert(0, OURS)
    return args


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return names

    return parse


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",") if number]


def _counts(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


if __name__ == "__main__":
    main()
