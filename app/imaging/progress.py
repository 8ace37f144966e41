"""Progress: a callback that can cancel long work."""

from collections.abc import Callable
from typing import TypeAlias

Check: TypeAlias = Callable[[], None]
"""Called at least every 50 ms of work; an exception that it raises ends the work."""


def no_check() -> None:
    """Never cancel the work; the default where no caller can."""
