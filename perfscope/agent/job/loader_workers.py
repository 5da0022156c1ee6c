"""Which of all processes of a machine are loader workers or helpers of another process.

`ps` and `top` look at every process once; `roles.py` and `tree.py` follow the processes of one job.
"""

from perfscope.agent.host import proc
from perfscope.agent.job.roles import WORKER_THREAD, is_helper_command


def parent_program(pid: int) -> int | None:
    """Return the process whose program started a process: its parent, or the one above the fork
    server that is its parent. None if it is gone.
    """
    found = proc.stat(pid)
    while found is not None and is_multiprocessing_helper(found.parent):
        found = proc.stat(found.parent)
    return None if found is None else found.parent


def is_multiprocessing_helper(pid: int) -> bool:
    """Return whether Python started a process for itself: a fork server or resource tracker.

    The processes that a fork server starts have its command line.
    """
    found = proc.stat(pid)
    return (
        found is not None
        and is_helper_command(proc.command_line(pid))
        and not is_helper_command(proc.command_line(found.parent))
    )


def is_loader_worker(pid: int, program: int) -> bool:
    """Return whether a process with torch, started by `program`, is a loader worker: torch >= 2.6
    names it, else it is a fork with the same command line.
    """
    found = proc.stat(pid)
    is_named = found is not None and found.name == WORKER_THREAD
    return is_named or proc.command_line(pid) == proc.command_line(program)


def started_by(pid: int) -> list[int]:
    """Return the children of a process, and those of its fork server."""
    found = []
    for child in proc.children(pid):
        found += [child, *(proc.children(child) if is_multiprocessing_helper(child) else ())]
    return found
