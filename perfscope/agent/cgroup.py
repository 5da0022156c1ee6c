"""What the control groups of a process allow it: CPU quota, cpuset, memory, and how long it was throttled. v1 and v2."""

import os
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent import proc


@dataclass(frozen=True)
class Group:
    """One controller's hierarchy for one process: its directories from the process's own up to the root, and the version."""

    version: int
    folders: tuple[Path, ...]

    def values(self, name: str) -> list[str]:
        """The file `name` of each folder that has it, innermost first."""
        return [text.strip() for folder in self.folders if (text := proc.read(str(folder / name))) is not None]


def group(pid: int, controller: str) -> Group | None:
    """The groups that limit `pid` by `controller` (cpu, cpuset, memory); None where there are none to see."""
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
    if unified is None or mount is None:
        return None
    if controller not in (proc.read(f"{mount[0]}/cgroup.controllers") or "").split() and unified == "/":
        return None
    return Group(2, upward(mount, unified))


def mounted() -> dict[str, tuple[str, str]]:
    """Mount point and mounted root of each v1 controller; the unified hierarchy under ""."""
    found: dict[str, tuple[str, str]] = {}
    for line in (proc.read("/proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if tail and tail[0] == "cgroup2":
            found.setdefault("", (fields[4], fields[3]))
        elif tail and tail[0] == "cgroup":
            for option in tail[2].split(","):
                found.setdefault(option, (fields[4], fields[3]))
    return found


def upward(mount: tuple[str, str], path: str) -> tuple[Path, ...]:
    """From the process's group up to the mount point; a group outside what is mounted here is seen as the mount itself."""
    point, root = Path(mount[0]), mount[1]
    relative = os.path.relpath(path, root) if root != "/" else path.lstrip("/")
    inside = point if relative.startswith("..") else point / relative
    folders = [inside]
    while folders[-1] != point and point in folders[-1].parents:
        folders.append(folders[-1].parent)
    return tuple(folders)


def cpu_quota(pid: int) -> float | None:
    """Cores that the tightest quota on the way up allows, None without one."""
    found = group(pid, "cpu")
    if found is None:
        return None
    quotas: list[float] = []
    if found.version == 2:
        for text in found.values("cpu.max"):
            quota, _, period = text.partition(" ")
            if quota.isdecimal() and period.isdecimal():
                quotas.append(int(quota) / int(period))
    else:
        pairs = zip(found.values("cpu.cfs_quota_us"), found.values("cpu.cfs_period_us"), strict=False)
        quotas = [int(quota) / int(period) for quota, period in pairs if int(quota) > 0]
    return min(quotas, default=None)


def throttled(pid: int) -> tuple[int, int] | None:
    """(times, nanoseconds) the groups of `pid` were held back by a quota, summed on the way up; None without the counter."""
    found = group(pid, "cpu")
    if found is None:
        return None
    times = nanoseconds = seen = 0
    for text in found.values("cpu.stat"):
        said = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) >= 2)
        if "nr_throttled" in said:
            seen += 1
            times += int(said["nr_throttled"])
            nanoseconds += int(said.get("throttled_time", 0)) + 1000 * int(said.get("throttled_usec", 0))
    return (times, nanoseconds) if seen else None


def cpuset(pid: int) -> int | None:
    """Cores of the cpuset, None where there is no such controller."""
    found = group(pid, "cpuset")
    if found is None:
        return None
    for name in ("cpuset.effective_cpus", "cpuset.cpus.effective", "cpuset.cpus"):
        texts = [text for text in found.values(name) if text]
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
    if found is None:
        return None
    texts = found.values("memory.max" if found.version == 2 else "memory.limit_in_bytes")
    # v1 says "no limit" with the largest page-aligned 64-bit number
    return min((int(text) for text in texts if text.isdecimal() and int(text) < 1 << 62), default=None)
