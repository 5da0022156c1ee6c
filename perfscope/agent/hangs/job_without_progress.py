"""Whether a job that makes no progress may wait forever, or will continue or receive work.

This decides only when a recording ends; what the job waits for is decided by the analyzer.
"""

from dataclasses import dataclass

from perfscope.agent.host.blocking_system_calls import RESTARTED
from perfscope.agent.host.thread_waits import ThreadWait

LONG_SLEEP_NS = 60_000_000_000
"""A thread that sleeps longer than this will not continue soon."""
LOOP_RUNS = 3
"""A thread that has run this often within seconds sleeps in a loop, each time shortly."""
UNLIMITED = ("lock", "file", "disk", "pipe", "child", "stopped")
FOR_WORK = ("requests", "input")
SUPERVISES = ("lock", "child", "pipe")
"""Waits of the main thread of a server whose threads or children wait for requests."""
SHARER_FILE = "multiprocessing/resource_sharer.py"
OF_TORCH = ("pt_", "gloo", "cuda-", "nccl")
IN_TORCH = " (torch/"
LOCAL_ADDRESSES = ("127.", "[::1]", "socket")
PROGRAM_FRAMES = (" (./", " (/", " (<stdin>", " (<string>")


@dataclass(frozen=True)
class WaitingThread:
    """A thread, its Python stack ("" if none), and how often it has run in the last `seconds`, in
    which the job made no progress.
    """

    is_main: bool
    wait: ThreadWait
    runs: int
    stack: str
    seconds: float

    @property
    def is_of_program(self) -> bool:
        """Whether the program's own code runs on it."""
        return any(mark in self.stack for mark in PROGRAM_FRAMES)

    @property
    def serves(self) -> bool:
        """Whether it waits for requests, and does not listen for torch or multiprocessing."""
        is_internal = self.wait.name.startswith(OF_TORCH) or SHARER_FILE in self.stack
        return self.wait.kind == "requests" and not is_internal

    @property
    def may_supervise(self) -> bool:
        """Whether it may wait for the end of a server; not where it waits in a call of torch."""
        return self.wait.kind in SUPERVISES and IN_TORCH not in self.stack

    @property
    def is_fed(self) -> bool:
        """Whether data arrives for it: it runs more often than its time limit wakes it."""
        if self.wait.kind not in ("network", "pipe"):
            return False
        limit_s = self.wait.limit_ns / 1e9
        most = 2 * self.seconds / limit_s + 2 if limit_s > 0 else 0
        return self.runs > most

    @property
    def was_interrupted_in_package(self) -> bool:
        """Whether a package's code, and not a sleep of the program, waits in a restarted call."""
        innermost = self.stack.rpartition(";")[2]
        is_sleep = any(mark in innermost for mark in PROGRAM_FRAMES)
        return self.wait.call == RESTARTED and bool(self.stack) and not is_sleep

    @property
    def sleeps_in_loop(self) -> bool:
        """Whether the program sleeps shortly and repeatedly: it may go on at any time."""
        is_loop = self.wait.kind == "sleep" and self.runs >= LOOP_RUNS
        return is_loop and self.is_of_program and 0 <= self.wait.limit_ns < LONG_SLEEP_NS

    @property
    def will_wake(self) -> bool:
        """Whether the program or a child of it sleeps, and continues within a minute."""
        if self.wait.kind != "sleep" or self.runs >= LOOP_RUNS:
            return False
        is_program = self.is_of_program or (self.is_main and not self.stack)
        return is_program and 0 <= self.wait.limit_ns < LONG_SLEEP_NS


def may_wait_forever(mains: list[list[WaitingThread]], others: list[list[WaitingThread]]) -> bool:
    """Return whether nothing that was recorded will end the wait.

    `mains` and `others` have the threads of each main process and of each other process.
    """
    every = [thread for process in (*mains, *others) for thread in process]
    first = [thread for process in mains for thread in process if thread.is_main]
    relevant = [thread for thread in every if thread.is_main or thread.is_of_program]
    if any(thread.will_wake for thread in every) or any(thread.is_fed for thread in relevant):
        return False
    if any(thread.sleeps_in_loop for process in others for thread in process):
        return False
    if any(thread.wait.kind in FOR_WORK for thread in first):
        return False
    supervises = all(thread.may_supervise for thread in first)
    if supervises and any(thread.serves for thread in every):
        return False
    return any(is_endless(thread) for thread in first)


def is_endless(thread: WaitingThread) -> bool:
    """Return whether a main thread waits for something on this host, and nothing will end that."""
    wait = thread.wait
    if wait.kind == "sleep":
        return wait.limit_ns >= LONG_SLEEP_NS
    if wait.kind == "network":
        return wait.peer > 0 or wait.target.startswith(LOCAL_ADDRESSES)
    return wait.kind in UNLIMITED or thread.was_interrupted_in_package
