"""Outcomes: tickets become a batch, and the result or the error of its run becomes that of each ticket."""

from collections.abc import Iterable, Sequence

import numpy as np

from app.arrays import NetworkInput, SaliencyMap
from app.engine.batching.planning import Inferred, Ticket
from app.errors import CutoutError, DeadlineExceeded, InferenceFailed


def stack(batch: Sequence[Ticket], size: int) -> NetworkInput:
    """Stack pictures into a batch of ``size``; padding is black."""
    stacked = np.zeros((size, *batch[0].network_input.shape), batch[0].network_input.dtype)
    for index, ticket in enumerate(batch):
        stacked[index] = ticket.network_input
    return stacked


def resolve(batch: Sequence[Ticket], saliency: SaliencyMap, started_s: float, ran_s: float) -> None:
    """Resolve each ticket with its map."""
    for ticket, item in zip(batch, saliency, strict=False):
        if np.isfinite(item).all():
            ticket.future.set_result(Inferred(item, len(batch), started_s - ticket.arrived_s, ran_s))
        else:
            ticket.future.set_exception(InferenceFailed("The network gave numbers that are not finite."))


def expire(tickets: Iterable[Ticket]) -> None:
    """Fail claimed tickets whose deadline has passed."""
    for ticket in tickets:
        ticket.future.set_exception(DeadlineExceeded(ticket.deadline_s - ticket.arrived_s))


def fail(batch: Iterable[Ticket], error: Exception) -> None:
    """Fail the tickets of a run that failed or was aborted."""
    for ticket in batch:
        ticket.future.set_exception(_failure(error))


def _failure(error: Exception) -> CutoutError | MemoryError:
    if isinstance(error, CutoutError | MemoryError):
        return error
    failure = InferenceFailed("The run failed, or was aborted because its tickets were cancelled.")
    failure.__cause__ = error
    return failure
