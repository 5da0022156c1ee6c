"""The cores that a process may use, and the size of its shared memory."""

import os
from pathlib import Path

from perfscope.agent.host import cgroup, proc
from perfscope.agent.target_user.child import call_as
from perfscope.agent.target_user.files import filesystem_bytes
from perfscope.agent.target_user.rights import target_user
from perfscope.traces.run_folder.manifest import UsableCores


def usable_cores(pid: int, *ranks: int) -> UsableCores:
    """Return the least of affinity, cpuset and cgroup quota.

    `ranks` are the other ranks on this host, each of which may be bound to different cores. The
    number that SLURM reports may not be enforced: it is only returned as well, where it differs.
    """
    pids = {pid, *ranks}
    bound = set[int]().union(*map(affinity_of, pids))
    bound = bound or os.sched_getaffinity(0)
    affinity = len(bound)
    quota, cpuset = cgroup.cpu_quota(pid), cgroup.cpuset(pid)
    cores = min(float(limit) for limit in (affinity, cpuset, quota) if limit is not None)
    slurm = slurm_cores(pids)
    given = None if slurm == cores else slurm
    return UsableCores(cores, affinity, cpuset, quota, given, physical_cores(bound))


def physical_cores(cores: set[int]) -> int | None:
    """Return how many physical cores these are, of which each may run two threads; None if unknown.

    `cores` are numbers of the kernel.
    """
    siblings = set()
    for core in cores:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text())
        except OSError:
            return None
    return len(siblings)


def slurm_cores(pids: set[int]) -> int | None:
    """Return the number of cores that SLURM gave to the tasks of these processes, else None."""
    cores_of_task: dict[str, int] = {}
    for pid in pids:
        variables = proc.environment(pid, ("SLURM_PROCID", "SLURM_CPUS_PER_TASK"))
        cores = proc.decimal_number(variables.get("SLURM_CPUS_PER_TASK", ""))
        if "SLURM_PROCID" in variables and cores is not None:
            cores_of_task[variables["SLURM_PROCID"]] = cores
    return sum(cores_of_task.values()) or None


def affinity_of(pid: int) -> set[int]:
    """Return the cores that a process is bound to; none when it is gone."""
    try:
        return os.sched_getaffinity(pid)
    except OSError:
        return set()


def shm_bytes(pid: int) -> int | None:
    """Return the size of the target's /dev/shm, None if unknown.

    Loader workers pass their batches through it.
    """
    try:
        with target_user(pid) as user:
            return int(call_as(user, filesystem_bytes, user.root, "/dev/shm").value)
    except (OSError, TypeError, ValueError):
        return None
