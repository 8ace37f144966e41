"""Report: what became of each picture, as a table for people and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.cli.removal.files import write_result
from app.cli.removal.values import Outcome

MAX_LISTED = 20
"""Failures in the table; the report lists all of them."""
NO_SUBJECT = "no_foreground"


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of all pictures.

    ``precisions`` are those that networks ran in, ``took_s`` is the time of the whole run in seconds.
    """

    written: int
    skipped: int
    failed: int
    pending: int
    without_subject: int
    precisions: tuple[str, ...]
    took_s: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], took_s: float) -> "Totals":
        """Count outcomes."""
        counts = Counter(outcome.status for outcome in outcomes)
        empty = sum(each.processed is not None and each.processed.verdict == NO_SUBJECT for each in outcomes)
        used = {each.processed.precision for each in outcomes if each.processed is not None}
        return cls(
            counts["written"],
            counts["skipped"],
            counts["failed"],
            counts["pending"],
            without_subject=empty,
            precisions=tuple(sorted(used - {"", "none"})),
            took_s=round(took_s, 2),
        )

    def sentence(self) -> str:
        """Return the totals in one line."""
        parts = [f"{self.written} written"]
        parts += [f"{self.skipped} skipped (their results exist)"] if self.skipped else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.pending} not started"] if self.pending else []
        parts += [f"{self.without_subject} without a clear subject"] if self.without_subject else []
        rate = f", {self.written / self.took_s:.2f} pictures/s" if self.written > 1 and self.took_s else ""
        networks = f", in {' and '.join(self.precisions)}" if self.precisions else ""
        return f"{', '.join(parts)}; {self.took_s:.1f} s{rate}{networks}"


def write_report(path: Path, outcomes: Sequence[Outcome], totals: Totals) -> None:
    """Write all outcomes as JSON; an earlier report is replaced."""
    fields = (*Totals.__slots__,)
    report = {
        "totals": {name: getattr(totals, name) for name in fields},
        "files": [entry_of(outcome) for outcome in sorted(outcomes, key=lambda outcome: str(outcome.source))],
    }
    text = json.dumps(report, indent=2, ensure_ascii=False)
    # Bytes of a file name that are not UTF-8 become escapes such as \\udcff, which JSON can contain.
    contents = text.encode("utf-8", "backslashreplace") + b"\n"
    write_result(path, contents, replaces=True, inputs=())


def entry_of(outcome: Outcome) -> dict[str, object]:
    """Return the report's entry for one picture."""
    processed, problem = outcome.processed, outcome.problem
    entry: dict[str, object] = {
        "source": str(outcome.source),
        "output": str(outcome.outputs[0]) if outcome.outputs else None,
        "mask": str(outcome.outputs[1]) if len(outcome.outputs) > 1 else None,
        "status": outcome.status,
        "problem": None,
        "verdict": None,
        "took_s": outcome.took_s,
    }
    if problem is not None:
        entry["problem"] = {"type": problem.type, "title": problem.title, "detail": problem.detail}
    if processed is not None:
        entry |= {
            "verdict": processed.verdict,
            "warnings": list(processed.warnings),
            "model": processed.model,
            "provider": processed.provider,
            "precision": processed.precision,
            "size_px": processed.size_px,
            "steps_ms": dict(processed.steps_ms),
        }
    return entry
