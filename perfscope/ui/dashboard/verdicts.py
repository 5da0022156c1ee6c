"""The verdicts of a folder's runs, found one after the other in a process of its own, newest first,
and remembered.
"""

import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import PerfscopeError
from perfscope.traces.contents import Found
from perfscope.traces.load import load_all
from perfscope.ui.dashboard.library import OUTSIDE
from perfscope.ui.phrases import subject


@dataclass(frozen=True)
class Judged:
    """What the list of runs tells of one: who was looked at and the answer, or why there is
    none.
    """

    stamp: str
    who: list[str]
    diagnosis: Diagnosis | None
    error: str | None = None


class Verdicts:
    """Hands out what is known and sees to the rest; `close` ends the process."""

    def __init__(self, ignored: tuple[str, ...] = ()) -> None:
        """`ignored`: ids of findings that have no influence on the verdicts."""
        self.ignored = ignored
        self.lock = threading.Lock()
        self.known: dict[str, Judged] = {}
        self.wanted: list[Found] = []
        self.pool: ProcessPoolExecutor | None = None
        self.busy = self.closed = False

    def of(self, runs: list[Found]) -> dict[str, Judged]:
        """What is known of these runs now (of a growing one perhaps as it was a moment ago)."""
        with self.lock:
            refused = {
                one.id: Judged(one.stamp, [], None, OUTSIDE) for one in runs if one.leads_out
            }
            known = {**self.known, **refused}
            self.wanted = [
                one for one in runs if one.id not in known or known[one.id].stamp != one.stamp
            ]
            known = {one.id: known[one.id] for one in runs if one.id in known}
        self.go_on()
        return known

    def go_on(self) -> None:
        """Ask for the next one, unless one is being worked on."""
        with self.lock:
            if self.busy or self.closed or not self.wanted:
                return
            run = self.wanted.pop(0)
            self.busy = True
            if self.pool is None:
                self.pool = ProcessPoolExecutor(1, get_context("spawn"), ignore_interrupts)
            answer = self.pool.submit(judge, run.paths, run.stamp, self.ignored)
        answer.add_done_callback(lambda done: self.take(run, done))

    def take(self, run: Found, answer: "Future[Judged]") -> None:
        """Remember an answer; a run that kills the process that reads it costs only its own."""
        if answer.cancelled():
            return
        try:
            judged = answer.result()
        except BrokenProcessPool:
            judged = Judged(run.stamp, [], None, "reading it ended the process that tried")
            self.pool = None
        with self.lock:
            self.known[run.id] = judged
            self.busy = False
        self.go_on()

    def close(self) -> None:
        with self.lock:
            self.closed = True
            pool, self.pool = self.pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)


def judge(paths: tuple[Path, ...], stamp: str, ignored: tuple[str, ...]) -> Judged:
    """Runs in the other process."""
    try:
        trace = load_all(paths)
        return Judged(stamp, subject(trace), diagnose(trace, ignored=ignored))
    except PerfscopeError as error:
        return Judged(stamp, [], None, str(error))


def ignore_interrupts() -> None:
    """Ctrl-C is for the dashboard, which ends this process itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
