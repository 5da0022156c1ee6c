"""The Python processes of this machine and whether they can be attached to: what `perfscope ps`
shows.
"""

import os
import time
from dataclasses import dataclass

from perfscope.agent.entry import check_entry
from perfscope.agent.host import proc
from perfscope.agent.job.roles import SAID, has_torch, is_python, said_place, script
from perfscope.errors import PerfscopeError

TICKS = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.3


@dataclass(frozen=True)
class Candidate:
    """One Python process; `refusal` is None when it can be entered."""

    pid: int
    rank: int | None
    torch: bool
    workers: int
    busy: float
    rss_bytes: int
    script: str
    refusal: str | None


def cpu_ticks(pid: int) -> int:
    text = proc.read(f"/proc/{pid}/stat")
    if not text:
        return 0
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[11]) + int(fields[12])


def rss_bytes(pid: int) -> int:
    fields = (proc.read(f"/proc/{pid}/statm") or "0 0").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def refusal(pid: int) -> str | None:
    try:
        check_entry(pid)
    except PerfscopeError as reason:
        return str(reason)
    return None


def candidates() -> list[Candidate]:
    """Python processes other than ourselves and loader workers, those with torch first. Takes a
    moment to see who is busy.
    """
    python = {}
    for name in os.listdir("/proc"):
        if (
            name.isdecimal()
            and int(name) != os.getpid()
            and is_python(int(name), mapped := proc.mapped(int(name)))
        ):
            python[int(name)] = has_torch(mapped)
    before = {pid: cpu_ticks(pid) for pid in python}
    time.sleep(LOOK_S)
    found = []
    for pid, torch in python.items():
        stat, command = proc.stat(pid), proc.command_line(pid)
        if (
            stat is None
            or not command
            or (
                stat.parent in python and python[stat.parent] and torch and forked(pid, stat.parent)
            )
        ):
            continue
        rank = said_place(proc.environment(pid, SAID), "RANK")
        workers = sum(child in python and python[child] for child in proc.children(pid))
        busy = (cpu_ticks(pid) - before[pid]) / TICKS / LOOK_S
        its_rank = rank if rank >= 0 else None
        found.append(
            Candidate(
                pid, its_rank, torch, workers, busy, rss_bytes(pid), script(command), refusal(pid)
            )
        )
    return sorted(found, key=lambda one: (not one.torch, one.pid))


def forked(pid: int, parent: int) -> bool:
    """A child with its parent's command line is a fork of it: a loader worker."""
    return proc.command_line(pid) == proc.command_line(parent)
