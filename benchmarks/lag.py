"""Lag: the lag of the server's event loop between two readings of its metrics."""

from collections.abc import Mapping

from benchmarks.report import Figure

PREFIX = "cutout_event_loop_lag_seconds_bucket,le="
Metrics = Mapping[str, float]


def lag_figures(before: Metrics, after: Metrics) -> list[Figure]:
    """Return the buckets of the p99 and of the largest lag in between; empty without samples."""
    buckets = sorted((float(name[len(PREFIX) :]), name) for name in after if name.startswith(PREFIX))
    counts = [(bound, after[name] - before.get(name, 0.0)) for bound, name in buckets]
    total = counts[-1][1] if counts else 0
    if not total:
        return []
    p99 = next(bound for bound, count in counts if count >= 0.99 * total)
    maximum = next(bound for bound, count in counts if count >= total)
    return [
        Figure(f"event-loop lag of {total:.0f} samples, p99 (bucket)", 1e3 * p99, 5, " ms"),
        Figure("event-loop lag, max (bucket)", 1e3 * maximum, 50, " ms"),
    ]
