"""Where a target stands among its relatives: may it be attached to, which processes are ranks of
the same job.
"""

from perfscope.agent.host import proc
from perfscope.agent.job.roles import (
    WORKER_THREAD,
    Sight,
    is_launcher,
    is_spawned,
    look,
    same_world,
    script,
    sight_of,
)
from perfscope.agent.job.suggest_target import instead, ourselves, worth_below
from perfscope.errors import PerfscopeError, UsageError

MOST_GENERATIONS = 16
STEP_THREAD = "slurmstepd"  # the parent of all tasks of a SLURM step on a host


def attachable(pid: int) -> proc.Stat:
    """Who `pid` is. Raises UsageError or PerfscopeError with what to do where there is nothing to
    attach to.
    """
    found = proc.stat(pid)
    if found is None:
        raise UsageError(f"no process {pid}. `perfscope ps` lists what can be attached to.")
    whole = proc.process_of(pid)
    if whole != pid:
        raise UsageError(f"{pid} is a thread of process {whole}: attach to that.")
    if found.state in "ZX":
        raise PerfscopeError(
            f"process {pid} has ended and waits for its parent ({found.parent}): attach to another"
        )
    if found.state == "T":
        raise PerfscopeError(
            f"process {pid} is stopped by a signal: let it run first with `kill -CONT {pid}`"
        )
    sight = look(pid, found)
    if not sight.is_python:
        raise UsageError(instead(pid, found.name))
    above = sight_of(found.parent)
    if above is not None and above.is_python and sight.thread == WORKER_THREAD:
        raise UsageError(
            f"process {pid} is a loader worker of {found.parent} ({script(above.command)}): attach"
            " to that."
        )
    return found


def all_ranks(pid: int) -> list[int]:
    """The processes whose trees hold every rank of the job of `pid` on this host.

    Its launcher where there is one; else those of its siblings, under SLURM of the tasks of its
    step, that were given a rank of as large a world.
    """
    sight = sight_of(pid)
    parent = sight_of(sight.parent) if sight is not None and sight.parent > 1 else None
    if sight is None or parent is None:
        return [pid]
    launcher = launcher_above(parent)
    if launcher is not None:
        return [launcher.pid]
    if parent.is_python and is_spawned(sight):
        return [parent.pid]
    step = step_above(parent)
    if step is not None:
        return [
            pid,
            *(
                one.pid
                for one in worth_below(step.pid, ourselves())
                if one.pid != pid and same_world(one, sight)
            ),
        ]
    siblings = [one for one in map(sight_of, proc.children(parent.pid)) if one is not None]
    return [one.pid for one in siblings if one.pid == pid or same_world(one, sight)] or [pid]


def step_above(parent: Sight) -> Sight | None:
    """The process of SLURM that all tasks of a step on this host stand below; None where there is
    none.
    """
    above: Sight | None = parent
    for _ in range(MOST_GENERATIONS):
        if above is None or above.thread == STEP_THREAD:
            return above
        above = sight_of(above.parent) if above.parent > 1 else None
    return None


def launcher_above(parent: Sight) -> Sight | None:
    """The launcher of a rank, past shells that wrap it; None when no known launcher is above."""
    above: Sight | None = parent
    for _ in range(MOST_GENERATIONS):
        if above is None or is_launcher(above):
            return above
        if above.is_python or above.parent <= 1:
            return None
        above = sight_of(above.parent)
    return None


def place_among_spawned(pid: int) -> int:
    """Its place by age among the children of its parent that multiprocessing spawned: the likely
    rank under mp.spawn.
    """
    sight = sight_of(pid)
    if sight is None or not is_spawned(sight) or sight.number("RANK") >= 0:
        return 0
    siblings = [
        one
        for one in map(sight_of, proc.children(sight.parent))
        if one is not None and is_spawned(one)
    ]
    ages = sorted((one.start_ticks, one.pid) for one in siblings)
    return ages.index((sight.start_ticks, pid)) if (sight.start_ticks, pid) in ages else 0
