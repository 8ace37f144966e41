"""Held: a call on a worker thread that blocks until a test releases it."""

import threading
from collections.abc import Callable

PATIENCE_S = 60.0  # so that a test that hangs fails


class HeldCall:
    """Sets ``begun``, blocks until ``let_go``, then calls ``at_end``."""

    def __init__(self, at_end: Callable[[], object] = lambda: None) -> None:
        self.begun, self._let_go = threading.Event(), threading.Event()
        self._at_end = at_end

    def __call__(self) -> int:
        """Return the id of the thread that it was called on."""
        self.begun.set()
        self._let_go.wait(PATIENCE_S)
        self._at_end()
        return threading.get_ident()

    def let_go(self) -> None:
        """Release the call."""
        self._let_go.set()

    def wait_until_begun(self) -> None:
        """Block until a thread has entered the call."""
        assert self.begun.wait(PATIENCE_S)
