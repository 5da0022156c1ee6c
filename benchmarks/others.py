"""How many cores the rest of the machine uses beside a benchmark: what its figures have to be read
with.
"""

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PARENT, SESSION, UTIME, CSTIME = 0, 2, 10, 13  # of /proc/PID/stat, counted from behind the state
IDLE = (3, 4)  # idle and iowait of /proc/stat


def machine_ticks() -> int:
    """CPU time that the machine has spent at work, the hypervisor's steals included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(field for at, field in enumerate(fields) if at not in IDLE)


def session_ticks(sessions: set[int]) -> int:
    """CPU time of all processes of these sessions and their descendants (torchrun gives each rank a
    session of its own), those that ended and were waited for included.
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
    own = {pid for pid, fields in rows.items() if fields[SESSION] in sessions}
    while grown := {pid for pid, fields in rows.items() if fields[PARENT] in own} - own:
        own |= grown
    return sum(sum(rows[pid][UTIME : CSTIME + 1]) for pid in own)


class Others:
    """Since its making: cores used by processes outside of our session and those given."""

    def __init__(self, *sessions: int) -> None:
        self.sessions = {os.getsid(0), *sessions}
        self.began_s, self.machine, self.own = (
            time.monotonic(),
            machine_ticks(),
            session_ticks(self.sessions),
        )

    def cores(self) -> float:
        machine, own = machine_ticks() - self.machine, session_ticks(self.sessions) - self.own
        return max(machine - own, 0) / TICKS_PER_S / (time.monotonic() - self.began_s)
