"""Cgroup: finds the memory limit and the CPU quota of this process, in cgroup v1, v2 and hybrids of both.

Strategy: ``/proc/self/cgroup`` names the group of each hierarchy, ``/proc/self/mountinfo`` where the
hierarchy is mounted and from which group on. The limits of that group and of all above it, up to the mount's
root, bind this process, so the lowest one counts. A file that is missing or unreadable limits nothing.

Trap: inside a container the mount may show only the container's own groups, while ``/proc/self/cgroup`` has
the path that the host sees. Then the mount point itself is the container's group, and the limits of groups
above it cannot be read, except that v1 reports the lowest of all of them (``hierarchical_memory_limit``).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNLIMITED_BYTES = 2**60
"""v1 reports no limit as the largest multiple of a page, which depends on the size of a page."""
DEFAULT_PERIOD_US = 100_000
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit, in bytes or cores, and the file that it was read from."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy; ``controllers`` are those of v1, and empty for v2."""

    root: PurePosixPath
    point: PurePosixPath
    controllers: frozenset[str]


def memory_limit(root: Path = Path("/")) -> Limit | None:
    """Return the lowest memory limit in bytes, ``None`` without one; ``root`` is that of all paths."""
    found: list[Limit] = []
    for folder, is_v2 in _groups(root, "memory"):
        if is_v2:
            found += _bytes_in(folder / "memory.max", root)
            continue
        found += _bytes_in(folder / "memory.limit_in_bytes", root)
        total = _fields(folder / "memory.stat").get("hierarchical_memory_limit")
        found += _below_unlimited(total, folder / "memory.stat", root)
    return min(found, key=lambda limit: limit.value, default=None)


def cpu_quota(root: Path = Path("/")) -> Limit | None:
    """Return the lowest CPU quota in cores, ``None`` without one; ``root`` is that of all paths."""
    found: list[Limit] = []
    for folder, is_v2 in _groups(root, "cpu"):
        if is_v2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
            file = folder / "cpu.max"
        else:
            file = folder / "cpu.cfs_quota_us"
            quota, period = _text(file), _text(folder / "cpu.cfs_period_us")
        quota_us, period_us = _whole(quota), _whole(period) or DEFAULT_PERIOD_US
        if quota_us is not None and quota_us > 0 and period_us > 0:  # v1 writes -1, v2 max
            found.append(Limit(quota_us / period_us, _shown(file, root)))
    return min(found, key=lambda limit: limit.value, default=None)


def oom_kills(root: Path = Path("/")) -> int:
    """Return how many processes the kernel has killed so far in this process's own groups for lack of memory.

    v2 counts those of a group with all below it, v1 only those of the group itself.
    """
    kills = 0
    for is_v2, name in ((True, "memory.events"), (False, "memory.oom_control")):
        own = next((folder for folder, version in _groups(root, "memory") if version == is_v2), None)
        kills += 0 if own is None else _fields(own / name).get("oom_kill", 0)
    return kills


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of each group that this process is in, from its own upwards, and whether it is v2."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        is_v2 = number == "0" and not names
        if not is_v2 and controller not in names.split(","):
            continue
        for mount in _mounts(root):
            if controller in mount.controllers or (is_v2 and not mount.controllers):
                yield from ((folder, is_v2) for folder in _upwards(root, mount, PurePosixPath(path)))
                break


def _mounts(root: Path) -> Iterator[_Mount]:
    """Yield the mounted hierarchies: ``36 35 0:30 ROOT POINT OPTIONS … - TYPE SOURCE SUPER_OPTIONS``."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kinds[2].split(",")) if kinds[0] == "cgroup" else frozenset[str]()
        yield _Mount(_path(fields[3]), _path(fields[4]), controllers)


def _upwards(root: Path, mount: _Mount, group: PurePosixPath) -> Iterator[Path]:
    """Yield the folders of a group and those above it, as far as the mount shows them."""
    point = root / mount.point.relative_to("/")
    within = group.relative_to(mount.root) if group.is_relative_to(mount.root) else PurePosixPath()
    if ".." in within.parts or not (point / within).is_dir():
        within = PurePosixPath()  # the path is that of the host, and the mount shows the container's own part
    for folder in (within, *within.parents):
        yield point / folder
        if folder == PurePosixPath():
            return


def _bytes_in(file: Path, root: Path) -> list[Limit]:
    return _below_unlimited(_whole(_text(file)), file, root)


def _below_unlimited(size: int | None, file: Path, root: Path) -> list[Limit]:
    return [Limit(size, _shown(file, root))] if size is not None and 0 <= size < UNLIMITED_BYTES else []


def _fields(file: Path) -> dict[str, int]:
    """Return the numbers of a file with a name and a number on each line."""
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _whole(text: str) -> int | None:
    return int(text) if text.removeprefix("-").isdigit() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""


def _path(text: str) -> PurePosixPath:
    """Return a path in which spaces and the like are written as octal numbers."""
    return PurePosixPath(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), text))


def _shown(file: Path, root: Path) -> str:
    return f"/{file.relative_to(root)}"
