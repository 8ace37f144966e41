"""Advice: what is slow on this machine, and what would help. Pure."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LARGE_MODEL, SMALL_MODEL = "u2net", "u2netp"
LARGE_SHARE = 0.3
"""A step that takes this share of a picture's time is worth a remark."""
DEADLINE_MARGIN = 1.5
"""A picture that takes almost as long as it may has no time to wait for another one."""
MIN_GAIN = 1.15
"""The gain in pictures per second, by several in flight, that several cores should reach."""
REMEDIES: Mapping[str, str] = {
    "decode": "smaller uploads are decoded faster",
    "matte": "matting=none skips it, and megapixels= makes pictures smaller first",
    "encode": "format=jpeg or webp makes smaller files, and megapixels= makes pictures smaller first",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What the advice depends on.

    Attributes:
        model: The model of the sample run.
        steps_ms: The duration of each step in milliseconds.
        alone_s: The time of one picture at a time, in seconds.
        together_per_s: The pictures per second with several in flight.
        is_on_cpu: Whether the network runs on the CPU.
        why_not_cuda: Why it does not run on a GPU.
        cores: The processor cores of this process.
        threads: The setting for the cores inside one run; 0 is all.
        load: The mean number of programs that wanted a core before the sample run; None if unknown.
        fitting: How many pictures of 12 megapixels the memory budget holds at a time.
        in_flight: How many pictures keep the machine busy.
        deadline_s: The setting for the time of a request.
    """

    model: str
    steps_ms: Mapping[str, float]
    alone_s: float
    together_per_s: float
    is_on_cpu: bool
    why_not_cuda: str | None
    cores: int
    threads: int
    load: float | None
    fitting: int
    in_flight: int
    deadline_s: float

    @property
    def is_shared(self) -> bool:
        """Whether other programs use a good part of the cores."""
        return self.load is not None and self.load > 0.5 * self.cores


def advise(situation: Situation) -> list[str]:
    """Return one sentence for each thing that is slow and can be changed; the largest share first."""
    return [*_about_machine(situation), *_about_steps(situation), *_about_settings(situation)]


def _about_machine(situation: Situation) -> Iterator[str]:
    if situation.is_shared:
        yield (
            f"Other programs use this machine (load {situation.load:.1f} on {situation.cores} cores): "
            "alone, these times would be shorter."
        )


def _about_steps(situation: Situation) -> Iterator[str]:
    total_ms = sum(situation.steps_ms.values()) or 1.0
    by_share = sorted(situation.steps_ms.items(), key=lambda step: -step[1])
    for name, duration_ms in by_share:
        share = duration_ms / total_ms
        if share < LARGE_SHARE:
            return
        if name == "infer" and situation.is_on_cpu:
            yield f"The network takes {share:.0%} of the time, on the CPU. {_remedy_for_network(situation)}"
        elif name in REMEDIES:
            yield f"The step {name} takes {share:.0%} of the time: {REMEDIES[name]}."


def _remedy_for_network(situation: Situation) -> str:
    reason = "" if situation.why_not_cuda is None else f" (none is used: {situation.why_not_cuda})"
    small = f", or the smaller model {SMALL_MODEL}" if situation.model == LARGE_MODEL else ""
    return f"An NVIDIA GPU would help most{reason}{small}."


def _about_settings(situation: Situation) -> Iterator[str]:
    if 0 < situation.threads < situation.cores and situation.is_on_cpu:
        yield (
            f"CUTOUT_ENGINE__THREADS={situation.threads} leaves {situation.cores - situation.threads} of "
            f"{situation.cores} cores unused by the network; 0 uses all."
        )
    if DEADLINE_MARGIN * situation.alone_s > situation.deadline_s:
        yield (
            f"A picture alone takes {situation.alone_s:.3g} s, and CUTOUT_LIMITS__DEADLINE_S is "
            f"{situation.deadline_s:g}: raise it to {math.ceil(3 * situation.alone_s)}, so that requests for "
            f"{situation.model} are not refused or ended before they are done."
        )
    gain = situation.together_per_s * situation.alone_s
    if situation.cores > 1 and gain < MIN_GAIN and not situation.is_shared:
        yield "Several pictures at a time are hardly faster than one: the network alone uses all cores."
    if situation.fitting < situation.in_flight:
        yield (
            f"The memory budget holds {situation.fitting} pictures of 12 megapixels at a time, and "
            f"{situation.in_flight} would keep the machine busy: raise CUTOUT_MEMORY_BUDGET."
        )
