"""Depth `kernels`: asks the probes for windows of torch's profiler, and stores the traces they hand
over.

A process gets one window. Another one (`every_s`, or on request) is allowed by its probe only where
it is known to be safe; for that the probe has to know whether anything was open at the end of the
last one, which its trace shows. A trace comes as an open memory file through the probe's own
socket: that works across mount, network and pid namespaces.
"""

import time
from collections.abc import Sequence
from typing import Any

from perfscope.agent.collector import Collector, Job, Need
from perfscope.agent.collectors.probe import Probe, Visit
from perfscope.agent.delivery.discarded import discard_files
from perfscope.agent.delivery.probe_notes import WindowRefusedNote
from perfscope.agent.host.cgroup import find_group, memory_left_bytes
from perfscope.agent.host.proc import available_bytes
from perfscope.agent.profiler_windows.agreed_step import agreed
from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.agent.profiler_windows.window import Window, due
from perfscope.agent.recording_plan import Plan
from perfscope.traces.run.manifest import SourceStatus

LAST_WAIT_S = 30.0
SLOW_NS = 60_000_000_000
SLOW_START_NS = 20_000_000
"""Where switching on takes so long it is said: torch's side of it holds the GIL."""
UNDECIDED_NS = 5_000_000_000
"""Until then ranks that go in step have shown it."""
LATER_NS = 5_000_000_000
"""So long after a probe said that no window is possible yet it is asked again."""
NO_OPERATORS = "the process ran no operator while a window was on: attach to it when it computes"
NO_KERNELS = (
    "the window holds no kernels: a profile without CUDA came first in this process, or CUPTI was"
    " not available"
)
CUPTI_STAYS = (
    "CUPTI stays loaded until the program ends, which can slow it down (10 to 20 % were reported"
    " for some programs)"
)
STEPS_BESIDE = 3
"""Steps that a window spoils beside those inside: the ones it begins and ends in, and their
neighbours.
"""


