"""What the control groups of a process allow it: CPU quota, cpuset, memory, and how long it was
held back. v1, v2, hybrid.

A limit of any group from the process's own up to the root holds. Files:
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of the kernel.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.host import proc

NO_LIMIT_V1 = 1 << 62  # v1 says "no limit" with the largest page-aligned 64-bit number


@dataclass(frozen=True)
class Group:
    """One controller's groups of one process: directories from the process's own up to the root,
    and the version.
    """

    version: int
    folders: tuple[Path, ...]

    def values(self, name: str) -> list[str]:
        """The file `name` of each folder that has it, innermost first."""
        return [
            text.strip()
            for folder in self.folders
            if (text := proc.read(str(folder / name))) is not None
        ]


def group(pid: int, controller: str) -> Group | None:
    """The groups that limit `pid` by `controller` (cpu, cpuset, memory); None where there are none
    to see.
    """
    mounts = mounted()
    unified = None
    for line in (proc.read(f"/proc/{pid}/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            mount = mounts.get(controller)
            return Group(1, upward(mount, path)) if mount else None
        if not controllers:
            unified = path
    mount = mounts.get("")
    return Group(2, upward(mount, unified)) if mount is not None and unified is not None else None


def mounted() -> dict[str, tuple[str, str]]:
    """Mount point and mounted root of each v1 controller; the unified hierarchy under ""."""
    found: dict[str, tuple[str, str]] = {}
    for line in (proc.read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        place = unescaped(fields[4]), unescaped(fields[3])
        for option in [""] if tail[0] == "cgroup2" else tail[2].split(","):
            found.setdefault(option, place)
    return found


def unescaped(path: str) -> str:
    """mountinfo writes space, tab, newline and backslash in octal."""
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def upward(mount: tuple[str, str], path: str) -> tuple[Path, ...]:
    """From the process's group up to the mount point; a group outside what is mounted here is seen
    as the mount itself.
    """
    point, root = Path(mount[0]), mount[1]
    relative = os.path.relpath(path, root)
    outside = ".." in path.split("/") or relative.startswith(
        ".."
    )  # /../x: the process is out of our cgroup namespace
    inside = point if outside else point / relative
    folders = [inside]
    while folders[-1] != point and point in folders[-1].parents:
        folders.append(folders[-1].parent)
    return tuple(folders)


def cpu_quota(pid: int) -> float | None:
    """Cores that the tightest quota on the way up allows, None without one."""
    found = group(pid, "cpu")
    return quota(found) if found is not None else None


def quota(cpu: Group) -> float | None:
    """The same of a group: quota / period, the least of all levels."""
    if cpu.version == 2:
        pairs = [text.split() for text in cpu.values("cpu.max")]
    else:
        periods = cpu.values("cpu.cfs_period_us")
        pairs = [list(pair) for pair in zip(cpu.values("cpu.cfs_quota_us"), periods, strict=False)]
    cores = [
        int(pair[0]) / int(pair[1]) for pair in pairs if len(pair) == 2 and pair[0].isdecimal()
    ]
    return min(cores, default=None)


def throttled(pid: int) -> tuple[int, int] | None:
    """(times, nanoseconds) the groups of `pid` were held back by a quota; None without the
    counter.
    """
    found = group(pid, "cpu")
    return throttling(found) if found is not None else None


def throttling(cpu: Group) -> tuple[int, int] | None:
    """The same of a group, summed on the way up: a quota counts where it is set. Nanoseconds are
    summed over cores.
    """
    times = nanoseconds = seen = 0
    for text in cpu.values("cpu.stat"):
        said = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
        if "nr_throttled" in said:
            seen += 1
            times += int(said["nr_throttled"])
            nanoseconds += int(said.get("throttled_time", 0)) + 1000 * int(
                said.get("throttled_usec", 0)
            )
    return (times, nanoseconds) if seen else None


def cpuset(pid: int) -> int | None:
    """Cores of the cpuset, None where there is no such controller."""
    found = group(pid, "cpuset")
    return cores_of_set(found) if found is not None else None


def cores_of_set(cpuset_group: Group) -> int | None:
    """The same of a group: what the innermost level that says it is left with."""
    names = (
        ("cpuset.cpus.effective",)
        if cpuset_group.version == 2
        else ("cpuset.effective_cpus", "cpuset.cpus")
    )
    for name in names:
        texts = [text for text in cpuset_group.values(name) if text]
        if texts:
            return listed(texts[0])
    return None


def listed(text: str) -> int:
    """How many numbers `0-3,7` names."""
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def memory_limit_bytes(pid: int) -> int | None:
    """The tightest memory limit on the way up, None without one."""
    found = group(pid, "memory")
    return (
        min((limit for limit, _ in memory_levels(found)), default=None)
        if found is not None
        else None
    )


def memory_left_bytes(memory: Group) -> int | None:
    """What the tightest level leaves, counting file pages that can be dropped as left; None without
    a limit.
    """
    return min((max(limit - used, 0) for limit, used in memory_levels(memory)), default=None)


def memory_levels(memory: Group) -> list[tuple[int, int]]:
    """(limit, used without inactive file pages) in bytes of each level that has a limit."""
    v2 = memory.version == 2
    levels = []
    for folder in memory.folders:
        limit = (
            proc.read(str(folder / ("memory.max" if v2 else "memory.limit_in_bytes"))) or ""
        ).strip()
        if not limit.isdecimal() or int(limit) >= NO_LIMIT_V1:
            continue
        used = int(
            proc.read(str(folder / ("memory.current" if v2 else "memory.usage_in_bytes"))) or 0
        )
        name = "inactive_file" if v2 else "total_inactive_file"
        for line in (proc.read(str(folder / "memory.stat")) or "").splitlines():
            if line.startswith(f"{name} "):
                used -= int(line.split()[1])
        levels.append((int(limit), max(used, 0)))
    return levels
