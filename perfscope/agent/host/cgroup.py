"""Limits that control groups set for a process: CPU quota, cpuset, memory; and its throttling.

Versions 1 and 2 and the hybrid of both are read. A limit holds if any group sets it, from the
process's own group up to the root. The files are described in the kernel's
Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.host import proc

NO_LIMIT_V1 = 1 << 62
"""In v1 the largest page-aligned 64-bit number means "no limit"."""


@dataclass(frozen=True)
class ControlGroup:
    """The groups of one controller that limit a process: folders from its own up to the root."""

    version: int
    folders: tuple[Path, ...]

    def values(self, name: str) -> list[str]:
        """Return the text of the file `name` in each folder that has it, innermost first."""
        texts = [proc.read(str(folder / name)) for folder in self.folders]
        return [text.strip() for text in texts if text is not None]


def find_group(pid: int, controller: str) -> ControlGroup | None:
    """Return the groups that limit a process by a controller (cpu, cpuset, memory).

    None where no such group is visible.
    """
    mounts = find_mounts()
    unified = None
    for line in proc.kernel_lines(proc.read(f"/proc/{pid}/cgroup")):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            mount = mounts.get(controller)
            return ControlGroup(1, folders_up(mount, path)) if mount else None
        if not controllers:
            unified = path
    mount = mounts.get("")
    return (
        ControlGroup(2, folders_up(mount, unified))
        if mount is not None and unified is not None
        else None
    )


def find_mounts() -> dict[str, tuple[str, str]]:
    """Return (mount point, mounted root) of each v1 controller, and of v2 under an empty name."""
    found: dict[str, tuple[str, str]] = {}
    for line in proc.kernel_lines(proc.read("/proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        place = unescape(fields[4]), unescape(fields[3])
        for option in [""] if tail[0] == "cgroup2" else tail[2].split(","):
            found.setdefault(option, place)
    return found


def unescape(path: str) -> str:
    """Return a path of mountinfo, which writes space, tab, newline and backslash in octal."""
    for code in ("040", "011", "012", "134"):
        path = path.replace(f"\\{code}", chr(int(code, 8)))
    return path


def folders_up(mount: tuple[str, str], path: str) -> tuple[Path, ...]:
    """Return the folders from a process's group up to the mount point.

    A group outside the mounted part of the hierarchy counts as the mount point itself.
    """
    point, root = Path(mount[0]), mount[1]
    relative = os.path.relpath(path, root)
    # A path such as /../x: the process is outside our cgroup namespace.
    is_outside = ".." in path.split("/") or relative.startswith("..")
    folders = [point if is_outside else point / relative]
    while folders[-1] != point and point in folders[-1].parents:
        folders.append(folders[-1].parent)
    return tuple(folders)


def cpu_quota(pid: int) -> float | None:
    """Return the number of cores that the CPU quota of a process allows, None without a quota."""
    found = find_group(pid, "cpu")
    return group_quota(found) if found is not None else None


def group_quota(cpu: ControlGroup) -> float | None:
    """Return the least quota of all levels, in cores: quota / period."""
    if cpu.version == 2:
        pairs = [text.split() for text in cpu.values("cpu.max")]
    else:
        periods = cpu.values("cpu.cfs_period_us")
        pairs = [list(pair) for pair in zip(cpu.values("cpu.cfs_quota_us"), periods, strict=False)]
    cores: list[float] = []
    for pair in pairs:
        if len(pair) == 2 and pair[0].isdecimal():
            cores.append(int(pair[0]) / int(pair[1]))
    return min(cores, default=None)


def throttling_counts(pid: int) -> tuple[int, int] | None:
    """Return (times, nanoseconds) of throttling by a CPU quota; None without the counter."""
    found = find_group(pid, "cpu")
    return group_throttling(found) if found is not None else None


def group_throttling(cpu: ControlGroup) -> tuple[int, int] | None:
    """Return (times, nanoseconds) of throttling, summed over all levels and cores."""
    has_counter = False
    times = nanoseconds = 0
    for text in cpu.values("cpu.stat"):
        counters = dict(
            line.split()[:2] for line in proc.kernel_lines(text) if len(line.split()) >= 2
        )
        if "nr_throttled" in counters:
            has_counter = True
            times += int(counters["nr_throttled"])
            nanoseconds += int(counters.get("throttled_time", 0))
            nanoseconds += 1000 * int(counters.get("throttled_usec", 0))
    return (times, nanoseconds) if has_counter else None


def cpuset(pid: int) -> int | None:
    """Return the number of cores in the cpuset of a process, None without that controller."""
    found = find_group(pid, "cpuset")
    return group_cpuset(found) if found is not None else None


def group_cpuset(cpuset_group: ControlGroup) -> int | None:
    """Return the number of cores in the innermost cpuset that is set."""
    names = (
        ("cpuset.cpus.effective",)
        if cpuset_group.version == 2
        else ("cpuset.effective_cpus", "cpuset.cpus")
    )
    for name in names:
        texts = [text for text in cpuset_group.values(name) if text]
        if texts:
            return count_numbers(texts[0])
    return None


def count_numbers(text: str) -> int:
    """Return how many numbers a list such as `0-3,7` names."""
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        count += int(last or first) - int(first) + 1
    return count


def memory_limit_bytes(pid: int) -> int | None:
    """Return the lowest memory limit of a process, None without a limit."""
    found = find_group(pid, "memory")
    if found is None:
        return None
    return min((limit for limit, _ in memory_levels(found)), default=None)


def memory_left_bytes(memory: ControlGroup) -> int | None:
    """Return the memory that is left below the lowest limit, None without a limit.

    File pages that can be dropped count as left.
    """
    return min((max(limit - used, 0) for limit, used in memory_levels(memory)), default=None)


def memory_levels(memory: ControlGroup) -> list[tuple[int, int]]:
    """Return (limit, use without inactive file pages) in bytes of each level with a limit."""
    if memory.version == 2:
        limit_file, use_file, inactive_name = "memory.max", "memory.current", "inactive_file"
    else:
        limit_file, use_file = "memory.limit_in_bytes", "memory.usage_in_bytes"
        inactive_name = "total_inactive_file"
    levels = []
    for folder in memory.folders:
        limit = (proc.read(str(folder / limit_file)) or "").strip()
        if not limit.isdecimal() or int(limit) >= NO_LIMIT_V1:
            continue
        used = int(proc.read(str(folder / use_file)) or 0)
        for line in proc.kernel_lines(proc.read(str(folder / "memory.stat"))):
            if line.startswith(f"{inactive_name} "):
                used -= int(line.split()[1])
        levels.append((int(limit), max(used, 0)))
    return levels
