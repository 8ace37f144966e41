"""Device time: how much of it each model has used, on which the fair turns between models depend.

While a short and a long run share the device, the short one has priority. Its time then counts a third: so
short runs may have three quarters of the device before they wait for the long one, which gets one quarter.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

OVERTAKING_SHARE = 3.0
"""The device time of short runs that overtake, as a multiple of that of the long run, before they wait."""


@dataclass(slots=True)
class DeviceTime:
    """The seconds used by each model. Not thread-safe.

    Attributes:
        used_s: By model. They grow together: a model that was idle is not owed the time it did not use.
        busy_s: The seconds in which at least one run was in progress.
    """

    used_s: dict[str, float] = field(default_factory=dict)
    busy_s: float = 0.0
    _charged_until_s: float = 0.0

    def charge(self, now_s: float, running: Sequence[str]) -> float:
        """Charge the time since the last call to the models that were running, the short one first.

        Returns:
            The time by which a long run was delayed, in seconds.
        """
        passed_s = max(0.0, now_s - self._charged_until_s)
        self._charged_until_s = max(now_s, self._charged_until_s)
        if not running:
            return 0.0
        self.busy_s += passed_s
        is_shared = len(running) > 1
        counted_s = passed_s / OVERTAKING_SHARE if is_shared else passed_s
        self.used_s[running[0]] = self.used_s.get(running[0], 0.0) + counted_s
        return passed_s if is_shared else 0.0

    def join(self, model: str, active: Collection[str]) -> None:
        """Level a model that has been idle with those that are waiting or running, or with all if none is."""
        if model in active:
            return
        used_s = self.used_s
        level_s = min((used_s.get(name, 0.0) for name in active), default=max(used_s.values(), default=0.0))
        used_s[model] = max(used_s.get(model, 0.0), level_s)
