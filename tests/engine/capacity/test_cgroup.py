from pathlib import Path

import pytest

from app.engine.capacity.cgroup import Limit, cpu_quota, memory_limit, oom_kills
from tests.engine.capacity.groups import V1_MOUNT, V2_MOUNT, lay_out, v1, v2

UNLIMITED = "9223372036854771712\n"


def memory(folder: Path) -> float | None:
    limit = memory_limit(folder)
    return None if limit is None else limit.value


def quota(folder: Path) -> float | None:
    limit = cpu_quota(folder)
    return None if limit is None else limit.value


def test_a_container_of_v2_reads_its_own_group(tmp_path: Path) -> None:
    """In a namespace of its own, a container's group is the root."""
    v2(tmp_path, "/", {"memory.max": "838860800\n", "cpu.max": "50000 100000\n"})

    assert memory_limit(tmp_path) == Limit(838_860_800, "/sys/fs/cgroup/memory.max")
    assert cpu_quota(tmp_path) == Limit(0.5, "/sys/fs/cgroup/cpu.max")


@pytest.mark.parametrize(
    ("own", "parent", "expected"),
    [
        ("max", "max", None),
        ("max", "700", 700),
        ("700", "max", 700),
        ("600", "700", 600),
        ("700", "600", 600),
    ],
)
def test_the_lowest_limit_of_a_group_and_those_above_it_counts(
    tmp_path: Path, own: str, parent: str, expected: float | None
) -> None:
    files = {"pod.slice/app/memory.max": own, "pod.slice/memory.max": parent}
    v2(tmp_path, "/pod.slice/app", {**files, "pod.slice/other/memory.max": "1"})

    assert memory(tmp_path) == expected


@pytest.mark.parametrize(
    ("own", "parent", "expected"),
    [
        ("max 100000", "max 100000", None),
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "20000 10000", 2),
        ("100000 50000", "30000 20000", 1.5),
        ("150000", "max", 1.5),
    ],
)
def test_the_lowest_quota_counts_in_cores(
    tmp_path: Path, own: str, parent: str, expected: float | None
) -> None:
    v2(tmp_path, "/pod/app", {"pod/app/cpu.max": own, "pod/cpu.max": parent})

    assert quota(tmp_path) == expected


def test_v1_is_read_from_the_hierarchy_of_each_controller(tmp_path: Path) -> None:
    files = {
        "memory/docker/a1/memory.limit_in_bytes": "838860800\n",
        "memory/docker/memory.limit_in_bytes": UNLIMITED,
        "memory/memory.limit_in_bytes": UNLIMITED,
        "cpu,cpuacct/docker/a1/cpu.cfs_quota_us": "150000\n",
        "cpu,cpuacct/docker/a1/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/docker/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/docker/cpu.cfs_period_us": "100000\n",
    }
    v1(tmp_path, "/docker/a1", files)

    assert memory_limit(tmp_path) == Limit(
        838_860_800, "/sys/fs/cgroup/memory/docker/a1/memory.limit_in_bytes"
    )
    assert cpu_quota(tmp_path) == Limit(1.5, "/sys/fs/cgroup/cpu,cpuacct/docker/a1/cpu.cfs_quota_us")


@pytest.mark.parametrize("unlimited", [UNLIMITED, "9223372036854710272\n", "-1\n", "", "broken"])
def test_no_limit_in_v1_is_no_limit(tmp_path: Path, unlimited: str) -> None:
    files = {"memory/memory.limit_in_bytes": unlimited, "cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}
    v1(tmp_path, "/", files)

    assert memory(tmp_path) is None
    assert quota(tmp_path) is None


@pytest.mark.parametrize("root", ["/docker/a1", "/docker"])
def test_a_mount_may_show_only_a_part_of_the_hierarchy(tmp_path: Path, root: str) -> None:
    """Without a namespace, the path is the host's; the mount begins at ``root``."""
    within = "/docker/a1".removeprefix(root).lstrip("/")
    folder = Path("memory") / within
    v1(tmp_path, "/docker/a1", {str(folder / "memory.limit_in_bytes"): "700"}, root=root)

    assert memory(tmp_path) == 700


@pytest.mark.parametrize("group", ["/../../other", "/kubepods/pod1/c1"])
def test_a_path_outside_the_mount_means_the_mount_itself(tmp_path: Path, group: str) -> None:
    v2(tmp_path, group, {"memory.max": "700", "cpu.max": "50000 100000"})

    assert (memory(tmp_path), quota(tmp_path)) == (700, 0.5)


def test_v1_reports_limits_of_groups_that_the_mount_does_not_show(tmp_path: Path) -> None:
    files = {
        "memory/memory.limit_in_bytes": UNLIMITED,
        "memory/memory.stat": "cache 4\nhierarchical_memory_limit 700\n",
    }
    v1(tmp_path, "/pod/app", files, root="/pod/app")

    assert memory_limit(tmp_path) == Limit(700, "/sys/fs/cgroup/memory/memory.stat")


def test_a_hybrid_has_its_limits_in_either(tmp_path: Path) -> None:
    """systemd's hybrid mounts v2 without controllers in addition to v1."""
    unified = V2_MOUNT.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    mounts = unified, V1_MOUNT.format(root="/", names="memory")
    files = {"memory/app/memory.limit_in_bytes": "700", "unified/app/cgroup.procs": "", "memory/app/x": ""}
    lay_out(tmp_path, "4:memory:/app\n0::/app\n", mounts, files)

    assert memory(tmp_path) == 700
    assert quota(tmp_path) is None
    (tmp_path / "sys/fs/cgroup/unified/app/cpu.max").write_text("25000 100000\n")
    assert quota(tmp_path) == 0.25


def test_a_mount_point_with_a_space_is_found(tmp_path: Path) -> None:
    mount = V2_MOUNT.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/a\\040b ")
    lay_out(tmp_path, "0::/\n", (mount,), {"a b/memory.max": "700"})

    assert memory(tmp_path) == 700


def test_nothing_is_found_without_cgroups(tmp_path: Path) -> None:
    assert (memory(tmp_path), quota(tmp_path), oom_kills(tmp_path)) == (None, None, 0)


def test_processes_killed_for_lack_of_memory_are_counted(tmp_path: Path) -> None:
    v2(
        tmp_path / "2",
        "/app",
        {"app/memory.events": "max 30\noom 2\noom_kill 2\n", "memory.events": "oom_kill 9\n"},
    )
    oom = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    v1(tmp_path / "1", "/app", {"memory/app/memory.oom_control": oom})

    assert (oom_kills(tmp_path / "2"), oom_kills(tmp_path / "1")) == (2, 3)
