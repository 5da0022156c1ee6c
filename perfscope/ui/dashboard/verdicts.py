"""The verdicts of a folder's runs: computed in a separate process, newest run first, and kept."""

import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import PerfscopeError
from perfscope.traces.folder_contents import Found
from perfscope.traces.load import load_all
from perfscope.traces.pool_process import begin_quietly
from perfscope.ui.dashboard.library import OUTSIDE
from perfscope.ui.phrases import describe_subject


@dataclass(frozen=True)
class Judged:
    """What the list of runs shows of a run: its program and diagnosis, or why there is none."""

    stamp: str
    subject: list[str]
    diagnosis: Diagnosis | None
    error: str | None = None


class Verdicts:
    """Returns known diagnoses and starts the missing ones; `close` ends the process."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: ids of findings that have no influence on the verdicts."""
        self.ignored = ignored
        self.lock = threading.Lock()
        self.known: dict[str, Judged] = {}
        self.wanted: list[Found] = []
        self.pool: ProcessPoolExecutor | None = None
        self.busy = self.closed = False

    def of(self, runs: list[Found]) -> dict[str, Judged]:
        """Return what is known of these runs now; a growing run may be a moment behind."""
        refused = {run.id: Judged(run.stamp, [], None, OUTSIDE) for run in runs if run.leads_out}
        with self.lock:
            known = {**self.known, **refused}
            self.wanted = [
                run for run in runs if run.id not in known or known[run.id].stamp != run.stamp
            ]
            answers = {run.id: known[run.id] for run in runs if run.id in known}
        self.start_next()
        return answers

    def start_next(self) -> None:
        """Start the next diagnosis, unless one is running."""
        with self.lock:
            if self.busy or self.closed or not self.wanted:
                return
            run = self.wanted.pop(0)
            self.busy = True
            if self.pool is None:
                self.pool = ProcessPoolExecutor(1, get_context("spawn"), begin_quietly)
            answer = self.pool.submit(judge_run, run.paths, run.stamp, self.ignored)
        answer.add_done_callback(lambda done: self.take(run, done))

    def take(self, run: Found, answer: "Future[Judged]") -> None:
        """Keep an answer; a run that crashes the reader process loses only its own answer."""
        if answer.cancelled():
            return
        try:
            judged = answer.result()
        except BrokenProcessPool:
            judged = Judged(run.stamp, [], None, "the process that read it crashed")
            self.pool = None
        with self.lock:
            self.known[run.id] = judged
            self.busy = False
        self.start_next()

    def close(self) -> None:
        """End the process."""
        with self.lock:
            self.closed = True
            pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def judge_run(paths: tuple[Path, ...], stamp: str, ignored: tuple[str, ...]) -> Judged:
    """Read and diagnose a run; this runs in the separate process."""
    try:
        trace = load_all(paths)
        return Judged(stamp, describe_subject(trace), diagnose_trace(trace, ignored=ignored))
    except PerfscopeError as error:
        return Judged(stamp, [], None, str(error))
