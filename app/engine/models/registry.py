"""Models: the networks in memory, and those that can be brought there when a request asks for one.

Rule 1: the models named in the settings are loaded at the start and stay; the first is the default.
Rule 2: any other model in the folder is loaded by the first request that asks for it, once however
many ask at the same time, and leaves when it has not been used for long or another needs its place.
Rule 3: a model in use never leaves. Whoever uses one holds a lease.
Rule 4: a model whose file turned out not to be trusted is not looked at again.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from app.arrays import NetworkInput
from app.engine.clock import Clock
from app.engine.models.backend import Run
from app.engine.models.manifest import Manifest
from app.errors import InvalidOption, ModelUnavailable, Overloaded


class Session(Protocol):
    """A network in memory."""

    @property
    def manifest(self) -> Manifest:
        """What the export says of it."""
        ...

    @property
    def provider(self) -> str:
        """The execution provider that is really active."""
        ...

    def prepare_run(self, batch: NetworkInput) -> Run:
        """Return a run over ``batch``, uint8 (N, S, S, 3)."""
        ...


class Loaded(Protocol):
    """A network that was just brought into memory."""

    @property
    def session(self) -> Session:
        """The network."""
        ...

    @property
    def seconds(self) -> Mapping[int, float]:
        """What one run takes, by batch size."""
        ...

    @property
    def warmup_s(self) -> Mapping[int, float]:
        """What warming up took, by batch size."""
        ...


class ModelSource(Protocol):
    """Where models come from."""

    def found(self) -> frozenset[str]:
        """Return the names of all models that can be loaded."""
        ...

    def load(self, name: str) -> Loaded:
        """Return a loaded model, or raise ``ModelUnavailable``."""
        ...


class ModelObserver(Protocol):
    """Someone who wants to know which models come and go."""

    def model_came(self, name: str, provider: str, *, load_s: float, warmup_s: Mapping[int, float]) -> None:
        """Take note of a model that is in memory now."""
        ...

    def model_went(self, name: str, provider: str) -> None:
        """Take note of a model that is not in memory any more."""
        ...


class ModelRegistry:
    """The networks in memory; may be used from any thread."""

    def __init__(
        self,
        source: ModelSource,
        pinned: Sequence[str],
        *,
        maximum: int,
        clock: Clock,
        observer: ModelObserver,
    ) -> None:
        self.default = pinned[0]
        self.sessions: dict[str, Session] = {}
        self.broken: dict[str, ModelUnavailable] = {}
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
        """Load the models that stay; blocks.

        Raises:
            ModelUnavailable: The default model cannot be served; others are passed to ``on_broken``.
            ProviderUnavailable: CUDA was asked for and is not really active.
        """
        for name in self._pinned:
            try:
                self.load(name)
            except ModelUnavailable as error:
                if name == self.default:
                    raise
                on_broken(error)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all models in memory, the default first."""
        return tuple(sorted(self.sessions, key=lambda name: (name != self.default, name)))

    @property
    def provider(self) -> str:
        """The execution provider that is really active for the default model."""
        return self.sessions[self.default].provider

    def choose(self, name: str | None) -> str:
        """Return the name of the model that a request asks for; ``None`` asks for the default.

        Raises:
            InvalidOption: There is no model of this name here.
            ModelUnavailable: There is, but its file is not to be trusted.
        """
        wanted = name or self.default
        if wanted in self.broken:
            raise ModelUnavailable(wanted, self.broken[wanted].reason)
        if wanted not in self.sessions:
            found = self._source.found()
            if wanted not in found:
                raise InvalidOption("model", ", ".join(sorted(found | set(self.sessions))))
        return wanted

    def load(self, name: str) -> None:
        """Bring a model into memory; blocks for seconds, or until another thread has brought it.

        Raises:
            ModelUnavailable: Its files are missing, or are not what the manifest says.
            Overloaded: Every place is taken by a model in use.
        """
        with self._loading:
            if name in self.sessions:
                return
            with self._lock:
                self._make_room()
            started_s = self._clock.now_s()
            try:
                loaded = self._source.load(name)
            except ModelUnavailable as error:
                self.broken[name] = error
                raise
            with self._lock:
                self.sessions[name] = loaded.session
                self._used_s[name] = self._clock.now_s()
            self.on_costs(name, loaded.seconds)
            self._observer.model_came(
                name,
                loaded.session.provider,
                load_s=self._clock.now_s() - started_s,
                warmup_s=loaded.warmup_s,
            )

    @contextmanager
    def lease(self, name: str) -> Iterator[Session | None]:
        """Hold a model in memory for the length of the block; ``None`` if it is not there."""
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
        """Let models go that nobody asked for in a while."""
        now_s = self._clock.now_s()
        with self._lock:
            for name in self._idle():
                if now_s - self._used_s[name] > longer_than_s:
                    self._unload(name)

    def prepare_run(self, model: str, batch: NetworkInput) -> Run:
        """Return a run of a model in memory; the ``Backend`` of the batcher."""
        return self.sessions[model].prepare_run(batch)

    def manifests(self) -> list[tuple[Manifest, str]]:
        """Return the manifest and the active provider of each model in memory, the default first."""
        with self._lock:
            return [(self.sessions[name].manifest, self.sessions[name].provider) for name in self.names]

    def loadable(self) -> list[str]:
        """Return the names of models that would be loaded on request."""
        return sorted(self._source.found() - set(self.sessions) - set(self.broken))

    def _make_room(self) -> None:
        """Let the longest unused model go if every place is taken. Needs the lock."""
        if len(self.sessions) < self._maximum:
            return
        idle = sorted(self._idle(), key=lambda name: self._used_s[name])
        if not idle:
            raise Overloaded("models in memory", retry_after_s=5)
        self._unload(idle[0])

    def _idle(self) -> list[str]:
        return [n for n in self.sessions if n not in self._pinned and not self._leases.get(n, 0)]

    def _unload(self, name: str) -> None:
        session = self.sessions.pop(name)
        self._observer.model_went(name, session.provider)
