from pathlib import Path

import pytest

from app.engine.capacity.memory import MIN_BYTES, for_pictures, machine_memory_bytes


def files(folder: Path, cgroup: str | None, meminfo: str | None) -> tuple[Path, Path]:
    paths = folder / "memory.max", folder / "meminfo"
    for path, text in zip(paths, (cgroup, meminfo), strict=True):
        if text is not None:
            path.write_text(text)
    return paths


MEMINFO = "MemTotal:       24576 kB\nMemFree:        100 kB\n"


@pytest.mark.parametrize(
    ("cgroup", "meminfo", "expected"),
    [
        ("1048576\n", MEMINFO, 1_048_576),
        ("max\n", MEMINFO, 24_576 * 1024),
        ("99999999999\n", MEMINFO, 24_576 * 1024),
        (None, MEMINFO, 24_576 * 1024),
        (None, None, None),
    ],
)
def test_the_limit_is_the_smaller_of_container_and_machine(
    tmp_path: Path, cgroup: str | None, meminfo: str | None, expected: int | None
) -> None:
    assert machine_memory_bytes(*files(tmp_path, cgroup, meminfo)) == expected


def test_uploads_are_subtracted_from_the_budget() -> None:
    assert for_pictures(10**9 + 2 * 10**8, 2 * 10**8) == 10**9


def test_a_tiny_budget_still_admits_one_small_picture() -> None:
    assert for_pictures(1000, 10**9) == MIN_BYTES
