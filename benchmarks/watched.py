"""Watched: ``cutout`` with a log of when each permit is released, on the clock that all processes share.

    python -m benchmarks.watched serve …

``benchmarks.departures`` runs it. It writes one line per permit to standard error.
"""

import sys
import time

from app.cli import main
from app.engine.capacity.admission import Permit

RELEASED = "released at "


def log_releases() -> None:
    """Patch permits to log the time of their release."""
    release = Permit.release

    def release_and_log(permit: Permit) -> None:
        was_released = permit._is_released  # noqa: SLF001 - only the first call releases
        release(permit)
        if not was_released:
            print(f"{RELEASED}{time.monotonic():.6f}", file=sys.stderr, flush=True)

    Permit.release = release_and_log  # type: ignore[method-assign] # patched on purpose


if __name__ == "__main__":
    log_releases()
    main()
