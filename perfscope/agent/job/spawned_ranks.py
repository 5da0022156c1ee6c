"""Ranks that a program starts itself by multiprocessing (mp.spawn, notebook launchers): told from
its loader workers.

From outside both are multiprocessing children. A torch that names its loader workers (>= 2.6)
leaves ranks nameless; their parent does nothing but wait for them, or they have loader workers of
their own.
"""

import time

from perfscope.agent.host import proc
from perfscope.agent.job.roles import UNDECIDED, WORKER_THREAD, Family, Sight

SETTLE_S = 5.0
"""A spawned loader worker names itself once it has imported torch: so long it may be nameless
without being a rank.
"""
IDLE_NS = 100_000_000
"""A main thread that was not on a core for this long, with nameless children only, waits for them.
"""


def age_s(sight: Sight) -> float:
    """Seconds since the process started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - sight.start_ticks / proc.TICKS_PER_S


def is_young(sight: Sight) -> bool:
    """Too young to be told from a loader worker."""
    return age_s(sight) < SETTLE_S


class Spawning:
    """Finds the main processes that only wait for ranks. It needs two looks, so it remembers the
    last.
    """

    def __init__(self, *, told: bool = False) -> None:
        """`told`: the children say themselves what they are, so nothing is guessed."""
        self.told = told
        self.last_ran: dict[int, tuple[str, int]] = {}
        self.found: set[tuple[int, int]] = set()

    def launchers(
        self, family: Family, roles: dict[int, str], said: set[int | None], *, wait: bool
    ) -> set[int]:
        """Pids known to be launchers by what they do, and those of `said`; with `wait` a first look
        takes a tenth of a second for a second one.
        """
        for pid, sight in family.sights.items():
            guessed = (
                not self.told
                and roles[pid] == "main"
                and self.starts_ranks(sight, family, roles, wait)
            )
            if guessed or pid in said:
                self.found.add((pid, sight.start_ticks))
        return {
            pid for pid, sight in family.sights.items() if (pid, sight.start_ticks) in self.found
        }

    def starts_ranks(self, sight: Sight, family: Family, roles: dict[int, str], wait: bool) -> bool:
        kids = [
            one
            for one in family.below(sight.pid)
            if one.has_torch and roles[one.pid] in (UNDECIDED, "loader-worker")
        ]
        if not kids or any(kid.thread == WORKER_THREAD for kid in kids):
            return False
        if all(any(one.has_torch for one in family.below(kid.pid)) for kid in kids):
            return True
        if any(roles[kid.pid] != UNDECIDED or is_young(kid) for kid in kids):
            return False
        idle_ns = self.idle_ns(sight.pid)
        if wait and idle_ns < IDLE_NS:
            time.sleep(1.2 * IDLE_NS / 1e9)
            idle_ns = self.idle_ns(sight.pid)
        return idle_ns >= IDLE_NS

    def idle_ns(self, pid: int) -> int:
        """For how long, as far as was seen, the main thread of `pid` has not been on a core
        (schedstat stands still).
        """
        now_ns, text = time.monotonic_ns(), proc.read(f"/proc/{pid}/task/{pid}/schedstat") or ""
        before, since_ns = self.last_ran.get(pid, ("", now_ns))
        if not text or text != before:
            self.last_ran[pid] = (text, now_ns)
            return 0
        return now_ns - since_ns
