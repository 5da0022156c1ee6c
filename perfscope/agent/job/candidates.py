"""The Python processes of this machine, for `perfscope ps`: which ones can be attached to."""

import os
import time
from collections import Counter
from dataclasses import dataclass

from perfscope.agent.entry import check_entry
from perfscope.agent.host import proc
from perfscope.agent.job.loader_workers import (
    is_loader_worker,
    is_multiprocessing_helper,
    parent_program,
)
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
        check_entry(pid)
    except PerfscopeError as reason:
        return str(reason)
    return None


def find_candidates() -> list[Candidate]:
    """Return all Python processes except this one and loader workers, those with torch first.

    This takes OBSERVED_S, to measure their CPU use.
    """
    torch_of_pid = find_python_processes()
    with_torch = {pid for pid, torch in torch_of_pid.items() if torch}
    program_of_worker = find_loader_workers(with_torch)
    workers = Counter(program_of_worker.values())
    before = {pid: cpu_ticks(pid) for pid in torch_of_pid}
    time.sleep(OBSERVED_S)
    found: list[Candidate] = []
    for pid, torch in torch_of_pid.items():
        command = proc.command_line(pid)
        if not command or pid in program_of_worker or is_multiprocessing_helper(pid):
            continue
        rank = place_from_environment(proc.environment(pid, PLACE_VARIABLES), "RANK")
        candidate = Candidate(
            pid=pid,
            rank=rank if rank >= 0 else None,
            torch=torch,
            workers=workers[pid],
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


def find_loader_workers(with_torch: set[int]) -> dict[int, int]:
    """Return the pid of its program for each of these processes that is a loader worker."""
    found: dict[int, int] = {}
    for pid in with_torch:
        program = parent_program(pid)
        if program is not None and program in with_torch and is_loader_worker(pid, program):
            found[pid] = program
    return found
