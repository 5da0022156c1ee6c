"""How many cores a process may really use, and how much memory: never `os.cpu_count()`."""

import os

from perfscope.agent.host import cgroup, proc
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.files import filesystem_bytes
from perfscope.agent.target_user.rights import target_user
from perfscope.traces.run.manifest import UsableCores


def usable_cores(pid: int, *ranks: int) -> UsableCores:
    """The least of affinity, cpuset and cgroup quota; SLURM's own figure is named, not used: it may
    not be enforced.

    `ranks`: the processes of the other ranks on this host, each of which may be bound to cores of
    its own.
    """
    bound = {core for one in (pid, *ranks) for core in affinity_of(one)}
    affinity = len(bound or os.sched_getaffinity(0))
    quota, cpuset = cgroup.cpu_quota(pid), cgroup.cpuset(pid)
    cores = min(float(one) for one in (affinity, cpuset, quota) if one is not None)
    slurm = {
        one["SLURM_PROCID"]: one["SLURM_CPUS_PER_TASK"]
        for one in map(slurm_said, {pid, *ranks})
        if len(one) == 2
    }
    said = sum(int(one) for one in slurm.values() if one.isdecimal()) or None
    return UsableCores(
        cores, affinity, cpuset, quota, said if said is not None and said != cores else None
    )


def slurm_said(pid: int) -> dict[str, str]:
    """Which task it is of, and how many cores SLURM gave that; where both are said."""
    return proc.environment(pid, ("SLURM_PROCID", "SLURM_CPUS_PER_TASK"))


def affinity_of(pid: int) -> set[int]:
    """The cores that a process is bound to, none when it is gone."""
    try:
        return os.sched_getaffinity(pid)
    except OSError:
        return set()


def shm_bytes(pid: int) -> int | None:
    """Return the size of the target's /dev/shm, through which loader workers hand over their
    batches; None if unknown.
    """
    try:
        with target_user(pid) as user:
            return int(call_as(user, filesystem_bytes, user.root, "/dev/shm").value)
    except (OSError, TypeError, ValueError):
        return None
