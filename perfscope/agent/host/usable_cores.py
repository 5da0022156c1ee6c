"""How many cores a process may really use, and how much memory: never `os.cpu_count()`."""

import os

from perfscope.agent.host import cgroup, proc
from perfscope.traces.run.manifest import UsableCores


def usable_cores(pid: int) -> UsableCores:
    """The least of affinity, cpuset and cgroup quota; SLURM's own figure is named, not used: it may not be enforced."""
    try:
        affinity = len(os.sched_getaffinity(pid))
    except OSError:
        affinity = len(os.sched_getaffinity(0))
    quota, cpuset = cgroup.cpu_quota(pid), cgroup.cpuset(pid)
    cores = min(float(one) for one in (affinity, cpuset, quota) if one is not None)
    slurm = proc.environment(pid, ("SLURM_CPUS_PER_TASK",)).get("SLURM_CPUS_PER_TASK", "")
    said = int(slurm) if slurm.isdecimal() else None
    return UsableCores(cores, affinity, cpuset, quota, said if said is not None and said != cores else None)


def shm_bytes(pid: int) -> int | None:
    """Size of the target's /dev/shm, through which loader workers hand over their batches."""
    try:
        there = os.statvfs(f"/proc/{pid}/root/dev/shm")
    except OSError:
        return None
    return there.f_frsize * there.f_blocks
