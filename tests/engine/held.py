"""Held: a call on a worker thread that lasts until a test lets it go."""

import threading
from collections.abc import Callable

PATIENCE_S = 60.0  # only ends a test that hangs


class HeldCall:
    """Says when it has begun, waits to be let go, then does ``at_end``."""

    def __init__(self, at_end: Callable[[], object] = lambda: None) -> None:
        self.begun, self._let_go = threading.Event(), threading.Event()
        self._at_end = at_end

    def __call__(self) -> int:
        """Return the thread that it was called on."""
        self.begun.set()
        self._let_go.wait(PATIENCE_S)
        self._at_end()
        return threading.get_ident()

    def let_go(self) -> None:
        """Let it end."""
        self._let_go.set()

    def wait_until_begun(self) -> None:
        """Block until some thread is in it."""
        assert self.begun.wait(PATIENCE_S)
