"""Whether a job that does not move hangs, and which thread holds it up.

From the main thread of each rank the waits are followed: from a wait for a batch to the loader's
workers, from a lock, queue or task to the other threads and child processes that could end the
wait, from a collective to the ranks that are elsewhere. Where anything on the way has moved, or
will soon, the job does not hang.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from perfscope.analyzer.run.hangs.flight_records import StuckCollective, stuck_collective
from perfscope.analyzer.run.hangs.job_without_progress import (
    MAIN,
    WORKER,
    QuietJob,
    QuietProcess,
    QuietThread,
    quiet_job,
)
from perfscope.analyzer.run.hangs.wait_reasons import (
    BATCH,
    CHILD,
    EVENT,
    FILE,
    GIL,
    INPUT,
    LOCK,
    LOCK_FILE,
    LONG_SLEEP_NS,
    NETWORK,
    PAUSE,
    PEERS,
    PIPE,
    QUEUE,
    REQUESTS,
    SLEEP,
    SLEEP_LOOP,
    STOPPED,
    TASK,
    THREAD,
    UNKNOWN,
    WORK,
    has_moved,
    wait_reason,
)
from perfscope.traces.trace import Trace

SHORTEST_S: Final = 6.0
"""A job that has not moved for less than this may be between two steps."""
REMOTE_S: Final = 60.0
"""How long another host may take to send anything."""
LOCAL_ADDRESSES: Final = ("127.", "[::1]", "socket")
BY_THREADS: Final = (LOCK, GIL, QUEUE, EVENT, THREAD, TASK, UNKNOWN)
"""Waits that another thread of the process can end."""
BY_CHILDREN: Final = (CHILD, TASK, PIPE, QUEUE, EVENT, LOCK, NETWORK)
"""Waits that a child process can end."""
ENDS_WITH: Final = (THREAD, CHILD, TASK)
"""Waits that last until other code ends: whatever that waits for holds them up."""
SEVERITY: Final = (STOPPED, FILE, LOCK_FILE, NETWORK, SLEEP, INPUT, SLEEP_LOOP, CHILD, PIPE) + (
    LOCK,
    GIL,
    PEERS,
    THREAD,
    TASK,
    EVENT,
    QUEUE,
    BATCH,
    UNKNOWN,
    REQUESTS,
    WORK,
)
"""Of several threads the one with the first of these reasons holds up the others."""
HOLDS_OTHERS: Final = SEVERITY[: SEVERITY.index(GIL) + 1]
"""Reasons for which a thread is the culprit where another one waits for a queue or an event."""
SUPERVISES: Final = (EVENT, THREAD, LOCK, CHILD, TASK, PIPE, QUEUE)
"""Waits of the main thread of a server whose threads or children wait for requests."""
SHARER_FILE: Final = "multiprocessing/resource_sharer.py"
"""A thread that hands descriptors to other processes of the job."""
BETWEEN_TWO_RANKS: Final = re.compile(
    r"(^|;)(send|recv|(send|recv)_object_list|batch_isend_irecv)"
    r" \(torch/distributed/distributed_c10d\.py"
)
OF_TORCH: Final = ("pt_", "gloo", "cuda-", "nccl")
"""Names of native threads that look for changes as long as a process lives."""

State = Literal["moves", "idle", "stuck"]


@dataclass(frozen=True)
class Wait:
    """Where the waits of a thread end: at which thread, and why that waits.

    `state`: something moves (or will), a server waits for work, or the thread holds up the others.
    """

    state: State
    thread: QuietThread
    reason: str


@dataclass(frozen=True)
class Hang:
    """A job that hangs: the thread that holds it up, and the main thread of each rank."""

    job: QuietJob
    culprit: QuietThread
    reason: str
    mains: tuple[Wait, ...]
    """The main threads with their own reasons."""
    alone: bool
    """Whether the culprit is itself a thread whose wait nobody was found to end."""
    collective: StuckCollective | None = None
    """The collective that ranks wait in, where PyTorch has written it down."""

    @property
    def named_thread(self) -> QuietThread | None:
        """The thread whose line is named, None where none is at a line of the program.

        It is the culprit, else the main thread of a process above it, else that of a rank.
        """
        threads = [self.culprit, *self.threads_above(), *(wait.thread for wait in self.mains)]
        return next((thread for thread in threads if thread.line is not None), None)

    def threads_above(self) -> Iterator[QuietThread]:
        """Yield the main threads of the processes that started the culprit's, the nearest first."""
        process: QuietProcess | None = self.job.processes[self.culprit.process]
        seen: set[int] = set()
        while process is not None and process.process not in seen:
            seen.add(process.process)
            if process.main_thread is not None:
                yield process.main_thread
            process = self.job.processes.get(process.parent)


