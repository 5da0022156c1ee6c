"""How long a thread has been waiting: since the kernel's scheduler last ran it.

Each core has a scheduler clock of its own, which programs cannot read. So its current time is taken
from this thread, after that has moved to the same core.
"""

import os
import re

EXEC_START = re.compile(r"^se\.exec_start\s*:\s*([0-9.]+)", re.MULTILINE)
PROCESSOR_FIELD = 36  # of /proc/PID/stat, counted from the state


def waited_ns(pid: int) -> int:
    """Return how long the main thread of `pid` has not run, in nanoseconds; 0 if unknown."""
    try:
        began_ms = exec_start_ms(f"/proc/{pid}/task/{pid}")
        with open(f"/proc/{pid}/task/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            after_name = stream.read().rpartition(")")[2]
        core = int(after_name.split()[PROCESSOR_FIELD])
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            now_ms = exec_start_ms("/proc/thread-self")
        finally:
            os.sched_setaffinity(0, allowed)
    except (OSError, LookupError, ValueError):
        return 0
    return max(int((now_ms - began_ms) * 1e6), 0)


def exec_start_ms(place: str) -> float:
    """Return when the scheduler last accounted for a thread, in milliseconds of its core's clock.

    Raises OSError, LookupError.
    """
    with open(f"{place}/sched", encoding="ascii", errors="replace") as stream:
        found = EXEC_START.search(stream.read())
    if found is None:
        raise LookupError(place)
    return float(found[1])
