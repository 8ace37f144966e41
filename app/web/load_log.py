"""Load log: logs each model that the server loads, with its precision and the reason for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import structlog

from app.engine.models.precision import PrecisionChoice
from app.engine.models.registry import ModelObserver

log = structlog.get_logger("cutout.models")


@dataclass(frozen=True, slots=True)
class LoadLog:
    """Logs loaded models, and passes all events on to ``observer``."""

    observer: ModelObserver

    def model_loaded(
        self,
        name: str,
        provider: str,
        *,
        choice: PrecisionChoice,
        load_s: float,
        warmup_s: Mapping[int, float],
    ) -> None:
        """Log and pass on that a model was loaded."""
        log.info("model loaded", model=name, provider=provider, load_s=round(load_s, 2), **asdict(choice))
        self.observer.model_loaded(name, provider, choice=choice, load_s=load_s, warmup_s=warmup_s)

    def model_unloaded(self, name: str, provider: str) -> None:
        """Pass on that a model was unloaded."""
        self.observer.model_unloaded(name, provider)
