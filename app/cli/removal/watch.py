"""Watch: decides which files of watched folders have stopped growing.

The folders are read again and again, instead of being subscribed to: that works on every file system, also on
network drives, and for files that are renamed into place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.cli.removal.values import Source

Stamp = tuple[int, int]
"""The size in bytes, and the time of the last change in nanoseconds."""
SETTLE_S = 2.0
"""Time for which a file must not change before it is taken."""
INTERVAL_S = 0.5


@dataclass(slots=True)
class Watcher:
    """Remembers the files of earlier looks; a file is reported once, and again if it changes."""

    settle_s: float = SETTLE_S
    _seen: dict[Path, tuple[Stamp, float]] = field(default_factory=dict)
    _taken: dict[Path, Stamp] = field(default_factory=dict)

    def take_settled(self, found: Mapping[Path, Stamp], now_s: float) -> list[Path]:
        """Return the files that have not changed for ``settle_s``; empty files are not complete.

        Args:
            found: All files with their stamps.
            now_s: The time of the look, in seconds.
        """
        settled = []
        for path, stamp in found.items():
            before, since_s = self._seen.get(path, (stamp, now_s))
            self._seen[path] = (stamp, since_s if before == stamp else now_s)
            is_settled = before == stamp and now_s - since_s >= self.settle_s
            if is_settled and stamp[0] > 0 and self._taken.get(path) != stamp:
                self._taken[path] = stamp
                settled.append(path)
        for gone in self._seen.keys() - found.keys():
            del self._seen[gone]
            self._taken.pop(gone, None)
        return settled


def stamps_of(sources: Sequence[Source]) -> dict[Path, Stamp]:
    """Return the stamp of each file that can be reached."""
    stamps = {}
    for source in sources:
        try:
            status = source.path.stat()
        except OSError:  # renamed or removed since, or a link that leads nowhere
            continue
        stamps[source.path] = (status.st_size, status.st_mtime_ns)
    return stamps