@dataclass(frozen=True)
class StillJob:
    """A job in which nothing moves: it hangs, or it is a server without requests."""

    job: QuietJob
    hang: Hang | None


def still_job(trace: Trace) -> StillJob | None:
    """Return the job where it hangs or is idle at the end of the recording, else None."""
    job = trace.fact(quiet_job)
    if job is None or job.seconds < SHORTEST_S:
        return None
    mains = job.mains()
    if not mains or any(main.main_thread is None for main in mains):
        return None
    ranks = rank_count(trace)
    has_ranks = len(mains) > 1 or (ranks is not None and ranks > 1)
    search = Search(job, has_ranks=has_ranks, collective=stuck_collective(trace))
    return search.judge(mains, ranks)


def waits_for_unrecorded_ranks(trace: Trace) -> bool:
    """Return whether nothing moves, and all recorded ranks wait for others that were not."""
    job, ranks = trace.fact(quiet_job), rank_count(trace)
    if job is None or job.seconds < SHORTEST_S or ranks is None:
        return False
    threads = first_threads(job.mains())
    return 0 < len(threads) < ranks and all(
        wait_reason(thread, has_ranks=True) == PEERS for thread in threads
    )


def rank_count(trace: Trace) -> int | None:
    """Return the number of ranks of the job, None where no launcher set it."""
    return trace.manifests[0].world_size if trace.manifests else None


