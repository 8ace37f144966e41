"""Device time: how much of it each model has used, on which the fair turns between models depend.

While two runs share the device, the short one has priority, and the time counts as its own.
"""

from collections.abc import Collection
from dataclasses import dataclass, field


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

    def charge(self, now_s: float, running: str | None) -> None:
        """Charge the time since the last call to a model; None if no run was in progress."""
        passed_s = max(0.0, now_s - self._charged_until_s)
        self._charged_until_s = max(now_s, self._charged_until_s)
        if running is not None:
            self.busy_s += passed_s
            self.used_s[running] = self.used_s.get(running, 0.0) + passed_s

    def join(self, model: str, active: Collection[str]) -> None:
        """Level a model that has been idle with those that are waiting or running, or with all if none is."""
        if model in active:
            return
        used_s = self.used_s
        level_s = min((used_s.get(name, 0.0) for name in active), default=max(used_s.values(), default=0.0))
        used_s[model] = max(used_s.get(model, 0.0), level_s)
