"""Progress display: without a terminal, a line every half minute says how far a run is."""

import io

from rich.console import Console

from model_export.progress_display import with_progress


def lines_of(seconds_per_item: float, *, terminal: bool) -> list[str]:
    """Return what is printed while ten items are processed."""
    written, now_s = io.StringIO(), 0.0

    def clock() -> float:
        return now_s

    console = Console(file=written, force_terminal=terminal, width=100)
    for _ in with_progress(console, range(10), total=10, title="epoch 1/4", clock=clock):
        now_s += seconds_per_item
    return written.getvalue().splitlines()


def test_a_log_gets_a_line_every_half_minute() -> None:
    assert lines_of(10, terminal=False) == [
        "epoch 1/4: 3 of 10, about 1.2 minutes left",
        "epoch 1/4: 6 of 10, about 0.7 minutes left",
        "epoch 1/4: 9 of 10, about 0.2 minutes left",
    ]


def test_short_work_prints_nothing() -> None:
    assert lines_of(1, terminal=False) == []
