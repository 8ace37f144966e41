import os
from pathlib import Path

import pytest

from app.engine.capacity.cgroup import Limit
from app.engine.capacity.memory import (
    MAX_UPLOAD_BYTES,
    MIN_BYTES,
    SPARE_BYTES,
    available_memory,
    default_budget,
    for_pictures,
    for_uploads,
    resident_bytes,
)
from tests.engine.capacity.groups import v2

MEMINFO = "MemTotal:       24576 kB\nMemFree:        100 kB\n"
MIB = 2**20


@pytest.mark.parametrize(
    ("limit", "meminfo", "expected"),
    [
        ("1048576\n", MEMINFO, Limit(1_048_576, "/sys/fs/cgroup/memory.max")),
        ("max\n", MEMINFO, Limit(24_576 * 1024, "/proc/meminfo")),
        ("99999999999\n", MEMINFO, Limit(24_576 * 1024, "/proc/meminfo")),
        (None, MEMINFO, Limit(24_576 * 1024, "/proc/meminfo")),
        (None, None, None),
    ],
)
def test_the_limit_is_the_smaller_of_container_and_machine(
    tmp_path: Path, limit: str | None, meminfo: str | None, expected: Limit | None
) -> None:
    v2(tmp_path, "/", {} if limit is None else {"memory.max": limit})
    if meminfo is not None:
        (tmp_path / "proc" / "meminfo").write_text(meminfo)

    assert available_memory(tmp_path) == expected


def test_the_resident_memory_grows_with_what_the_process_holds() -> None:
    before = resident_bytes()
    held = b"\1" * (64 * MIB)  # glibc gives pages of their own to more than 32 MiB, in any process

    assert resident_bytes(os.getpid()) - before > len(held) // 2
    assert resident_bytes(2**30) == 0


@pytest.mark.parametrize(
    ("available", "held", "expected"),
    [
        (8192 * MIB, 700 * MIB, 4096 * MIB),  # half of it
        (800 * MIB, 300 * MIB, 400 * MIB),
        (512 * MIB, 300 * MIB, 512 * MIB - 300 * MIB - SPARE_BYTES),  # what is left
        (512 * MIB, 600 * MIB, 0),
    ],
)
def test_the_budget_is_half_of_the_memory_or_what_the_models_leave(
    available: int, held: int, expected: int
) -> None:
    assert default_budget(available, held) == expected


@pytest.mark.parametrize(
    ("budget", "upload", "expected"),
    [
        (8192 * MIB, 20 * MIB, MAX_UPLOAD_BYTES),
        (400 * MIB, 20 * MIB, 50 * MIB),
        (80 * MIB, 20 * MIB, 20 * MIB),  # one upload fits
        (80 * MIB, 500 * MIB, 40 * MIB),
    ],
)
def test_uploads_scale_with_the_budget(budget: int, upload: int, expected: int) -> None:
    assert for_uploads(budget, upload) == expected


def test_uploads_are_subtracted_from_the_budget() -> None:
    assert for_pictures(10**9 + 2 * 10**8, 2 * 10**8) == 10**9


def test_a_tiny_budget_still_admits_one_small_picture() -> None:
    assert for_pictures(1000, 10**9) == MIN_BYTES
