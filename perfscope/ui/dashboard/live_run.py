"""The state of a growing run that all viewers share: one thread reads on and diagnoses.

However many viewers there are, the work is done once per tick. A diagnosis costs more than the
charts, so its interval follows its cost: it never takes more than a small share of a core.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import PerfscopeError
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.tables import trace_of
from perfscope.traces.shown_text import shown_text
from perfscope.traces.trace import Trace

WINDOW_NS = 30_000_000_000
TICK_S = 0.5
DIAGNOSIS_SHARE = 0.02
SOONEST_S, LATEST_S = 2.0, 20.0
BATCH_TABLES = ("loader", "ranges")
VIEWER_TICKS = 5
"""Viewers that did not ask for this many ticks are gone."""


@dataclass(frozen=True)
class Snapshot:
    """The run as of one tick; `diagnosed` counts the diagnoses, so a viewer knows a new one."""

    tick: int
    recent: Trace
    trace: Trace
    diagnosis: Diagnosis
    diagnosed: int
    elapsed_s: float
    ended: str | None
    age_s: float = 0.0
    """How long ago the newest data arrived."""


class RunWatch:
    """Reads a growing run in a thread: `start`, then `now` as often as wanted, then `close`."""

    def __init__(
        self,
        path: Path,
        alive: Callable[[], bool] = lambda: True,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """`alive` returns whether the process that writes the run still exists."""
        self.path, self.alive = path, alive
        self.ignored = ignored
        self.run = GrowingRun(path, WINDOW_NS)
        self.snapshot: Snapshot | None = None
        self.error: str | None = None
        self.stopped = threading.Event()
        self.wanted_s = 0.0
        self.grown_s = time.monotonic()
        self.thread = threading.Thread(target=self.keep_reading, name="watch", daemon=True)

    def start(self) -> "RunWatch":
        """Start the thread."""
        self.thread.start()
        return self

    def close(self) -> None:
        """Stop the thread."""
        self.stopped.set()
        self.thread.join()

    def now(self) -> Snapshot | None:
        """Return the newest snapshot; without calls nothing is read."""
        self.wanted_s = time.monotonic()
        return self.snapshot

    def keep_reading(self) -> None:
        """Make a snapshot per tick while there are viewers, until the run has ended."""
        next_diagnosis_s = 0.0
        while not self.stopped.is_set():
            has_viewers = time.monotonic() - self.wanted_s < VIEWER_TICKS * TICK_S
            if has_viewers or self.snapshot is None:
                try:
                    is_due = time.monotonic() >= next_diagnosis_s or self.is_over()
                    cost_s = self.tick(is_due)
                except (PerfscopeError, OSError) as error:
                    self.error = shown_text(str(error))
                    return
                if is_due:
                    pause_s = max(cost_s / DIAGNOSIS_SHARE, SOONEST_S)
                    next_diagnosis_s = time.monotonic() + min(pause_s, LATEST_S)
                if self.snapshot is not None and self.snapshot.ended is not None:
                    return
            self.stopped.wait(TICK_S)

    def recent_batches(self, before: Snapshot | None) -> Trace:
        """Return only the tables of the batch charts; processes are those of the last diagnosis."""
        known = None if before is None else before.trace.table("processes")
        names = ("loader",) if known is not None else ("processes", "loader")
        recent = trace_of(self.run, names)
        if not recent.has("loader"):
            without_loader = ("ranges",) if known is not None else (*names, "ranges")
            recent = trace_of(self.run, without_loader)
        if known is None:
            return recent
        tables = {"processes": known}
        for name in BATCH_TABLES:
            table = recent.table(name)
            if table is not None:
                tables[name] = table
        span_ns, path = recent.span_ns, recent.path
        return Trace(tables, {}, recent.manifests, span_ns=span_ns, path=path)

    def is_over(self) -> bool:
        """Return whether nothing more will be written."""
        return self.run.manifest.finished or not self.alive()

    def tick(self, diagnose_too: bool) -> float:
        """Read on and make a snapshot; return the CPU seconds that it took."""
        began_s = time.thread_time()
        before = self.snapshot
        is_over = self.is_over()
        self.run.update()
        recent = self.recent_batches(before)
        if before is None or diagnose_too:
            trace = trace_of(self.run)
            diagnosis = diagnose_trace(trace, ignored=self.ignored)
            diagnosed = 1 if before is None else before.diagnosed + 1
        else:
            trace, diagnosis, diagnosed = before.trace, before.diagnosis, before.diagnosed
        # The end is shown only when everything written before it has been read and diagnosed.
        ended = None
        if is_over and diagnose_too:
            ended = self.run.manifest.end_reason or "it was cut short"
        elapsed_s = max(recent.span_ns[1], trace.span_ns[1]) / 1e9
        if before is None or elapsed_s > before.elapsed_s:
            self.grown_s = time.monotonic()
        self.snapshot = Snapshot(
            tick=1 if before is None else before.tick + 1,
            recent=recent,
            trace=trace,
            diagnosis=diagnosis,
            diagnosed=diagnosed,
            elapsed_s=elapsed_s,
            ended=ended,
            age_s=time.monotonic() - self.grown_s,
        )
        return time.thread_time() - began_s
