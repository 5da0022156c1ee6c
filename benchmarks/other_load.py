"""Number of cores that other processes use during a benchmark, which qualifies its results."""

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARENT, SESSION, UTIME, CSTIME = 0, 2, 10, 13
"""Indexes in /proc/PID/stat, counted after the state."""
IDLE = (3, 4)
"""Indexes of idle and iowait in /proc/stat."""


def machine_ticks() -> int:
    """Return the busy time of all cores in clock ticks, including what the hypervisor stole."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(field for index, field in enumerate(fields) if index not in IDLE)


def session_ticks(sessions: set[int]) -> int:
    """Return the CPU time of all processes of these sessions and their descendants.

    Descendants count because torchrun gives each rank a session of its own. Ended processes count
    if they were waited for.
    """
    rows: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        rows[int(folder.name)] = [
            int(field) for field in text[text.rindex(")") + 4 :].split()[: CSTIME + 1]
        ]
    counted = {pid for pid, fields in rows.items() if fields[SESSION] in sessions}
    while new := {pid for pid, fields in rows.items() if fields[PARENT] in counted} - counted:
        counted |= new
    return sum(sum(rows[pid][UTIME : CSTIME + 1]) for pid in counted)


class Others:
    """Processes outside our session and the given ones, observed since creation."""

    def __init__(self, *sessions: int) -> None:
        self.sessions = {os.getsid(0), *sessions}
        self.began_s = time.monotonic()
        self.machine_ticks = machine_ticks()
        self.session_ticks = session_ticks(self.sessions)

    def cores(self) -> float:
        """Return the mean number of cores that other processes have used."""
        machine = machine_ticks() - self.machine_ticks
        counted = session_ticks(self.sessions) - self.session_ticks
        elapsed_s = time.monotonic() - self.began_s
        return max(machine - counted, 0) / TICKS_PER_S / elapsed_s
