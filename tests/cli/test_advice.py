from dataclasses import replace

import pytest

from app.cli.advice import Situation, advise

FAST = Situation(
    model="u2net",
    steps_ms={"decode": 20.0, "infer": 20.0, "matte": 20.0, "compose": 20.0, "encode": 20.0},
    alone_s=0.1,
    together_per_s=30.0,
    is_on_cpu=False,
    why_not_cuda=None,
    cores=8,
    threads=0,
    load=0.1,
    fitting=64,
    in_flight=16,
    deadline_s=60.0,
)


def test_a_machine_without_a_slow_step_gets_no_advice() -> None:
    assert [] == advise(FAST)


def test_a_slow_network_on_a_cpu_needs_a_gpu_or_a_smaller_model() -> None:
    slow = replace(FAST, steps_ms={"infer": 90.0, "encode": 10.0}, is_on_cpu=True, why_not_cuda="no driver")

    assert [
        "The network takes 90% of the time, on the CPU. An NVIDIA GPU would help most (none is used: no "
        "driver), or the smaller model u2netp."
    ] == advise(slow)
    assert "smaller model" not in advise(replace(slow, model="u2netp"))[0]
    assert [] == advise(replace(slow, is_on_cpu=False))


def test_a_picture_that_takes_nearly_as_long_as_the_deadline_needs_a_later_one() -> None:
    slow = replace(FAST, alone_s=41.0, together_per_s=0.05)

    assert "raise it to 123" in advise(slow)[0]
    assert "CUTOUT_LIMITS__DEADLINE_S is 60" in advise(slow)[0]
    assert not [s for s in advise(replace(slow, alone_s=39.0)) if "DEADLINE" in s]


@pytest.mark.parametrize(
    ("step", "remedy"), [("decode", "smaller uploads"), ("matte", "matting=none"), ("encode", "format=jpeg")]
)
def test_a_slow_step_has_a_remedy(step: str, remedy: str) -> None:
    (sentence,) = advise(replace(FAST, steps_ms={**FAST.steps_ms, step: 200.0}))

    assert f"The step {step} takes 71% of the time" in sentence
    assert remedy in sentence


def test_the_largest_share_comes_first() -> None:
    sentences = advise(replace(FAST, steps_ms={"matte": 40.0, "encode": 60.0}))

    assert ["encode", "matte"] == [sentence.split()[2] for sentence in sentences]


def test_other_programs_are_the_first_suspect() -> None:
    sentences = advise(replace(FAST, load=7.5, together_per_s=1.0))

    assert [
        "Other programs use this machine (load 7.5 on 8 cores): alone, these times would be shorter."
    ] == sentences


def test_cores_that_do_not_help_and_threads_that_leave_some_are_reported() -> None:
    assert "hardly faster" in advise(replace(FAST, together_per_s=10.0))[0]
    assert "leaves 6 of 8 cores unused" in advise(replace(FAST, threads=2, is_on_cpu=True))[0]
    assert [] == advise(replace(FAST, together_per_s=10.0, cores=1))


def test_a_memory_budget_for_fewer_pictures_than_the_machine_can_process_is_reported() -> None:
    assert "raise CUTOUT_MEMORY_BUDGET" in advise(replace(FAST, fitting=3))[0]
