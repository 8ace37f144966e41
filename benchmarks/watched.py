"""Watched: ``cutout`` that writes down when each permit is given back, on the clock all processes share.

    python -m benchmarks.watched serve …

``benchmarks.departures`` starts it. One line a permit goes to the standard error.
"""

import sys
import time

from app.cli import main
from app.engine.capacity.admission import Permit

RELEASED = "released at "


def watch() -> None:
    """Let every permit say when it is given back."""
    release = Permit.release

    def say_and_release(permit: Permit) -> None:
        is_held = not permit._is_released  # noqa: SLF001 - there is no other way to tell the first call
        release(permit)
        if is_held:
            print(f"{RELEASED}{time.monotonic():.6f}", file=sys.stderr, flush=True)

    Permit.release = say_and_release  # type: ignore[method-assign] # that is the point


if __name__ == "__main__":
    watch()
    main()
