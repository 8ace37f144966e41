import os

import pytest

from app.engine.capacity.cgroup import Limit
from app.engine.capacity.processor import Processor, network_threads


@pytest.mark.parametrize(
    ("cores", "quota", "capacity", "threads"),
    [(4, None, 4, 4), (4, 0.5, 0.5, 1), (4, 1.0, 1, 1), (4, 1.5, 1.5, 2), (4, 64.0, 4, 4), (1, 1.5, 1, 1)],
)
def test_threads_use_the_quota_up_but_not_much_more(
    cores: int, quota: float | None, capacity: float, threads: int
) -> None:
    processor = Processor(cores, None if quota is None else Limit(quota, "cpu.max"))

    assert (processor.capacity, processor.threads) == (capacity, threads)


def test_a_setting_wins_and_an_unlimited_process_leaves_the_choice_to_the_runtime() -> None:
    everything, half = Processor(os.cpu_count() or 1), Processor(os.cpu_count() or 1, Limit(0.5, "cpu.max"))

    assert (network_threads(0, everything), network_threads(0, half)) == (0, 1)
    assert (network_threads(3, everything), network_threads(3, half)) == (3, 3)
