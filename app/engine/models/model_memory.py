"""Model memory: what the models in memory take, with their runs, and whether another one fits.

It is measured when a model is loaded and warmed: the runtime keeps the memory of the largest run, so what the
process has grown by is what the model takes until it is unloaded. Pictures of other requests that come and go
meanwhile are counted too; at the start there are none.
"""

from collections.abc import Iterable

from app.errors import ModelTooLarge


class ModelMemory:
    """The memory of each model that was ever loaded, and the limit for all; ``None`` is no limit."""

    def __init__(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        self.measured: dict[str, int] = {}

    def total_bytes(self, models: Iterable[str]) -> int:
        """Return the memory of some models; 0 for those that were never loaded."""
        return sum(self.measured.get(model, 0) for model in models)

    def fits(self, model: str, others: Iterable[str]) -> bool:
        """Return whether a model fits together with others, as far as that is known."""
        needed = self.total_bytes({model, *others})
        return self.limit_bytes is None or needed <= self.limit_bytes

    def check(self, model: str, pinned: Iterable[str]) -> None:
        """Refuse a model that does not fit even if only the pinned models are in memory.

        Raises:
            ModelTooLarge: It does not.
        """
        if not self.fits(model, pinned):
            assert self.limit_bytes is not None  # noqa: S101 - else everything fits
            others = self.total_bytes(set(pinned) - {model})
            raise ModelTooLarge(model, self.measured[model], max(0, self.limit_bytes - others))
