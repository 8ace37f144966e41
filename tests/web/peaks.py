"""What a call holds at most, as Python counts it."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

from app.errors import MalformedRequest


def peak_bytes(call: Callable[[], object]) -> int:
    """Return what a call holds at most beside what was there before, whether it refuses or not."""
    tracemalloc.start()
    try:
        with suppress(MalformedRequest):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
