"""Planning: decides which of the queued pictures run next. Pure; ``batcher.py`` executes the plan.

Rule 1: work-conserving and late-bound. Whenever the executor is free and the queue is not empty, a batch
is formed from the pictures queued at that moment; there is no timer unless the operator sets one.
Rule 2: a batch holds one bucket (model, shape, dtype), its tickets in order of arrival.
Rule 3: fair between models. A model that has used over ``fair_share_s`` more device time than the queued
model with the least waits its turn, so no model starves, however busy another is.
Rule 4: among the eligible models, the earliest deadline runs first. A deadline counts as at most
``patience_s`` after arrival, so a ticket with a late deadline does not wait for ever.
Rule 5: pictures of a background job, such as a batch of hundreds, run after all others of their bucket,
unless they have waited for ``patience_s``.
Rule 6: tickets that are cancelled, or would expire before the end of the run, are dropped before it.
Rule 7: the runs of a long model (``long_models``) share the device with short ones, which would otherwise
wait for its end. ``batcher.py`` plans for each kind; short models that have used too much device time wait
until the long run has caught up (``max_used_s``).
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Literal

from app.arrays import NetworkInput, SaliencyMap

Reason = Literal["full", "slot_free", "delay", "drain", "retry"]
"""Why a batch is dispatched: it is full, the executor is free, its oldest ticket has waited ``max_delay_s``,
the batcher is stopping, or it is a part of a batch that failed."""

LONG_RUN_FACTOR = 2.0
"""A model is long if its shortest run takes this many times the shortest run of another model."""

SMOOTHING = 0.2
"""Weight of the newest run in the moving average of a batch size's cost."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Limits on batches and on the queue.

    ``max_delay_s`` is how long an idle executor may wait, from the oldest picture's arrival, for a batch
    to fill; ``max_waiting`` is the maximum length of the queue.
    """

    max_batch: int
    max_delay_s: float
    max_waiting: int
    patience_s: float = 5.0
    fair_share_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Inferred:
    """The result of one picture, with the size of its batch, its time in the queue and the run's duration."""

    saliency: SaliencyMap
    batch_size: int
    waited_s: float
    ran_s: float


@dataclass(eq=False, slots=True)
class Ticket:
    """One picture queued for the network; instants are those of the batcher's clock.

    Its future is the compare-and-set between result, failure, deadline and cancellation.
    """

    model: str
    network_input: NetworkInput
    arrived_s: float
    deadline_s: float
    is_background: bool = False
    future: "Future[Inferred]" = field(default_factory=Future)
    is_abandoned: bool = False
    bucket: tuple[str, tuple[int, ...], str] = field(init=False)
    """The model, shape and dtype that all tickets of a batch share."""

    def __post_init__(self) -> None:
        self.bucket = self.model, self.network_input.shape, self.network_input.dtype.str

    @property
    def is_cancelled(self) -> bool:
        """Whether the result is no longer needed."""
        return self.is_abandoned or self.future.cancelled()


