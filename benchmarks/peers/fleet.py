"""Fleet: the peers that run one model side by side, and the reasons why others do not.

A peer takes part if it can be installed, starts, and returns a picture of the right size for every operation
that it offers. Its first request is not measured.
"""

import io
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from benchmarks.peers.environments import NotInstalled, installed_versions, interpreter_of
from benchmarks.peers.measure import request_once
from benchmarks.peers.peer import OPERATIONS, Launch, Peer
from benchmarks.peers.process import NotStarted, PeerProcess, free_port
from benchmarks.peers.report import Json
from benchmarks.peers.uploads import Upload

IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all peers have in common: folders, precision, and the memory that one may hold."""

    environments: Path
    weights: Path
    models_dir: Path
    precision: str | None
    max_bytes: int


@dataclass(slots=True)
class Fleet:
    """A context manager that runs the peers of one model.

    Attributes:
        processes: The running peers, in the order of the registry.
        described: A row per running peer for the report.
        absent: A row per peer that does not run, with the reason.
    """

    peers: Sequence[Peer]
    model: str
    conditions: Conditions
    trial: Upload
    processes: list[PeerProcess] = field(default_factory=list)
    described: list[Json] = field(default_factory=list)
    absent: list[Json] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        try:
            for peer in self.peers:
                try:
                    self._start(peer)
                except (NotInstalled, NotStarted) as error:
                    print(f"{peer.name}: {error}", file=sys.stderr, flush=True)
                    self.absent.append({"peer": peer.name, "model": self.model, "reason": str(error)})
            self._measure_idle()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def revive(self) -> None:
        """Start the peers again that have ended, so that a later round can measure them."""
        for index, process in enumerate(self.processes):
            if not process.is_alive():
                print(
                    f"{process.peer.name}: {process.why_ended or 'has exited'}; starting again",
                    file=sys.stderr,
                )
                try:
                    self.processes[index] = self._stack.enter_context(self._process(process.peer))
                except NotStarted as error:
                    print(f"{process.peer.name}: {error}", file=sys.stderr)

    def _start(self, peer: Peer) -> None:
        if self.model not in peer.models:
            raise NotStarted(f"it cannot run {self.model} with the published weights")
        with ExitStack() as attempt:
            process = attempt.enter_context(self._process(peer))
            tried = {each: _try(process, each, self.model, self.trial) for each in OPERATIONS}
            self._stack.push(attempt.pop_all())
        self.processes.append(process)
        self.described.append(
            {
                "peer": peer.name,
                "model": self.model,
                "description": peer.description,
                "versions": installed_versions(process.launch.python),
                "start_s": process.start_s,
                "idle_cpu": 0.0,
                "first_requests": {name: check for name, check in tried.items() if check},
            }
        )

    def _process(self, peer: Peer) -> PeerProcess:
        launch = Launch(
            python=interpreter_of(peer, self.conditions.environments),
            model=self.model,
            weights=self.conditions.weights,
            models_dir=self.conditions.models_dir,
            scratch=Path(tempfile.gettempdir()),  # replaced by a folder of the process
            port=free_port(),
            precision=self.conditions.precision,
        )
        return PeerProcess(peer, launch, max_bytes=self.conditions.max_bytes)

    def _measure_idle(self) -> None:
        """Record the share of a core that each peer uses without requests."""
        before = [process.cpu_s() for process in self.processes]
        began_s = time.monotonic()
        time.sleep(IDLE_S)
        seconds = time.monotonic() - began_s
        for row, process, cpu_s in zip(self.described, self.processes, before, strict=True):
            row["idle_cpu"] = max(0.0, process.cpu_s() - cpu_s) / seconds


def _try(process: PeerProcess, operation: str, model: str, upload: Upload) -> Json | None:
    """Send the first request of an operation, and check that its response is a picture of the upload's size.

    Raises:
        NotStarted: The status is not 200, or the body is not such a picture.
    """
    shot = process.peer.request(operation, model, upload.encoded)
    if shot is None:
        return None
    status, body, seconds = request_once(process, shot)
    if status != 200:
        raise NotStarted(f"{operation}: status {status}, {body[:200]!r}; {process.log_tail()}")
    try:
        with Image.open(io.BytesIO(body)) as picture:
            picture.load()
            alpha = picture.getchannel("A") if "A" in picture.getbands() else picture.convert("L")
            found = {"mode": picture.mode, "format": picture.format, "height": picture.height}
            histogram = alpha.histogram()
    except OSError as error:
        raise NotStarted(f"{operation}: the response is not a picture ({body[:60]!r})") from error
    if (alpha.height, alpha.width) != upload.size:
        raise NotStarted(f"{operation}: the result has {alpha.size} pixels, the upload {upload.size[::-1]}")
    foreground = sum(level * count for level, count in enumerate(histogram)) / (255 * sum(histogram))
    return {**found, "bytes": len(body), "mean_alpha": round(foreground, 4), "first_s": round(seconds, 3)}
