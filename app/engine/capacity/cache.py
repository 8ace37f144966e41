"""Cache: a least-recently-used cache of values by key, bounded by their size in bytes."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """An LRU cache of at most ``limit_bytes``; with a limit of 0 it stores nothing. Thread-safe."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[str, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.held_bytes = 0

    def get(self, key: str) -> Value | None:
        """Return the cached value, or ``None``."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: str, value: Value, *, size_bytes: int) -> None:
        """Store a value and evict others as needed; a value larger than the whole cache is not stored."""
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
