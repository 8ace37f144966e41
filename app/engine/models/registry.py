"""Model registry: keeps models in memory, and loads others on request.

Rule 1: the models in the settings are pinned: loaded at the start and never unloaded. The first is the
default.
Rule 2: any other model in the folder is loaded by the first request for it, once even for concurrent
requests, and unloaded when it has been idle for long or another model needs its place.
Rule 3: a model in use is never unloaded. Its users hold a lease.
Rule 4: a model whose file failed verification is not tried again.
Rule 5: models and their runs together have a memory limit, if the operator sets one. Idle models make room.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from app.arrays import NetworkInput
from app.engine.clock import Clock
from app.engine.models.backend import Run
from app.engine.models.known import how_to_add
from app.engine.models.manifest import Manifest
from app.engine.models.model_memory import ModelMemory
from app.engine.models.precision import PrecisionChoice
from app.errors import InvalidOption, ModelTooLarge, ModelUnavailable, Overloaded


class Session(Protocol):
    """A model in memory."""

    @property
    def manifest(self) -> Manifest:
        """The model's manifest."""
        ...

    @property
    def provider(self) -> str:
        """The execution provider that is really active."""
        ...

    @property
    def choice(self) -> PrecisionChoice:
        """The precision of the model's graph, and why."""
        ...

    def prepare_run(self, batch: NetworkInput) -> Run:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        ...

    def yield_to_others(self) -> None:
        """Lower the priority of its threads, if the operating system can do that."""
        ...


class Loaded(Protocol):
    """A model that was just loaded."""

    @property
    def session(self) -> Session:
        """The model's session."""
        ...

    @property
    def seconds(self) -> Mapping[int, float]:
        """Seconds of one run, by batch size."""
        ...

    @property
    def memory_bytes(self) -> Mapping[int, int]:
        """Memory of the model and its runs, by the largest batch size that has run."""
        ...

    @property
    def warmup_s(self) -> Mapping[int, float]:
        """Seconds of the warm-up, by batch size."""
        ...


class ModelSource(Protocol):
    """Lists and loads models."""

    def available(self) -> frozenset[str]:
        """Return the names of all models that can be loaded."""
        ...

    def load(self, name: str) -> Loaded:
        """Return a loaded model, or raise ``ModelUnavailable``."""
        ...


class ModelObserver(Protocol):
    """Receives the registry's events."""

    def model_loaded(
        self,
        name: str,
        provider: str,
        *,
        choice: PrecisionChoice,
        load_s: float,
        warmup_s: Mapping[int, float],
    ) -> None:
        """Record that a model was loaded."""
        ...

    def model_unloaded(self, name: str, provider: str) -> None:
        """Record that a model was unloaded."""
        ...


