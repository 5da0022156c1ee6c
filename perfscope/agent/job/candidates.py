"""The Python processes of this machine, for `perfscope ps`: which ones can be attached to."""

import os
import time
from dataclasses import dataclass

from perfscope.agent.entry import check
from perfscope.agent.host import proc
from perfscope.agent.job.roles import (
    PLACE_VARIABLES,
    has_torch,
    is_python,
    place_from_environment,
    short_name,
)
from perfscope.errors import PerfscopeError

TICKS = os.sysconf("SC_CLK_TCK")
OBSERVED_S = 0.3


@dataclass(frozen=True)
class Candidate:
    """One Python process.

    `busy` is its CPU use in cores; `refusal` says why it cannot be entered, None where it can.
    """

    pid: int
    rank: int | None
    torch: bool
    workers: int
    busy: float
    rss_bytes: int
    script: str
    refusal: str | None


def cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process in clock ticks, 0 when it is gone."""
    text = proc.read(f"/proc/{pid}/stat")
    if not text:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[12])


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 when it is gone."""
    fields = (proc.read(f"/proc/{pid}/statm") or "0 0").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def entry_refusal(pid: int) -> str | None:
    """Return why a process cannot be entered, None where it can."""
    try:
        check(pid)
    except PerfscopeError as reason:
        return str(reason)
    return None


def find_candidates() -> list[Candidate]:
    """Return all Python processes except this one and loader workers, those with torch first.

    This takes OBSERVED_S, to measure their CPU use.
    """
    torch_of_pid = find_python_processes()
    before = {pid: cpu_ticks(pid) for pid in torch_of_pid}
    time.sleep(OBSERVED_S)
    found: list[Candidate] = []
    for pid, torch in torch_of_pid.items():
        stat, command = proc.stat(pid), proc.command_line(pid)
        if stat is None or not command:
            continue
        if torch and torch_of_pid.get(stat.parent, False) and is_fork_of(pid, stat.parent):
            continue
        rank = place_from_environment(proc.environment(pid, PLACE_VARIABLES), "RANK")
        children_with_torch = [
            child for child in proc.children(pid) if torch_of_pid.get(child, False)
        ]
        candidate = Candidate(
            pid=pid,
            rank=rank if rank >= 0 else None,
            torch=torch,
            workers=len(children_with_torch),
            busy=(cpu_ticks(pid) - before[pid]) / TICKS / OBSERVED_S,
            rss_bytes=rss_bytes(pid),
            script=short_name(command),
            refusal=entry_refusal(pid),
        )
        found.append(candidate)
    return sorted(found, key=lambda candidate: (not candidate.torch, candidate.pid))


def find_python_processes() -> dict[int, bool]:
    """Return whether torch is loaded in each Python process except this one, by pid."""
    found: dict[int, bool] = {}
    for pid in proc.all_pids():
        mapped = proc.mapped_names(pid)
        if pid != os.getpid() and is_python(pid, mapped):
            found[pid] = has_torch(mapped)
    return found


def is_fork_of(pid: int, parent: int) -> bool:
    """Return whether a child has the command line of its parent: it is then a loader worker."""
    return proc.command_line(pid) == proc.command_line(parent)
