"""How many cores the rest of the machine uses beside a benchmark: what its figures have to be read with."""

import os
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SESSION, UTIME, CSTIME = 3, 11, 14  # of /proc/PID/stat, counted from the state on
IDLE = (3, 4)  # idle and iowait of /proc/stat


def machine_ticks() -> int:
    """CPU time that the machine has spent at work, the hypervisor's steals included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(field for at, field in enumerate(fields) if at not in IDLE)


def session_ticks(sessions: set[int]) -> int:
    """CPU time of all processes of these sessions, those that ended and were waited for included."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2 :].split()
        if int(fields[SESSION]) in sessions:
            total += sum(map(int, fields[UTIME : CSTIME + 1]))
    return total


class Others:
    """Since its making: cores used by processes outside of our session and those given."""

    def __init__(self, *sessions: int) -> None:
        self.sessions = {os.getsid(0), *sessions}
        self.began_s, self.machine, self.own = time.monotonic(), machine_ticks(), session_ticks(self.sessions)

    def cores(self) -> float:
        machine, own = machine_ticks() - self.machine, session_ticks(self.sessions) - self.own
        return max(machine - own, 0) / TICKS_PER_S / (time.monotonic() - self.began_s)
