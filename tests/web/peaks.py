"""Measures the peak memory of a call with ``tracemalloc``."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

from app.errors import MalformedRequest


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the peak of the memory that a call allocates, also if it raises ``MalformedRequest``."""
    tracemalloc.start()
    try:
        with suppress(MalformedRequest):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
