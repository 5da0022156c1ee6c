"""What all viewers of a growing run see: one thread reads on, makes the charts twice a second and
the diagnosis now and then.

However many look, the work is done once a tick; a viewer gets the remembered result. The diagnosis
of a window costs more than its charts, so its pace follows its price: it never takes more than a
small share of a core.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfscope.analyzer.diagnose import diagnose
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.errors import PerfscopeError
from perfscope.traces.run.growing import GrowingRun
from perfscope.traces.run.tables import trace_of
from perfscope.traces.trace import Trace

WINDOW_NS = 30_000_000_000
TICK_S = 0.5
DIAGNOSIS_SHARE = 0.02
SOONEST_S, LATEST_S = 2.0, 20.0
BEATING = ("processes", "loader")
BEAT_TABLES = ("loader", "ranges")


@dataclass(frozen=True)
class Look:
    """The run as of one tick; `diagnosed` counts the diagnoses, so that a viewer knows whether
    there is a new one.
    """

    tick: int
    recent: Trace
    trace: Trace
    diagnosis: Diagnosis
    diagnosed: int
    elapsed_s: float
    ended: str | None


class Watch:
    """Life: `start`, then `look` as often as wanted, `close`."""

    def __init__(
        self,
        path: Path,
        alive: Callable[[], bool] = lambda: True,
        ignored: tuple[str, ...] = (),
    ) -> None:
        """`alive`: does whoever writes the run still live? One that was killed cannot say that it
        ends.
        """
        self.path, self.alive = path, alive
        self.ignored = ignored
        self.run = GrowingRun(path, WINDOW_NS)
        self.look: Look | None = None
        self.error: str | None = None
        self.stopped = threading.Event()
        self.wanted_s = 0.0
        self.thread = threading.Thread(target=self.keep_looking, name="watch", daemon=True)

    def start(self) -> "Watch":
        self.thread.start()
        return self

    def close(self) -> None:
        self.stopped.set()
        self.thread.join()

    def now(self) -> Look | None:
        """The newest look; whoever asks is a viewer, and without viewers nothing is worked out."""
        self.wanted_s = time.monotonic()
        return self.look

    def keep_looking(self) -> None:
        next_s = 0.0
        while not self.stopped.is_set():
            watched = time.monotonic() - self.wanted_s < 5 * TICK_S
            if watched or self.look is None:
                try:
                    due = time.monotonic() >= next_s or self.over()
                    cost_s = self.tick(due)
                except (PerfscopeError, OSError) as error:
                    self.error = str(error)
                    return
                if due:
                    next_s = time.monotonic() + min(
                        max(cost_s / DIAGNOSIS_SHARE, SOONEST_S), LATEST_S
                    )
                if self.look is not None and self.look.ended is not None:
                    return
            self.stopped.wait(TICK_S)

    def beat(self, before: Look | None) -> Trace:
        """What the beat is read from, and no more; who the processes are is known from the last
        diagnosis.
        """
        known = None if before is None else before.trace.table("processes")
        recent = trace_of(self.run, ("loader",) if known is not None else BEATING)
        if not recent.has("loader"):
            recent = trace_of(self.run, ("ranges",) if known is not None else (*BEATING, "ranges"))
        if known is None:
            return recent
        tables = {name: table for name in BEAT_TABLES if (table := recent.table(name)) is not None}
        return Trace(
            {**tables, "processes": known},
            {},
            recent.manifests,
            span_ns=recent.span_ns,
            path=recent.path,
        )

    def over(self) -> bool:
        """Will nothing more be written?"""
        return self.run.manifest.finished or not self.alive()

    def tick(self, diagnose_too: bool) -> float:
        """Read on; returns the CPU seconds that it took."""
        began_s = time.thread_time()
        before = self.look
        over = self.over()
        self.run.update()
        recent = self.beat(before)
        if before is None or diagnose_too:
            trace = trace_of(self.run)
            diagnosis = diagnose(trace, ignored=self.ignored)
            count = 1 + (before.diagnosed if before is not None else 0)
        else:
            trace, diagnosis, count = before.trace, before.diagnosis, before.diagnosed
        manifest = self.run.manifest
        # Told as ended only once everything that was written before the end has been read and
        # diagnosed.
        ended = (manifest.end_reason or "it was cut short") if over and diagnose_too else None
        number = 1 + (before.tick if before is not None else 0)
        elapsed_s = max(recent.span_ns[1], trace.span_ns[1]) / 1e9
        self.look = Look(number, recent, trace, diagnosis, count, elapsed_s, ended)
        return time.thread_time() - began_s