@dataclass(frozen=True, slots=True)
class CostTable:
    """Seconds of one run, by model and batch size; the sizes are those the model was warmed for.

    No batch is larger than the largest of them: a model may be able to run fewer pictures than others.
    """

    seconds: Mapping[str, Mapping[int, float]]

    def split(self, model: str, waiting: int, max_batch: int) -> tuple[int, int]:
        """Return how many of ``waiting`` pictures to run now, and the batch size to run them at.

        Either fills a warmed size, or runs all pictures padded to the next warmed size,
        whichever costs less per picture.
        """
        available = min(waiting, max_batch)
        costs = {size: cost for size, cost in self.seconds.get(model, {}).items() if size <= max_batch}
        if not costs:
            return available, available
        filled = [(cost / size, -size, size) for size, cost in costs.items() if size <= available]
        padded = [(costs[size] / available, -available, size) for size in costs if size > available]
        _, negative_take, size = min([*filled, *padded[:1]] if filled else padded)
        return -negative_take, size

    def max_batch(self, model: str, limit: int) -> int:
        """Return the most pictures of a model that run together, at most ``limit``."""
        return min(limit, max(self.seconds.get(model, {}), default=limit))

    def per_picture_s(self, model: str, max_batch: int) -> float:
        """Return the seconds per picture at the cheapest batch size, 0 if unknown."""
        costs = self.seconds.get(model, {})
        return min((cost / size for size, cost in costs.items() if size <= max_batch), default=0.0)

    def min_s(self, model: str) -> float:
        """Return the seconds of a model's shortest run, 0 if unknown."""
        return min(self.seconds.get(model, {}).values(), default=0.0)

    def run_s(self, model: str, size: int) -> float:
        """Return the expected seconds of one run, 0 if unknown."""
        return self.seconds.get(model, {}).get(size, 0.0)

    def long_models(self) -> frozenset[str]:
        """Return the models whose runs are long compared with those of another model."""
        shortest_s = min((self.min_s(model) for model in self.seconds), default=0.0)
        return frozenset(m for m in self.seconds if self.min_s(m) >= LONG_RUN_FACTOR * shortest_s > 0)

    def observed(self, model: str, size: int, seconds: float) -> "CostTable":
        """Return the table updated with one more run; sizes that were not warmed are ignored."""
        before = self.seconds.get(model, {}).get(size)
        if before is None:
            return self
        costs = {**self.seconds[model], size: before + SMOOTHING * (seconds - before)}
        return replace(self, seconds={**self.seconds, model: costs})


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision: tickets to drop, tickets to run as one batch, and when to plan again.

    ``batch_size`` is the size to run at; places that ``batch`` does not fill are padding. ``reason`` is why
    the batch is dispatched now.
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
    max_used_s: float = math.inf,
    is_last: bool = False,
) -> Plan:
    """Plan the next batch from ``waiting``, which is in order of arrival.

    Args:
        waiting: Tickets that have not been dispatched.
        now_s: The current time of the batcher's clock.
        limits: Limits on batches.
        costs: The expected duration of runs.
        used_s: Device time used by each model, for fairness.
        max_used_s: Models that have used more wait; it grows by a second each second.
        is_last: No more tickets will arrive, so an incomplete batch does not wait to fill.
    """
    cancelled: list[Ticket] = []
    staying: list[Ticket] = []
    for ticket in waiting:
        (cancelled if ticket.is_cancelled else staying).append(ticket)
    alive, expired = _in_time(staying, now_s, costs)
    if not alive:
        return Plan(tuple(cancelled), expired)
    used_s = used_s or {}
    ready = [ticket for ticket in alive if used_s.get(ticket.model, 0.0) <= max_used_s]
    if not ready:
        min_s = min(used_s.get(ticket.model, 0.0) for ticket in alive)
        first_deadline_s = min(ticket.deadline_s for ticket in alive)
        again_s = min(now_s + min_s - max_used_s, first_deadline_s)
        return Plan(tuple(cancelled), expired, look_again_s=again_s)
    bucket = _in_order(_next_bucket(ready, limits, used_s), now_s, limits)
    max_batch = costs.max_batch(bucket[0].model, limits.max_batch)
    take, size = costs.split(bucket[0].model, len(bucket), max_batch)
    leave_at_s = min(ticket.arrived_s for ticket in bucket) + limits.max_delay_s
    if len(bucket) < max_batch and now_s < leave_at_s and not is_last:
        first_deadline_s = min(ticket.deadline_s for ticket in alive)
        return Plan(tuple(cancelled), expired, look_again_s=min(leave_at_s, first_deadline_s))
    reason = _reason(len(bucket), max_batch, limits, is_last=is_last)
    return Plan(tuple(cancelled), expired, tuple(bucket[:take]), size, reason)


def _in_order(bucket: list[Ticket], now_s: float, limits: BatchLimits) -> list[Ticket]:
    """Return a bucket with its background tickets last, except for those that have waited long."""
    if not any(ticket.is_background for ticket in bucket):
        return bucket
    return sorted(bucket, key=lambda t: t.is_background and now_s - t.arrived_s < limits.patience_s)


def _reason(available: int, max_batch: int, limits: BatchLimits, *, is_last: bool) -> Reason:
    if available >= max_batch:
        return "full"
    if is_last:
        return "drain"
    return "delay" if limits.max_delay_s > 0 else "slot_free"


def _in_time(
    staying: Sequence[Ticket], now_s: float, costs: CostTable
) -> tuple[list[Ticket], tuple[Ticket, ...]]:
    """Split tickets into those that can finish in time and those that have expired.

    Tickets that will finish in time only if the estimate is too long are run if no others are queued:
    otherwise an estimate made while the machine was slow would never be corrected.
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
