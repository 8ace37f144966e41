"""Cache: values by key, as many as fit into a number of bytes; the one not asked for longest goes first."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """A bounded memory; of no bytes, it remembers nothing. Safe in threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get(self, key: str) -> Value | None:
        """Return what is remembered, if it is."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: str, value: Value, *, size_bytes: int) -> None:
        """Remember a value, and forget others as needed; one that is larger than all the room is not kept."""
        if size_bytes > self._limit_bytes:
            return
        with self._lock:
            if key in self._held:
                self.held_bytes -= self._held.pop(key)[1]
            self._held[key] = (value, size_bytes)
            self.held_bytes += size_bytes
            while self.held_bytes > self._limit_bytes:
                _, (_, freed) = self._held.popitem(last=False)
                self.held_bytes -= freed
