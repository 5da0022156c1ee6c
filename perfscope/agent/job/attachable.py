"""Checks whether a process can be attached to, and finds the other ranks of its job."""

from perfscope.agent.host import proc
from perfscope.agent.job.roles import (
    WORKER_THREAD,
    ProcessFacts,
    find_facts,
    is_launcher,
    is_spawned,
    read_facts,
    same_world,
    short_name,
)
from perfscope.agent.job.suggest_target import (
    ancestors_of_this_process,
    find_attachable_below,
    suggest_instead,
)
from perfscope.errors import PerfscopeError, UsageError

MOST_GENERATIONS = 16
STEP_THREAD = "slurmstepd"
"""The parent of all tasks of a SLURM step on a host."""


def check_attachable(pid: int) -> proc.Stat:
    """Return the identity of a process that can be attached to.

    Raises UsageError or PerfscopeError, with what to do, where it cannot.
    """
    found = proc.stat(pid)
    if found is None:
        raise UsageError(
            f"no process with pid {pid}. Run `perfscope ps` to list processes you can attach to."
        )
    owner = proc.process_of_thread(pid)
    if owner != pid:
        raise UsageError(f"{pid} is a thread of process {owner}. Attach to {owner} instead.")
    if found.state in "ZX":
        raise PerfscopeError(
            f"process {pid} has ended; its parent ({found.parent}) has not reaped it yet"
        )
    if found.state == "T":
        raise PerfscopeError(
            f"process {pid} is stopped by a signal. Continue it with `kill -CONT {pid}` first."
        )
    process = read_facts(pid, found)
    if not process.is_python:
        raise UsageError(suggest_instead(pid, found.name))
    parent = find_facts(found.parent)
    is_worker = process.thread == WORKER_THREAD
    if parent is not None and parent.is_python and is_worker:
        raise UsageError(
            f"process {pid} is a loader worker of {parent.pid} ({short_name(parent.command)})."
            f" Attach to {parent.pid} instead."
        )
    return found


def find_tops(pid: int) -> list[int]:
    """Return the processes whose descendants include every rank, on this host, of the job of `pid`.

    That is its launcher if there is one. Otherwise it is each of its siblings (under SLURM, each
    task of its step) that has a rank in a world of the same size.
    """
    process = find_facts(pid)
    parent = find_facts(process.parent) if process is not None and process.parent > 1 else None
    if process is None or parent is None:
        return [pid]
    launcher = launcher_above(parent)
    if launcher is not None:
        return [launcher.pid]
    if parent.is_python and is_spawned(process):
        return [parent.pid]
    step = slurm_step_above(parent)
    if step is not None:
        tasks = find_attachable_below(step.pid, ancestors_of_this_process())
        return [pid, *(task.pid for task in tasks if task.pid != pid and same_world(task, process))]
    siblings = [sibling for sibling in map(find_facts, proc.children(parent.pid)) if sibling]
    ranks = [sibling.pid for sibling in siblings if same_world(sibling, process)]
    return sorted({pid, *ranks})


def slurm_step_above(parent: ProcessFacts) -> ProcessFacts | None:
    """Return the SLURM process that started all tasks of a step on this host, None without one."""
    above: ProcessFacts | None = parent
    for _ in range(MOST_GENERATIONS):
        if above is None or above.thread == STEP_THREAD:
            return above
        above = find_facts(above.parent) if above.parent > 1 else None
    return None


def launcher_above(parent: ProcessFacts) -> ProcessFacts | None:
    """Return the launcher above a rank, past the shells that wrap it; None without a known one."""
    above: ProcessFacts | None = parent
    for _ in range(MOST_GENERATIONS):
        if above is None or is_launcher(above):
            return above
        if above.is_python or above.parent <= 1:
            return None
        above = find_facts(above.parent)
    return None


def index_among_spawned(pid: int) -> int:
    """Return the index, by age, of a process among its siblings that multiprocessing spawned.

    Under mp.spawn this is probably its rank. Where it is not spawned, or has a RANK, return 0.
    """
    process = find_facts(pid)
    if process is None or not is_spawned(process) or process.number("RANK") >= 0:
        return 0
    siblings = [sibling for sibling in map(find_facts, proc.children(process.parent)) if sibling]
    by_age = sorted(
        (sibling.start_ticks, sibling.pid) for sibling in siblings if is_spawned(sibling)
    )
    key = (process.start_ticks, pid)
    return by_age.index(key) if key in by_age else 0