class Search:
    """Follows the waits of one job."""

    def __init__(
        self, job: QuietJob, *, has_ranks: bool, collective: StuckCollective | None = None
    ) -> None:
        self.job, self.has_ranks, self.collective = job, has_ranks, collective
        self.followed: dict[int, Wait | None] = {}
        """Where the waits of a thread (by its `id`) end, None while they are followed."""

    def judge(self, mains: list[QuietProcess], ranks: int | None) -> StillJob | None:
        """Return whether the job hangs, and where; None where it does not, or that is unclear."""
        waiting: list[Wait] = []
        ends: list[Wait] = []
        for main in mains:
            thread = main.main_thread
            assert thread is not None
            waiting.append(Wait("stuck", thread, self.reason(thread)))
            ends.append(self.follow(thread) or waiting[-1])
        if any(end.state == "moves" for end in ends):
            return None
        elsewhere = [end for end in ends if end.reason != PEERS]
        if len(elsewhere) < len(ends):
            culprit = self.culprit_of_ranks(ends, elsewhere, ranks)
        else:
            culprit = self.culprit_alone(ends)
        if culprit is None:
            is_idle = all(end.state == "idle" for end in ends)
            return StillJob(self.job, None) if is_idle else None
        threads = [culprit.thread, *(wait.thread for wait in waiting)]
        if all(thread.line is None for thread in threads):
            return None  # a program of a package, such as the engine of a server, that has no work
        alone = any(wait.thread is culprit.thread for wait in waiting)
        mains_of_job = tuple(waiting)
        hang = Hang(self.job, culprit.thread, culprit.reason, mains_of_job, alone, self.collective)
        return StillJob(self.job, hang)

    def culprit_of_ranks(
        self, ends: list[Wait], elsewhere: list[Wait], ranks: int | None
    ) -> Wait | None:
        """Return the rank that is not where the others wait; None where not all were recorded.

        Where all wait for each other, it is one that waits for a single rank, while others are in a
        collective, else one at a line where the fewest ranks are.
        """
        if any(end.state == "idle" and end.reason == REQUESTS for end in elsewhere):
            return None
        if elsewhere:
            culprit = best(elsewhere)
            return None if culprit is not None and self.may_go_on(culprit) else culprit
        if len(ends) < 2 or (ranks is not None and ranks > len(ends)):
            return self.rank_in_stuck_collective(ends)
        behind = [end for end in ends if self.is_behind(end)]
        if behind:
            return behind[0]
        between_two = [end for end in ends if BETWEEN_TWO_RANKS.search(end.thread.inner)]
        if between_two and len(between_two) < len(ends):
            return between_two[0]
        at_line: dict[object, list[Wait]] = {}
        for end in ends:
            at_line.setdefault(end.thread.line, []).append(end)
        return min(at_line.values(), key=len)[-1]

    def culprit_alone(self, ends: list[Wait]) -> Wait | None:
        """Return what holds up ranks that do not wait for each other, None if that is unclear.

        A thread that sleeps in a loop may wait for something that is about to come, or may do its
        work between the sleeps.
        """
        certain = [
            end
            for end in ends
            if end.state == "stuck" and end.reason != UNKNOWN and end.reason != SLEEP_LOOP
        ]
        return best(certain) if len(certain) == len(ends) else None

    def rank_in_stuck_collective(self, ends: list[Wait]) -> Wait | None:
        """Return a rank that waits for others longer than PyTorch itself allows.

        Without that, ranks that were not recorded may compute.
        """
        if self.collective is None:
            return None
        return best(end for end in ends if self.collective.is_waiting(self.rank_of(end)))

    def is_behind(self, end: Wait) -> bool:
        """Return whether a rank has not begun the collective that others wait in."""
        return self.collective is not None and self.collective.is_behind(self.rank_of(end))

    def rank_of(self, end: Wait) -> int:
        """Return the rank of the process at the end of a wait."""
        return self.job.processes[end.thread.process].rank

    def may_go_on(self, end: Wait) -> bool:
        """Return whether a thread that ranks wait for sleeps in a loop, and is not one of them.

        A rank that sleeps while the others are in a collective has left the loop; a worker may
        make its batch slowly.
        """
        mains = {id(main.main_thread) for main in self.job.mains()}
        return end.reason == SLEEP_LOOP and id(end.thread) not in mains

    def reason(self, thread: QuietThread) -> str:
        """Return why a thread waits."""
        return wait_reason(thread, has_ranks=self.has_ranks)

    def follow(self, thread: QuietThread) -> Wait | None:
        """Return where the waits of a thread end, None for one that is on the way already."""
        if id(thread) not in self.followed:
            self.followed[id(thread)] = None
            self.followed[id(thread)] = self.end_of(thread, self.reason(thread))
        return self.followed[id(thread)]

    def end_of(self, thread: QuietThread, reason: str) -> Wait:
        """Return where the waits of a thread end, given its own reason."""
        if reason == PAUSE or has_moved(thread, self.job.seconds):
            return Wait("moves", thread, reason)
        if reason in (REQUESTS, INPUT):
            return Wait("idle", thread, reason)
        if reason == NETWORK and self.may_be_answered(thread):
            return Wait("moves", thread, reason)
        ends = [end for other in self.others(thread, reason) if (end := self.follow(other))]
        if any(end.state == "moves" for end in ends) or self.native_moves(thread, reason):
            return Wait("moves", thread, reason)
        culprit = best(end for end in ends if holds_up(end, thread, reason))
        if culprit is not None:
            return culprit
        has_idle = any(end.state == "idle" for end in ends) or self.serves(thread)
        if reason in SUPERVISES and has_idle:
            return Wait("idle", thread, REQUESTS)
        return Wait("stuck", thread, reason)

    def others(self, thread: QuietThread, reason: str) -> list[QuietThread]:
        """Return the threads that can end a wait."""
        process = self.job.processes[thread.process]
        children = list(self.job.children(process.process))
        if reason == BATCH:
            return first_threads(child for child in children if child.role == WORKER)
        found: list[QuietThread] = []
        if reason in BY_THREADS:
            found += [other for other in process.threads if other.is_main]
            found += process.python_threads
        if reason in BY_CHILDREN:
            found += self.threads_of_peer(thread)
            found += first_threads(child for child in children if has_program(child, reason))
        if reason == LOCK and process.role == WORKER:
            parent = self.job.processes.get(process.parent)
            siblings = [] if parent is None else list(self.job.children(parent.process))
            found += first_threads(other for other in siblings if other.role == WORKER)
        return unique(found, thread)

    def threads_of_peer(self, thread: QuietThread) -> list[QuietThread]:
        """Return the threads of the process at the other end, those with the program's code."""
        peer = self.job.by_pid(thread.peer_pid)
        if peer is None:
            return []
        if peer.process == thread.process:
            return [other for other in peer.threads if other.is_main or other.line is not None]
        return [*first_threads([peer]), *peer.python_threads]

    def may_be_answered(self, thread: QuietThread) -> bool:
        """Return whether data may still come: from another host, or when a sleep or limit ends."""
        if 0 <= thread.limit_ns < LONG_SLEEP_NS:
            return True
        is_local = thread.peer_pid > 0 or thread.target.startswith(LOCAL_ADDRESSES)
        return not is_local and self.job.seconds < REMOTE_S

    def native_moves(self, thread: QuietThread, reason: str) -> bool:
        """Return whether a thread without the program's code transfers data for a waiting one."""
        if reason not in BY_THREADS and reason != BATCH:
            return False
        return any(
            has_moved(other, self.job.seconds)
            for other in self.job.processes[thread.process].threads
            if other.kind in ("network", "pipe", "file", "disk")
            and not other.name.startswith(OF_TORCH)
            and other.line is None
        )

    def serves(self, thread: QuietThread) -> bool:
        """Return whether another thread or a child of the process waits for requests."""
        if self.has_ranks:
            return False
        process = self.job.processes[thread.process]
        related = [process, *self.job.children(process.process)]
        return any(
            self.reason(other) == REQUESTS and not is_internal(other)
            for server in related
            for other in server.threads
        )