class ModelRegistry:
    """The models in memory. Thread-safe."""

    def __init__(
        self,
        source: ModelSource,
        pinned: Sequence[str],
        *,
        maximum: int,
        clock: Clock,
        observer: ModelObserver,
        limit_bytes: int | None = None,
    ) -> None:
        self.default = pinned[0]
        self.sessions: dict[str, Session] = {}
        self.broken: dict[str, ModelUnavailable] = {}
        self.load_s: dict[str, float] = {}
        self.memory = ModelMemory(limit_bytes)
        self.on_costs: Callable[[str, Mapping[int, float]], None] = lambda *_: None
        self._source = source
        self._pinned = tuple(pinned)
        self._maximum = max(maximum, len(pinned))
        self._clock = clock
        self._observer = observer
        self._leases: dict[str, int] = {}
        self._used_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    def load_pinned(self, on_broken: Callable[[ModelUnavailable], None]) -> None:
        """Load the pinned models; blocks.

        Raises:
            ModelUnavailable: The default model cannot be loaded, or one contradicts the settings: it has no
                graph in their precision, or needs too much memory. ``on_broken`` gets all other errors.
            ProviderUnavailable: CUDA was requested and is not really active.
        """
        for name in self._pinned:
            try:
                self.load(name)
            except ModelTooLarge as error:
                raise ModelUnavailable(name, error.reason, contradicts_settings=True) from error
            except ModelUnavailable as error:
                if name == self.default or error.contradicts_settings:
                    raise
                on_broken(error)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models in memory, the default model first."""
        return tuple(sorted(self.sessions, key=lambda name: (name != self.default, name)))

    @property
    def provider(self) -> str:
        """The execution provider that is really active for the default model."""
        return self.sessions[self.default].provider

    def has(self, name: str) -> bool:
        """Return whether a model is in memory or can be loaded."""
        return name in self.sessions or name in self.loadable()

    def choose(self, name: str | None) -> str:
        """Return the name of the requested model; ``None`` or an empty name is the default.

        Raises:
            InvalidOption: No model has this name.
            ModelUnavailable: The model's file failed verification.
        """
        requested = name or self.default
        if requested in self.broken:
            raise ModelUnavailable(requested, self.broken[requested].reason)
        if requested not in self.sessions:
            available = self._source.available()
            if requested not in available:
                accepted = ", ".join(sorted(available | set(self.sessions)))
                raise InvalidOption("model", accepted, hint=how_to_add(requested))
        return requested

    def load(self, name: str) -> None:
        """Load a model; blocks for seconds, or until another thread has loaded it.

        Raises:
            ModelUnavailable: Its files are missing or do not match the manifest.
            Overloaded: The maximum number of models is in memory, all of them in use.
            ModelTooLarge: The memory limit leaves too little for it next to the pinned models.
        """
        with self._loading:
            if name in self.sessions:
                return
            with self._lock:
                self._make_room(name)
            started_s = self._clock.now_s()
            try:
                loaded = self._source.load(name)
            except ModelUnavailable as error:
                self.broken[name] = error
                raise
            self.memory.measured[name] = max(loaded.memory_bytes.values(), default=0)
            with self._lock:
                self._make_room(name)
                self.sessions[name] = loaded.session
                self._used_s[name] = self._clock.now_s()
            load_s = self.load_s[name] = self._clock.now_s() - started_s
            self.on_costs(name, loaded.seconds)
            self._observer.model_loaded(
                name,
                loaded.session.provider,
                choice=loaded.session.choice,
                load_s=load_s,
                warmup_s=loaded.warmup_s,
            )

    @contextmanager
    def lease(self, name: str) -> Iterator[Session | None]:
        """Keep a model in memory until the end of the block; yields ``None`` if it is not in memory."""
        with self._lock:
            session = self.sessions.get(name)
            if session is not None:
                self._leases[name] = self._leases.get(name, 0) + 1
                self._used_s[name] = self._clock.now_s()
        try:
            yield session
        finally:
            if session is not None:
                with self._lock:
                    self._leases[name] -= 1
                    self._used_s[name] = self._clock.now_s()

    def unload_unused(self, longer_than_s: float) -> None:
        """Unload models that have been idle for more than ``longer_than_s``."""
        now_s = self._clock.now_s()
        with self._lock:
            for name in self._idle():
                if now_s - self._used_s[name] > longer_than_s:
                    self._unload(name)

    def prepare_run(self, model: str, batch: NetworkInput) -> Run:
        """Return a run of a model in memory; implements the batcher's ``Backend``."""
        return self.sessions[model].prepare_run(batch)

    def yield_to_others(self, model: str) -> None:
        """Lower the priority of the runs of a model, if it is in memory."""
        with self._lock:
            session = self.sessions.get(model)
        if session is not None:
            session.yield_to_others()

    def in_memory(self) -> list[Session]:
        """Return the sessions of all models in memory, the default model first."""
        with self._lock:
            return [self.sessions[name] for name in self.names]

    def loadable(self) -> list[str]:
        """Return the names of models that are not in memory and can be loaded on request."""
        return sorted(self._source.available() - set(self.sessions) - set(self.broken))

    def _make_room(self, name: str) -> None:
        """Unload the least recently used models until another one fits. Needs the lock."""
        self.memory.check(name, [pinned for pinned in self._pinned if pinned in self.sessions])
        while len(self.sessions) >= self._maximum or not self.memory.fits(name, self.sessions):
            idle = sorted(self._idle(), key=lambda name: self._used_s[name])
            if not idle:
                raise Overloaded("models in memory", retry_after_s=5)
            self._unload(idle[0])

    def _idle(self) -> list[str]:
        return [n for n in self.sessions if n not in self._pinned and not self._leases.get(n, 0)]

    def _unload(self, name: str) -> None:
        session = self.sessions.pop(name)
        self._observer.model_unloaded(name, session.provider)
