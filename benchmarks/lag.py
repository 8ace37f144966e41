"""Lag: how late the server's event loop was between two looks at its metrics."""

from collections.abc import Mapping

from benchmarks.report import Figure

PREFIX = "cutout_event_loop_lag_seconds_bucket,le="
Metrics = Mapping[str, float]


def lag_figures(before: Metrics, after: Metrics) -> list[Figure]:
    """Return the buckets that hold the p99 and the largest of all lags in between; none without any."""
    buckets = sorted((float(name[len(PREFIX) :]), name) for name in after if name.startswith(PREFIX))
    counts = [(bound, after[name] - before.get(name, 0.0)) for bound, name in buckets]
    total = counts[-1][1] if counts else 0
    if not total:
        return []
    p99 = next(bound for bound, count in counts if count >= 0.99 * total)
    maximum = next(bound for bound, count in counts if count >= total)
    return [
        Figure(f"event-loop lag of {total:.0f} looks, p99 (bucket)", 1e3 * p99, 5, " ms"),
        Figure("event-loop lag, max (bucket)", 1e3 * maximum, 50, " ms"),
    ]