def is_internal(thread: QuietThread) -> bool:
    """Return whether a thread listens for torch or multiprocessing, and not for requests."""
    return thread.name.startswith(OF_TORCH) or SHARER_FILE in thread.stack


def holds_up(end: Wait, thread: QuietThread, reason: str) -> bool:
    """Return whether a thread can be what another one waits for, for a reason.

    A thread at the same lock waits for it too. One that waits for a queue or an event has most
    likely nothing to do, unless its end is waited for or it may hold the lock.
    """
    if end.state != "stuck" or end.reason == WORK:
        return False
    if reason == LOCK and end.reason == LOCK and end.thread.target == thread.target:
        return False
    if reason in ENDS_WITH or reason == BATCH:
        return end.reason != UNKNOWN
    if reason == LOCK and end.thread.process == thread.process:
        return end.reason in (*HOLDS_OTHERS, EVENT, QUEUE, TASK, THREAD)
    return end.reason in HOLDS_OTHERS


def best(waits: Iterable[Wait]) -> Wait | None:
    """Return the wait that most likely holds up the others, None where there is none."""
    return min(waits, key=lambda wait: SEVERITY.index(wait.reason), default=None)


def first_threads(processes: Iterable[QuietProcess]) -> list[QuietThread]:
    """Return the main threads of processes."""
    return [thread for process in processes if (thread := process.main_thread) is not None]


def has_program(process: QuietProcess, reason: str) -> bool:
    """Return whether a child can hold up its parent: it runs the program's code, or another program
    whose end is waited for.
    """
    thread = process.main_thread
    if thread is None or process.role == MAIN:
        return False
    return thread.line is not None or (reason in (CHILD, PIPE) and not thread.labels)


def unique(threads: list[QuietThread], without: QuietThread) -> list[QuietThread]:
    """Return the threads once each, without one of them."""
    found: list[QuietThread] = []
    for thread in threads:
        if thread is not without and all(thread is not other for other in found):
            found.append(thread)
    return found
