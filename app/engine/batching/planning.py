"""Planning: which of the waiting pictures run next, together. Pure; ``batching.py`` carries it out.

Rule 1: work-conserving and late-bound. Whenever the executor is free and anything waits, a batch
is formed from what waits at that moment; there is no timer unless the operator asks for one.
Rule 2: a batch is of one bucket (model, shape, dtype), its tickets in order of arrival.
Rule 3: fair between models. A model that has used more device time than the hungriest waiting one,
by more than ``fair_share_s``, waits its turn; so no model starves, however busy another is.
Rule 4: among those whose turn it may be, the earliest deadline goes first; a deadline counts as no
later than ``patience_s`` after arrival, so a generous one does not wait for ever.
Rule 5: who left is dropped before the run, and so is who will be out of time before its end.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Literal

from app.arrays import NetworkInput, SaliencyMap

Reason = Literal["full", "slot_free", "delay", "drain", "retry"]
"""Why a batch leaves: it is full, the executor is free, its oldest has waited enough, no more will come, or
it is a part of one that failed."""

SMOOTHING = 0.2
"""Weight of the newest run in the running mean of a batch size's cost."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How batches are formed.

    ``max_delay_s`` is how long the oldest picture may wait for company while the executor is
    idle; ``max_waiting`` bounds the queue.
    """

    max_batch: int
    max_delay_s: float
    max_waiting: int
    patience_s: float = 5.0
    fair_share_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Inferred:
    """What one picture got out of a run."""

    saliency: SaliencyMap
    batch_size: int
    waited_s: float
    ran_s: float


@dataclass(eq=False, slots=True)
class Ticket:
    """One picture that waits for the network; instants are those of the batcher's clock.

    Its future is the compare-and-set between result, failure, deadline and departure.
    """

    model: str
    network_input: NetworkInput
    arrived_s: float
    deadline_s: float
    future: "Future[Inferred]" = field(default_factory=Future)
    is_abandoned: bool = False
    bucket: tuple[str, tuple[int, ...], str] = field(init=False)
    """What tickets of one batch have in common."""

    def __post_init__(self) -> None:
        self.bucket = self.model, self.network_input.shape, self.network_input.dtype.str

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the result any more."""
        return self.is_abandoned or self.future.cancelled()


