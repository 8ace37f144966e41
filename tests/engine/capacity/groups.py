"""Lays out the files of cgroup v1, v2 and hybrids as the kernel does, in a folder."""

from collections.abc import Mapping
from pathlib import Path

V2_MOUNT = "35 25 0:30 {root} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "40 31 0:32 {root} /sys/fs/cgroup/{names} rw,relatime - cgroup cgroup rw,{names}"
OTHER_MOUNT = "23 1 8:1 / / rw,relatime - ext4 /dev/vda rw"


def lay_out(folder: Path, groups: str, mounts: tuple[str, ...], files: Mapping[str, str]) -> Path:
    """Write ``/proc/self/cgroup``, ``/proc/self/mountinfo`` and files below ``/sys/fs/cgroup``."""
    own = folder / "proc" / "self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(groups)
    (own / "mountinfo").write_text("\n".join((OTHER_MOUNT, *mounts)) + "\n")
    for name, text in files.items():
        file = folder / "sys" / "fs" / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def v2(folder: Path, group: str, files: Mapping[str, str], *, root: str = "/") -> Path:
    """Lay out v2 alone."""
    return lay_out(folder, f"0::{group}\n", (V2_MOUNT.format(root=root),), files)


def v1(folder: Path, group: str, files: Mapping[str, str], *, root: str = "/") -> Path:
    """Lay out v1, with the CPU and its accounting in one hierarchy."""
    groups = f"9:name=systemd:/\n4:memory:{group}\n3:cpu,cpuacct:{group}\n"
    mounts = tuple(V1_MOUNT.format(root=root, names=names) for names in ("memory", "cpu,cpuacct"))
    return lay_out(folder, groups, mounts, files)
