"""Distinguishes ranks that a program spawns (mp.spawn, notebook launchers) from loader workers.

Seen from outside, both are multiprocessing children. torch >= 2.6 names its loader workers, but not
such ranks. The parent of ranks does nothing but wait for them, or they have loader workers.
"""

import time

from perfscope.agent.host import proc
from perfscope.agent.host.blocking_system_calls import numbered_forms
from perfscope.agent.job.roles import UNDECIDED, WORKER_THREAD, ProcessFacts, ProcessFamily

SETTLE_S = 5.0
"""A spawned loader worker gets its name after it has imported torch. Up to this age, a child
without a name may be a worker.
"""
RECEIVING = ("read", "readv", "recvfrom", "recvmsg")
RECEIVING_IDLE_NS = 3_000_000_000
"""The same for one that waits for data: a helper, such as an environment, answers sooner."""
IDLE_NS = 100_000_000
"""A main thread that has run on no core for this long, with unnamed children only, waits for them.
"""


def age_s(process: ProcessFacts) -> float:
    """Return the seconds since the process started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - process.start_ticks / proc.TICKS_PER_S


def is_young(process: ProcessFacts) -> bool:
    """Return whether a process may still be a loader worker without a name."""
    return age_s(process) < SETTLE_S


class SpawnerFinder:
    """Finds the main processes that only wait for the ranks they have spawned.

    This takes two observations, so it remembers the last one.
    """

    def __init__(self, *, children_report: bool = False) -> None:
        """`children_report`: the probes in the children report their roles, so none is inferred."""
        self.children_report = children_report
        self.last_ran: dict[int, tuple[str, int]] = {}
        self.found: set[tuple[int, int]] = set()

    def find(
        self, family: ProcessFamily, roles: dict[int, str], reported: set[int | None], *, wait: bool
    ) -> set[int]:
        """Return the pids of launchers: inferred now or earlier, or `reported` by their children.

        With `wait`, the first observation waits a tenth of a second for a second one.
        """
        for pid, process in family.processes.items():
            may_infer = not self.children_report and roles[pid] == "main"
            if pid in reported or (
                may_infer and self.waits_for_ranks(process, family, roles, wait)
            ):
                self.found.add((pid, process.start_ticks))
        return {
            pid
            for pid, process in family.processes.items()
            if (pid, process.start_ticks) in self.found
        }

    def forget(self, trainers: set[int]) -> None:
        """Forget that processes are launchers, because they train."""
        self.found = {(pid, start) for pid, start in self.found if pid not in trainers}

    def waits_for_ranks(
        self, process: ProcessFacts, family: ProcessFamily, roles: dict[int, str], wait: bool
    ) -> bool:
        """Return whether the children of a main process are ranks."""
        children = [
            child
            for child in family.below(process.pid)
            if child.has_torch and roles[child.pid] in (UNDECIDED, "loader-worker")
        ]
        if not children or any(child.thread == WORKER_THREAD for child in children):
            return False
        if all(has_workers(child, family) for child in children):
            return True
        if any(roles[child.pid] != UNDECIDED or is_young(child) for child in children):
            return False
        idle_ns = self.idle_ns(process.pid)
        if wait and idle_ns < IDLE_NS:
            time.sleep(1.2 * IDLE_NS / 1e9)
            idle_ns = self.idle_ns(process.pid)
        return idle_ns >= (RECEIVING_IDLE_NS if is_receiving(process.pid) else IDLE_NS)

    def idle_ns(self, pid: int) -> int:
        """Return for how long the main thread of `pid` is known to have run on no core.

        Its schedstat does not change then.
        """
        now_ns = time.monotonic_ns()
        text = proc.read(f"/proc/{pid}/task/{pid}/schedstat") or ""
        before, since_ns = self.last_ran.get(pid, ("", now_ns))
        if not text or text != before:
            self.last_ran[pid] = (text, now_ns)
            return 0
        return now_ns - since_ns


def is_receiving(pid: int) -> bool:
    """Return whether the main thread waits for data and not for the end of a child."""
    words = (proc.read(f"/proc/{pid}/task/{pid}/syscall") or "").split()
    form = numbered_forms().get(int(words[0])) if words and words[0].isdecimal() else None
    return form is not None and form.name in RECEIVING


def has_workers(process: ProcessFacts, family: ProcessFamily) -> bool:
    """Return whether a process has children with torch."""
    return any(child.has_torch for child in family.below(process.pid))
