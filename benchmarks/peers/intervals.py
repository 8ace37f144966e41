"""Intervals: figures of interleaved rounds, with 95 % intervals of the bootstrap over rounds.

A machine that others use too changes from minute to minute, so requests of one round resemble each other, and
the rounds are what is drawn with replacement. Few rounds have few different draws, so the distribution is
computed exactly, over all draws with their probabilities, and not sampled.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, sections 8.3 (groups) and 13.3 (percentile
    intervals); Fisher and Hall, "Bootstrap algorithms for small samples", 1991 (the exact distribution).
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.load import percentile

MAX_ROUNDS = 8
"""Eight rounds have 6,435 different draws; the number grows fast."""
CONFIDENCE = 0.95

Round = TypeVar("Round")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; all NaN if there is nothing to estimate."""

    value: float
    low: float
    high: float


def estimate(rounds: Sequence[Round], figure: Callable[[Sequence[Round]], float]) -> Estimate:
    """Return a figure of all rounds, and the percentile interval of the bootstrap over rounds.

    Args:
        rounds: One measurement per round, at most 8.
        figure: Computes the figure from rounds, of which some may be repeated.

    Raises:
        ValueError: There are more rounds than 8.
    """
    if len(rounds) > MAX_ROUNDS:
        raise ValueError(f"{len(rounds)} rounds; at most {MAX_ROUNDS} are possible")
    if not rounds:
        return Estimate(math.nan, math.nan, math.nan)
    drawn: list[tuple[float, int]] = []
    for draw in itertools.combinations_with_replacement(range(len(rounds)), len(rounds)):
        value = figure([rounds[index] for index in draw])
        if not math.isnan(value):
            drawn.append((value, _orders(draw)))
    drawn.sort()
    tail = (1 - CONFIDENCE) / 2
    return Estimate(figure(rounds), weighted_quantile(drawn, tail), weighted_quantile(drawn, 1 - tail))


def weighted_quantile(ordered: Sequence[tuple[float, int]], share: float) -> float:
    """Return the smallest value that at least ``share`` of the weight does not exceed; NaN without values.

    Args:
        ordered: Values with their weights, sorted by value.
        share: Between 0 and 1.
    """
    total, below = sum(weight for _, weight in ordered), 0
    for value, weight in ordered:
        below += weight
        if below >= share * total:
            return value
    return math.nan


def pooled_percentile(percent: float) -> Callable[[Sequence[Sequence[float]]], float]:
    """Return the figure that pools the values of all rounds and takes a percentile of them."""
    return lambda rounds: percentile(itertools.chain.from_iterable(rounds), percent)


def median(rounds: Sequence[float]) -> float:
    """Return the median of one value per round, without those that are NaN; NaN without values."""
    known = [value for value in rounds if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def _orders(draw: tuple[int, ...]) -> int:
    """Return in how many orders the same rounds can be drawn."""
    orders = math.factorial(len(draw))
    for repeats in Counter(draw).values():
        orders //= math.factorial(repeats)
    return orders
