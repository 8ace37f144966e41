"""Progress: long work is asked now and then whether it is still wanted."""

from collections.abc import Callable
from typing import TypeAlias

Check: TypeAlias = Callable[[], None]
"""Called at least every 50 ms of work; what it raises ends the work."""


def no_check() -> None:
    """Let the work go on: what is called where nobody can end it."""
