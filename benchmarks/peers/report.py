"""Report: turns the measurements into JSON, and the JSON into a Markdown table.

A row compares one peer with this server in one case. Its ratio is above 1 where this server is better. The
verdict says which is ahead only if the 95 % interval of the ratio of throughputs leaves out 1.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.peers.intervals import Estimate, estimate, median, pooled_percentile
from benchmarks.peers.measure import Case, Round
from benchmarks.report import table_cell, table_lines

OURS = "cutout"
MIN_ROUNDS = 3
"""With fewer rounds an interval says nothing, so there is no verdict."""
HEADER = (
    *("model", "operation", "MP", "clients", "peer", "pictures/s", "p50, s", "p95, s"),
    *("CPU s", "peak RSS, MB", "errors", "ours : peer", "ahead"),
)

Json = dict[str, Any]
"""A value of JSON."""


def to_json(case: Case, peer: str, rounds: Sequence[Round]) -> Json:
    """Return all measurements of a case with a peer, for the file that plots and tables are made from."""
    return {**asdict(case), "peer": peer, "rounds": [asdict(each) for each in rounds]}


def rounds_of(measured: Json) -> list[Round]:
    """Return the rounds in a value of ``to_json``."""
    return [Round(**{**each, "latencies_s": tuple(each["latencies_s"])}) for each in measured["rounds"]]


def case_of(measured: Json) -> Case:
    """Return the case in a value of ``to_json``."""
    return Case(**{name: measured[name] for name in ("model", "operation", "megapixels", "clients", "rate")})


def throughput(rounds: Sequence[Round]) -> Estimate:
    """Return successful requests per second, the median of the rounds."""
    return estimate([each.throughput for each in rounds], median)


def latency(rounds: Sequence[Round], percent: float) -> Estimate:
    """Return a percentile of the latency of all successful requests, in seconds."""
    return estimate([each.latencies_s for each in rounds], pooled_percentile(percent))


def ratio(ours: Sequence[Round], theirs: Sequence[Round]) -> Estimate:
    """Return our throughput divided by a peer's, the median of the rounds; both have the same rounds.

    A round in which the peer had no success counts as infinitely better, one in which neither had as unknown.
    """
    pairs = zip(ours, theirs, strict=False)
    return estimate([_quotient(one.throughput, other.throughput) for one, other in pairs], median)


def verdict(compared: Estimate) -> str:
    """Return which server is ahead: ``ours``, ``**peer**``, or ``even`` if the interval includes 1."""
    if math.isnan(compared.value):
        return "–"
    if compared.low > 1:
        return "ours"
    return "**peer**" if compared.high < 1 else "even"


def table_rows(measured: Iterable[Json]) -> list[tuple[str, ...]]:
    """Return the rows of the table, case by case, ours first.

    Args:
        measured: Values of ``to_json``.
    """
    cases: dict[Case, dict[str, list[Round]]] = {}
    for each in measured:
        cases.setdefault(case_of(each), {})[each["peer"]] = rounds_of(each)
    rows: list[tuple[str, ...]] = []
    for case, peers in cases.items():
        names = sorted(peers, key=lambda name: (name != OURS, name))
        rows += [_row(case, name, peers[name], peers.get(OURS)) for name in names]
    return rows


def markdown(report: Json) -> str:
    """Return the whole report: machine, peers, peers that are absent, table."""
    lines = [
        "# This server and its peers",
        "",
        f"{report['machine']}. {report['rounds']} rounds of {report['seconds']:g} s, interleaved; medians",
        "with 95 % intervals. Ratios above 1: this server is better. Pictures: "
        + "; ".join(f"{name} MP {text}" for name, text in report["pictures"].items())
        + ".",
        "",
        *table_lines(("peer", "what runs", "versions", "start, s", "idle CPU"), _peer_rows(report["peers"])),
    ]
    if report["absent"]:
        rows = [
            (each["peer"], each["model"] or "all", table_cell(each["reason"])) for each in report["absent"]
        ]
        lines += ["", "Not measured:", "", *table_lines(("peer", "model", "reason"), rows)]
    lines += ["", *table_lines(HEADER, table_rows(report["measured"])), ""]
    return "\n".join(lines)


def _peer_rows(peers: Sequence[Json]) -> list[tuple[str, ...]]:
    return [
        (
            f"{each['peer']}, {each['model']}",
            each["description"],
            ", ".join(f"{name} {text}" for name, text in each["versions"].items()),
            f"{each['start_s']:.1f}",
            f"{100 * each['idle_cpu']:.1f} %",
        )
        for each in peers
    ]


def _row(case: Case, name: str, rounds: Sequence[Round], ours: Sequence[Round] | None) -> tuple[str, ...]:
    compared = ratio(ours, rounds) if ours and name != OURS else None
    return (
        *(case.model, case.operation, f"{case.megapixels:g}", case.load, name),
        _interval(throughput(rounds)),
        _interval(latency(rounds, 50)),
        _interval(latency(rounds, 95)),
        _number(median([each.cpu_per_request_s for each in rounds])),
        f"{max((each.peak_bytes for each in rounds), default=0) / 1e6:.0f}",
        _errors(rounds),
        _interval(compared) if compared else "",
        (verdict(compared) if len(rounds) >= MIN_ROUNDS else "too few rounds") if compared else "",
    )


def _errors(rounds: Sequence[Round]) -> str:
    """Return the failures by status and the number of all requests: ``503: 2 of 40``."""
    statuses: Counter[str] = Counter()
    for each in rounds:
        statuses.update(each.statuses)
    failed = [
        f"{table_cell(status)}: {count}" for status, count in sorted(statuses.items()) if status != "200"
    ]
    return f"{', '.join(failed)} of {sum(statuses.values())}" if failed else "0"


def _interval(figure: Estimate) -> str:
    if math.isnan(figure.value):
        return "–"
    return f"{_number(figure.value)} ({_number(figure.low)} to {_number(figure.high)})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _quotient(one: float, other: float) -> float:
    if other == 0:
        return math.inf if one > 0 else math.nan
    return one / other


def summary(measured: Iterable[Json]) -> Mapping[str, int]:
    """Return how many rows have each verdict."""
    return Counter(row[-1] for row in table_rows(measured) if row[-1])