class Kernels(Collector):
    """The collector: one window a training or serving process, after some steps without; with
    `every_s` again and again.
    """

    NAME = "kernels"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.PROBE_RUNNING, Need.WINDOWS_WANTED})
    STOPS_SLOWLY = True

    def __init__(self, probe: Probe, total_s: float | None = None) -> None:
        self.probe = probe
        self.window = probe.window or Window()
        self.total_s = total_s
        self.seen_ns: dict[int, int] = {}
        self.asked_ns: dict[int, int] = {}
        self.asked = 0
        self.said: list[dict[str, Any]] = []
        self.wanted_now = False
        self.undecided_ns = 0
        self.over: set[int] = set()
        self.later: dict[int, str] = {}
        self.later_ns: dict[int, int] = {}

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "Kernels":
        probe = next(collector for collector in running if isinstance(collector, Probe))
        longest_s = None if plan.follow else plan.max_duration_s
        return cls(probe, plan.duration_s or longest_s)

    def start(self, job: Job) -> None:
        self.job = job
        self.began_ns = time.monotonic_ns()
        self.store = TraceStore(job.run)

    def poll(self, now_ns: int) -> int:
        self.store.write_down()
        for pid, visit in self.probe.visits.items():
            self.take(pid, visit)
        now = self.wanted_now and not self.store.threads
        self.wanted_now = self.wanted_now and not now
        due = {pid: now or self.due(visit, pid, now_ns) for pid, visit in self.there().items()}
        if any(due.values()) and not self.ask_ranks(now_ns):
            for pid in (pid for pid, is_due in due.items() if is_due):
                self.ask(pid, now_ns)
        return now_ns + self.PERIOD_NS

    def there(self) -> dict[int, Visit]:
        """The processes that a window can be taken of, by pid."""
        visits = {pid: self.probe.visits[pid] for pid in self.probe.lines}
        return {pid: visit for pid, visit in visits.items() if visit.target.role != "loader-worker"}

    def ask_ranks(self, now_ns: int) -> bool:
        """One window of each rank, at the same step: True when they have been asked, or are waited
        for for a moment.
        """
        ranks = {
            pid: visit
            for pid, visit in self.there().items()
            if visit.steps.updates.told is not None
        }
        if len(ranks) < 2 or len(ranks) < len(self.there()):
            return False
        numbers = agreed([visit.steps.updates for visit in ranks.values()])
        if numbers is None:
            self.undecided_ns = self.undecided_ns or now_ns
            return now_ns - self.undecided_ns < UNDECIDED_NS
        self.undecided_ns = 0
        for pid, number in zip(ranks, numbers, strict=True):
            self.ask(pid, now_ns, number)
        return True

    @property
    def settled(self) -> bool:
        """Is every window that was asked for there or refused? Without an answer for long, too."""
        waited_ns = time.monotonic_ns() - self.began_ns
        return (self.asked > 0 and len(self.said) >= self.asked) or waited_ns > SLOW_NS

    @property
    def spoiled(self) -> int:
        """How many steps of a process the windows have distorted, about."""
        return sum(STEPS_BESIDE + int(note.get("steps", 0)) for note in self.said) // max(
            len(self.asked_ns), 1
        )

    def due(self, visit: Visit, pid: int, now_ns: int) -> bool:
        asked_ns = self.asked_ns.get(pid)
        if now_ns < self.later_ns.get(pid, 0):
            return False
        if asked_ns is not None:
            every_s = self.window.every_s
            is_time = (
                every_s is not None and pid not in self.over and now_ns - asked_ns >= every_s * 1e9
            )
            return is_time and len(self.said) >= self.asked and not self.store.threads
        here_ns = now_ns - self.seen_ns.setdefault(pid, now_ns)
        return due(here_ns / 1e9, visit.steps.steps, self.total_s)

    def ask(self, pid: int, now_ns: int, number: int = 0) -> None:
        """A window now, or when update `number` has ended."""
        self.asked_ns[pid] = now_ns
        self.asked += 1
        memory = find_group(pid, "memory")
        room = [available_bytes(), memory_left_bytes(memory) if memory is not None else None]
        left = min((one for one in room if one is not None), default=None)
        events = self.window.affordable(left)
        if not events:
            self.said.append(
                {"refused": f"{(left or 0) >> 20} MB of memory are left: too little for a window"}
            )
            return
        closed = self.store.all_closed(self.probe.visits[pid].target.process)
        self.probe.lines[pid].send(b"W%d,%d,%d;" % (number, events, closed is True))

    def take(self, pid: int, visit: Visit) -> None:
        """Store what a probe has handed over."""
        notes, visit.windows = visit.windows, []
        for note in notes:
            if isinstance(note, WindowRefusedNote):
                discard_files([note])
                self.take_refusal(pid, note)
                continue
            row = note.row()
            self.said.append(row)
            if note.descriptor >= 0:
                self.store.keep(note.descriptor, row, visit.target)

    def take_refusal(self, pid: int, note: WindowRefusedNote) -> None:
        """Note why a process has no window, and whether to ask again."""
        if note.later:
            self.ask_later(pid, note.reason)
            return
        if note.for_good:
            self.over.add(pid)
        self.said.append({"refused": note.reason})

    def ask_later(self, pid: int, reason: str) -> None:
        """Forget that a window was asked for: it is not possible yet."""
        self.later[pid] = reason
        self.later_ns[pid] = time.monotonic_ns() + LATER_NS
        self.asked -= 1
        self.asked_ns.pop(pid, None)

    def stop(self) -> SourceStatus:
        """Wait for a window that is under way, and say how it went."""
        until = time.monotonic() + LAST_WAIT_S
        while len(self.said) < self.asked and self.probe.lines and time.monotonic() < until:
            self.probe.read()
            self.probe.beat(time.monotonic_ns())
            for pid, visit in self.probe.visits.items():
                self.take(pid, visit)
            time.sleep(0.02)
        self.store.finish()
        status = self.status()
        if not self.store.stored and self.job.run.manifest.depth == "probe":
            self.job.run.manifest.depth_reason = f"no window of torch's profiler: {status.reason}"
        return status

    def status(self) -> SourceStatus:
        taken = [note for note in self.said if "refused" not in note]
        refused = [str(note["refused"]) for note in self.said if "refused" in note]
        refused = refused or ([] if taken else list(self.later.values()))
        reasons = [*refused[:1], *self.store.trouble[:1]]
        if not self.store.stored:
            return SourceStatus(self.NAME, "unavailable", next(iter(reasons), self.silence()))
        parts = sum(not note["whole"] and not note["steps"] for note in taken)
        if parts:
            reasons.append(
                "the window ended before one whole step was over: it is a part of a step"
            )
        reasons += [NO_OPERATORS] if self.store.without_operators else []
        reasons += [NO_KERNELS] if self.store.without_kernels else []
        is_loaded = any(note.get("device") for note in taken) and not self.store.without_kernels
        cupti = [CUPTI_STAYS] if is_loaded else []
        return SourceStatus(
            self.NAME, "partial" if reasons else "ok", "; ".join([*reasons, *told(taken), *cupti])
        )

    def silence(self) -> str:
        """Why nothing was said."""
        if not self.probe.visits:
            return "the process was not entered"
        return (
            "the probe did not answer"
            if self.asked
            else "no process was there long enough for a window"
        )


def told(notes: list[dict[str, Any]]) -> list[str]:
    """The windows in words: the last few."""
    words = list(map(summary, notes))
    more = [f"{len(words)} windows, the last two:"] if len(words) > 2 else []
    return [*more, *words[-2:]]


def summary(note: dict[str, Any]) -> str:
    """One window in words."""
    lasted_ms = (note["end"] - note["begin"]) / 1e6
    text = (
        f"{note['steps']} whole steps in a window of {lasted_ms:.0f} ms,"
        f" {note['bytes'] / 1e6:.1f} MB"
    )
    if note.get("gil"):
        text += ", ended with the GIL"
    if note["begin"] - note["first"] >= SLOW_START_NS:
        text += f", switched on in {(note['begin'] - note['first']) / 1e6:.0f} ms"
        text += f" ({note['enable'] / 1e6:.0f} ms of them with the GIL)" if "enable" in note else ""
    if note.get("hurried"):
        text += " (cut short: a profiler of the program's own began)"
    stall = note.get("stall")
    return text if stall is None else f"{text}; ending it held up one step by {stall / 1e6:.0f} ms"