@dataclass(frozen=True, slots=True)
class CostTable:
    """Seconds that one run takes, by model and batch size; the sizes are those it was warmed for."""

    seconds: Mapping[str, Mapping[int, float]]

    def split(self, model: str, waiting: int, max_batch: int) -> tuple[int, int]:
        """Return how many of ``waiting`` pictures to run now, and the batch size to run them at.

        Either a warmed size is filled, or all are run and padded to the next warmed size,
        whichever costs less a picture.
        """
        available = min(waiting, max_batch)
        costs = {size: cost for size, cost in self.seconds.get(model, {}).items() if size <= max_batch}
        if not costs:
            return available, available
        filled = [(cost / size, -size, size) for size, cost in costs.items() if size <= available]
        padded = [(costs[size] / available, -available, size) for size in costs if size > available]
        _, negative_take, size = min([*filled, *padded[:1]] if filled else padded)
        return -negative_take, size

    def per_picture_s(self, model: str, max_batch: int) -> float:
        """Return the seconds a picture takes at the cheapest batch size, 0 where nothing is known."""
        costs = self.seconds.get(model, {})
        return min((cost / size for size, cost in costs.items() if size <= max_batch), default=0.0)

    def min_s(self, model: str) -> float:
        """Return the seconds of the shortest run of a model, 0 where nothing is known."""
        return min(self.seconds.get(model, {}).values(), default=0.0)

    def run_s(self, model: str, size: int) -> float:
        """Return the expected seconds of one run, 0 where nothing is known."""
        return self.seconds.get(model, {}).get(size, 0.0)

    def observed(self, model: str, size: int, seconds: float) -> "CostTable":
        """Return the table after one more run; a size that was not warmed is not learnt."""
        before = self.seconds.get(model, {}).get(size)
        if before is None:
            return self
        costs = {**self.seconds[model], size: before + SMOOTHING * (seconds - before)}
        return replace(self, seconds={**self.seconds, model: costs})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: tickets to drop, tickets to run together, and when to look again.

    ``batch_size`` is the size to run at; what is not filled by ``batch`` is padding. ``reason`` says why
    the batch leaves now.
    """

    cancelled: tuple[Ticket, ...] = ()
    expired: tuple[Ticket, ...] = ()
    batch: tuple[Ticket, ...] = ()
    batch_size: int = 0
    reason: Reason = "slot_free"
    look_again_s: float | None = None


def plan_batch(
    waiting: Sequence[Ticket],
    now_s: float,
    limits: BatchLimits,
    costs: CostTable = CostTable({}),
    used_s: Mapping[str, float] | None = None,
    *,
    is_last: bool = False,
) -> Plan:
    """Decide what happens to ``waiting``, which is in order of arrival.

    Args:
        waiting: Tickets that have not been dispatched.
        now_s: The batcher's clock.
        limits: How batches are formed.
        costs: What runs are expected to take.
        used_s: Device time that each model has used, for fairness.
        is_last: No more tickets will come, so there is no company to wait for.
    """
    cancelled: list[Ticket] = []
    staying: list[Ticket] = []
    for ticket in waiting:
        (cancelled if ticket.is_cancelled else staying).append(ticket)
    alive, expired = _in_time(staying, now_s, costs)
    if not alive:
        return Plan(tuple(cancelled), expired)
    bucket = _next_bucket(alive, limits, used_s or {})
    take, size = costs.split(bucket[0].model, len(bucket), limits.max_batch)
    leave_at_s = bucket[0].arrived_s + limits.max_delay_s
    if len(bucket) < limits.max_batch and now_s < leave_at_s and not is_last:
        first_deadline_s = min(ticket.deadline_s for ticket in alive)
        return Plan(tuple(cancelled), expired, look_again_s=min(leave_at_s, first_deadline_s))
    reason = _reason(len(bucket), limits, is_last=is_last)
    return Plan(tuple(cancelled), expired, tuple(bucket[:take]), size, reason)


def _reason(available: int, limits: BatchLimits, *, is_last: bool) -> Reason:
    if available >= limits.max_batch:
        return "full"
    if is_last:
        return "drain"
    return "delay" if limits.max_delay_s > 0 else "slot_free"


def _in_time(
    staying: Sequence[Ticket], now_s: float, costs: CostTable
) -> tuple[list[Ticket], tuple[Ticket, ...]]:
    """Part those that can be answered in time from those that cannot.

    Those that can only hope are run if nobody else waits: else an estimate that is too long, from a slow
    hour of the machine, would never be corrected.
    """
    min_s = {model: costs.min_s(model) for model in costs.seconds}
    alive = [ticket for ticket in staying if ticket.deadline_s > now_s]
    certain = [ticket for ticket in alive if ticket.deadline_s > now_s + min_s.get(ticket.model, 0.0)]
    chosen = certain or alive
    if len(chosen) == len(staying):
        return chosen, ()
    kept = {id(ticket) for ticket in chosen}
    return chosen, tuple(ticket for ticket in staying if id(ticket) not in kept)


def _next_bucket(alive: list[Ticket], limits: BatchLimits, used_s: Mapping[str, float]) -> list[Ticket]:
    buckets: dict[object, list[Ticket]] = {}
    for ticket in alive:
        buckets.setdefault(ticket.bucket, []).append(ticket)
    if len(buckets) == 1:
        return alive
    min_s = min(used_s.get(bucket[0].model, 0.0) for bucket in buckets.values())
    turn = [b for b in buckets.values() if used_s.get(b[0].model, 0.0) <= min_s + limits.fair_share_s]
    return min(
        turn, key=lambda bucket: min(min(t.deadline_s, t.arrived_s + limits.patience_s) for t in bucket)
    )
