"""Whether a job in which nothing moves may wait forever, or will surely go on or be given work.

This decides only when a recording ends; what the job waits for is decided by the analyzer.
"""

from dataclasses import dataclass

from perfscope.agent.host.thread_waits import ThreadWait

LONG_SLEEP_NS = 60_000_000_000
"""A thread that sleeps longer than this is not about to go on."""
LOOP_RUNS = 3
"""A thread that has run this often within seconds sleeps in a loop, each time shortly."""
UNLIMITED = ("lock", "file", "disk", "pipe", "child", "stopped")
FOR_WORK = ("requests", "input")
PROGRAM_FRAMES = (" (./", " (/", " (<stdin>")


@dataclass(frozen=True)
class WaitingThread:
    """A thread, how often it has run since nothing moves, and its Python stack, "" if none."""

    is_main: bool
    wait: ThreadWait
    runs: int
    stack: str

    @property
    def will_wake(self) -> bool:
        """Whether the program's own code sleeps here, and goes on within a minute."""
        if self.wait.kind != "sleep" or self.runs >= LOOP_RUNS:
            return False
        is_short = 0 <= self.wait.limit_ns < LONG_SLEEP_NS
        return is_short and any(mark in self.stack for mark in PROGRAM_FRAMES)


def may_wait_forever(mains: list[list[WaitingThread]], others: list[list[WaitingThread]]) -> bool:
    """Return whether nothing that was seen will end the wait.

    `mains` and `others` have the threads of each main process and of each other process.
    """
    every = [thread for process in (*mains, *others) for thread in process]
    if any(thread.will_wake for thread in every):
        return False
    first = [thread.wait for process in mains for thread in process if thread.is_main]
    if any(wait.kind in FOR_WORK for wait in first):
        return False
    return any(is_endless(wait) for wait in first)


def is_endless(wait: ThreadWait) -> bool:
    """Return whether a main thread waits for something on this host, without an end in sight."""
    if wait.kind == "sleep":
        return wait.limit_ns >= LONG_SLEEP_NS
    if wait.kind == "network":
        return wait.peer > 0
    return wait.kind in UNLIMITED
