"""The verdicts of a folder's runs: recalled from the cache, or computed in separate processes,
newest run first.
"""

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache, partial

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import PerfscopeError
from perfscope.traces.folder_contents import Found
from perfscope.traces.pool_process import start_pool_process
from perfscope.traces.spawned_pool import spawned_pool
from perfscope.ui.answer_cache import code_version
from perfscope.ui.dashboard.open_runs import OUTSIDE, snapshot_text
from perfscope.ui.phrases import describe_subject
from perfscope.ui.stored_verdicts import (
    StoredVerdict,
    file_states,
    is_complete,
    recalled_verdict,
    store_verdict,
    verdict_key,
)

MOST_PROCESSES = 2
"""More would each need the memory of a trace, and take the cores from what is being recorded."""


@dataclass(frozen=True)
class Judged:
    """What the list of runs shows of a run: its program and diagnosis, or why there is none."""

    stamp: str
    subject: list[str]
    diagnosis: Diagnosis | None
    error: str | None = None
    color: str = ""
    """The category whose color marks the verdict."""


class Verdicts:
    """Returns known diagnoses and starts the missing ones; `close` ends the processes."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: ids of findings that have no influence on the verdicts."""
        self.ignored = ignored
        self.lock = threading.Lock()
        self.known: dict[str, Judged] = {}
        self.wanted: list[Found] = []
        self.not_stored: set[tuple[str, str]] = set()
        """(id, stamp) of the runs whose answers are not in the cache."""
        self.running: set[str] = set()
        self.free_pools: list[ProcessPoolExecutor | None] = [None] * verdict_processes()
        self.pools: set[ProcessPoolExecutor] = set()
        self.recaller: threading.Thread | None = None
        self.closed = False

    def of(self, runs: Iterable[Found]) -> dict[str, Judged]:
        """Return what is known of these runs now; a growing run may be a moment behind."""
        runs = list(runs)
        refused = {run.id: Judged(run.stamp, [], None, OUTSIDE) for run in runs if run.leads_out}
        for run in runs:
            if run.is_snapshot:
                refused[run.id] = Judged(run.stamp, [], None, snapshot_text(run))
        with self.lock:
            known = {**self.known, **refused}
            self.wanted = [
                run for run in runs if run.id not in known or known[run.id].stamp != run.stamp
            ]
            answers = {run.id: known[run.id] for run in runs if run.id in known}
            starts = bool(self.wanted) and self.recaller is None and not self.closed
            if starts:
                self.recaller = threading.Thread(target=self.recall, name="verdicts", daemon=True)
                self.recaller.start()
        return answers

    def wait_for_cache(self, longest_s: float) -> None:
        """Wait until every wanted run was looked up in the cache, at most so long."""
        recaller = self.recaller
        if recaller is not None:
            recaller.join(longest_s)

    def recall(self) -> None:
        """Look up every wanted run in the cache, then start what is missing."""
        while (run := self.next_to_recall()) is not None:
            stored = stored_answer(run, self.ignored)
            with self.lock:
                if stored is None:
                    self.not_stored.add((run.id, run.stamp))
                else:
                    self.learn(run, stored)
        self.start_missing()

    def next_to_recall(self) -> Found | None:
        """Return the next run to look up; without one, the thread ends."""
        with self.lock:
            for run in self.wanted:
                if not self.closed and (run.id, run.stamp) not in self.not_stored:
                    return run
            self.recaller = None
            return None

    def start_missing(self) -> None:
        """Start diagnoses in the processes that are free."""
        with self.lock:
            while self.free_pools and not self.closed:
                run = next((run for run in self.wanted if self.is_missing(run)), None)
                if run is None:
                    return
                pool = self.free_pools.pop() or new_process()
                self.pools.add(pool)
                self.running.add(run.id)
                answer = pool.submit(judge_run, run, self.ignored)
                answer.add_done_callback(partial(self.take, run, pool))

    def is_missing(self, run: Found) -> bool:
        """Return whether a run must be diagnosed."""
        return (run.id, run.stamp) in self.not_stored and run.id not in self.running

    def take(self, run: Found, pool: ProcessPoolExecutor, answer: "Future[Judged]") -> None:
        """Keep an answer; a run that crashes the reader process loses only its own answer."""
        if answer.cancelled():
            return
        free: ProcessPoolExecutor | None = pool
        try:
            judged = answer.result()
        except BrokenProcessPool:
            judged = Judged(run.stamp, [], None, "the process that read it crashed")
            free = None
            self.pools.discard(pool)
        with self.lock:
            self.learn(run, judged)
            self.running.discard(run.id)
            self.free_pools.append(free)
        self.start_missing()

    def learn(self, run: Found, judged: Judged) -> None:
        """Keep the answer for a run; the lock must be held."""
        self.known[run.id] = judged
        self.wanted = [each for each in self.wanted if each.id != run.id]

    def close(self) -> None:
        """End the processes."""
        with self.lock:
            self.closed = True
            pools, self.pools = self.pools, set()
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)


def verdict_processes() -> int:
    """Return how many runs are diagnosed at the same time."""
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))


def new_process() -> ProcessPoolExecutor:
    """Return a pool of one process: a crash in it concerns no other run."""
    return spawned_pool(1, start_pool_process)


@lru_cache(maxsize=1)
def code_of_process() -> str:
    """Return the version of the code, as it was when it was first needed."""
    return code_version()


def stored_answer(run: Found, ignored: tuple[str, ...]) -> Judged | None:
    """Return the answer for a run from the cache."""
    try:
        stored = recalled_verdict(verdict_key(run, ignored, code_of_process()), run)
    except OSError:
        return None
    if stored is None:
        return None
    return judged_run(run, stored)


def judge_run(run: Found, ignored: tuple[str, ...]) -> Judged:
    """Read and diagnose a run, and store the answer; this runs in a separate process."""
    from perfscope.analyzer.diagnose import diagnose_trace
    from perfscope.ui.finding_colors import color_category

    known = key_and_states(run, ignored)
    try:
        trace = run.load()
        diagnosis = diagnose_trace(trace, ignored=ignored)
        color = color_category(diagnosis.verdict.id)
        verdict = StoredVerdict(describe_subject(trace), diagnosis, color=color)
    except PerfscopeError as error:
        verdict = StoredVerdict([], None, str(error))
    if known is not None and known == key_and_states(run, ignored):
        store_verdict(known[0], run, verdict)
    return judged_run(run, verdict)


def key_and_states(
    run: Found, ignored: tuple[str, ...]
) -> tuple[str, list[tuple[int, int, int]]] | None:
    """Return the key of the answer for a run, and the states of its files; None for a run that
    grows or cannot be read.

    The answer is stored if both are the same before and after reading. Else the owner of a run
    could exchange its files meanwhile, and so store an answer for the contents of another run.
    """
    try:
        if not is_complete(run):
            return None
        states = file_states(run)
        return verdict_key(run, ignored, code_of_process()), states
    except OSError:
        return None


def judged_run(run: Found, verdict: StoredVerdict) -> Judged:
    """Return what the list shows of a run, as its files are now."""
    subject, diagnosis = verdict.subject, verdict.diagnosis
    return Judged(run.stamp, subject, diagnosis, verdict.error, verdict.color)
