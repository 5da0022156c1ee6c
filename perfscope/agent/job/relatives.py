"""Where a target stands among its relatives: may it be attached to, which processes are ranks of the same job."""

from perfscope.agent.host import proc
from perfscope.agent.job.roles import WORKER_THREAD, Sight, is_launcher, is_spawned, look, script
from perfscope.errors import PerfscopeError, UsageError

MOST_GENERATIONS = 16


def attachable(pid: int) -> proc.Stat:
    """Who `pid` is. Raises UsageError or PerfscopeError with what to do where there is nothing to attach to."""
    found = proc.stat(pid)
    if found is None:
        raise UsageError(f"no process {pid}. `perfscope ps` lists what can be attached to.")
    whole = proc.process_of(pid)
    if whole != pid:
        raise UsageError(f"{pid} is a thread of process {whole}: attach to that.")
    if found.state in "ZX":
        raise PerfscopeError(f"process {pid} has ended and waits for its parent ({found.parent}): attach to another")
    sight = look(pid, found)
    if not sight.is_python:
        below = python_below(pid)
        hint = f"attach to its child {below[0]} instead" if below else "`perfscope ps` lists what can be attached to"
        raise UsageError(f"process {pid} ({found.name}) is not Python: {hint}.")
    above = sight_of(found.parent)
    if above is not None and above.is_python and sight.thread == WORKER_THREAD:
        raise UsageError(
            f"process {pid} is a loader worker of {found.parent} ({script(above.command)}): attach to that."
        )
    return found


def python_below(pid: int) -> list[int]:
    """The uppermost Python processes below `pid`."""
    found: list[int] = []
    for child in proc.children(pid):
        sight = sight_of(child)
        if sight is not None:
            found += [child] if sight.is_python else python_below(child)
    return found


def sight_of(pid: int) -> Sight | None:
    """A look at `pid`, None when it is gone."""
    found = proc.stat(pid)
    return look(pid, found) if found is not None and found.state not in "ZX" else None


def all_ranks(pid: int) -> list[int]:
    """The processes whose trees hold every rank of the job of `pid` on this host.

    Its launcher where there is one; else those of its siblings that were given a rank of as large a world.
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
    siblings = [one for one in map(sight_of, proc.children(parent.pid)) if one is not None]
    return [one.pid for one in siblings if one.pid == pid or same_world(one, sight)] or [pid]


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


def same_world(one: Sight, other: Sight) -> bool:
    """Two ranks of one job: different ranks of a world of the same size."""
    worlds = one.number("WORLD_SIZE"), other.number("WORLD_SIZE")
    return worlds[0] == worlds[1] and -1 not in worlds and -1 < one.number("RANK") != other.number("RANK")


def place_among_spawned(pid: int) -> int:
    """Its place by age among the children of its parent that multiprocessing spawned: the likely rank under mp.spawn."""
    sight = sight_of(pid)
    if sight is None or not is_spawned(sight) or sight.number("RANK") >= 0:
        return 0
    siblings = [one for one in map(sight_of, proc.children(sight.parent)) if one is not None and is_spawned(one)]
    ages = sorted((one.start_ticks, one.pid) for one in siblings)
    return ages.index((sight.start_ticks, pid)) if (sight.start_ticks, pid) in ages else 0
