"""Depth `kernels`: asks the probes for one window of torch's profiler each, and stores the traces they hand over.

A trace comes as an open memory file through the probe's own socket: that works across mount, network and pid namespaces.
"""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

from isal import isal_zlib

from perfscope.agent.cgroup import group, memory_left_bytes
from perfscope.agent.collector import Job
from perfscope.agent.collectors.probe import Probe, Visit
from perfscope.agent.probe_line import ProbeLine
from perfscope.agent.proc import available_bytes
from perfscope.agent.window import MEMORY_PER_EVENT_BYTES, Window
from perfscope.traces.manifest import SourceStatus

PERIOD_NS = 100_000_000
STEPS_BEFORE = 10
"""Undisturbed steps first: times are told from those."""
AFTER_NS = 2_000_000_000
AT_LATEST_NS = 5_000_000_000
LAST_WAIT_S = 30.0
CHUNK_BYTES = 1 << 20
LARGEST_TRACE_BYTES = 1 << 30
GZIP = 31
FASTEST = 1
SLOW_NS = 60_000_000_000
FOLDER = "kineto"


class Kernels:
    """The collector: one window a training or serving process, after some steps without."""

    NAME = "kernels"

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.window = probe.window or Window()
        self.seen_ns: dict[int, int] = {}
        self.asked: set[int] = set()
        self.said: list[dict[str, Any]] = []
        self.stored = 0
        self.finished: list[tuple[int, dict[str, Any]]] = []
        self.storing: list[threading.Thread] = []
        self.trouble: list[str] = []

    def start(self, job: Job) -> None:
        self.job = job
        self.began_ns = time.monotonic_ns()

    def poll(self, now_ns: int) -> int:
        self.write_down()
        for pid, visit in self.probe.visits.items():
            self.take(visit)
            line = self.probe.lines.get(pid)
            if line is not None and pid not in self.asked and self.due(visit, pid, now_ns):
                self.ask(line, visit)
        return now_ns + PERIOD_NS

    @property
    def settled(self) -> bool:
        """Is every window that was asked for there or refused? Without an answer for long, too."""
        waited_ns = time.monotonic_ns() - self.began_ns
        return (bool(self.asked) and len(self.said) >= len(self.asked)) or waited_ns > SLOW_NS

    def due(self, visit: Visit, pid: int, now_ns: int) -> bool:
        if visit.target.role == "loader-worker":
            return False
        here_ns = now_ns - self.seen_ns.setdefault(pid, now_ns)
        return here_ns > AT_LATEST_NS or (here_ns > AFTER_NS and visit.steps.steps >= STEPS_BEFORE)

    def ask(self, line: ProbeLine, visit: Visit) -> None:
        self.asked.add(line.pid)
        memory = group(line.pid, "memory")
        room = [available_bytes(), memory_left_bytes(memory) if memory is not None else None]
        left = min((one for one in room if one is not None), default=None)
        needed = self.window.events * MEMORY_PER_EVENT_BYTES
        if left is not None and left < needed:
            reason = f"a window may need {needed >> 20} MB of memory and {left >> 20} MB are left"
            self.said.append({"refused": reason})
            return
        line.send(b"W")

    def take(self, visit: Visit) -> None:
        """Store what a probe has handed over."""
        while visit.windows:
            note = visit.windows.pop(0)
            file = int(note.pop("file"))
            self.said.append(note)
            if file < 0:
                continue
            name = f"rank{max(visit.target.rank, 0)}"
            if (self.job.run.path / FOLDER / f"{name}.json.gz").exists():
                name += f"-{visit.target.process}"
            note["name"] = f"{name}.json.gz"
            thread = threading.Thread(target=self.store, args=(file, note, visit.target.process))
            thread.start()
            self.storing.append(thread)

    def store(self, file: int, note: dict[str, Any], process: int) -> None:
        """Pack one trace into the run folder; on a thread of its own."""
        path = self.job.run.path / FOLDER / note["name"]
        fresh = path.with_name(path.name + ".new")
        try:
            path.parent.mkdir(exist_ok=True)
            pack(file, fresh)
            os.replace(fresh, path)
            self.finished.append((process, note))
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            self.trouble.append(f"the trace of a window could not be stored: {error.strerror or error}")
        finally:
            os.close(file)

    def write_down(self) -> None:
        """What the storing threads have finished; the streams are written by one thread only."""
        while self.finished:
            process, note = self.finished.pop(0)
            self.job.run.jsonl("kernels", process).append(note)
            self.stored += 1
            self.job.run.manifest.depth = "kernels"
            self.job.run.write_manifest()

    def stop(self) -> SourceStatus:
        """Wait for a window that is under way, and say how it went."""
        until = time.monotonic() + LAST_WAIT_S
        while len(self.said) < len(self.asked) and self.probe.lines and time.monotonic() < until:
            self.probe.read()
            for visit in self.probe.visits.values():
                self.take(visit)
            time.sleep(0.02)
        for thread in self.storing:
            thread.join()
        self.write_down()
        return self.status()

    def status(self) -> SourceStatus:
        taken = [note for note in self.said if "refused" not in note]
        refused = [str(note["refused"]) for note in self.said if "refused" in note]
        reasons = [*refused[:1], *self.trouble[:1]]
        if not self.stored:
            silent = "the probe did not answer" if self.asked else "no process was there long enough for a window"
            return SourceStatus(self.NAME, "unavailable", next(iter(reasons), silent))
        parts = sum(not note["whole"] and not note["steps"] for note in taken)
        if parts:
            reasons.append("the window ended before one whole step was over: it is a part of a step")
        told = [*reasons, *map(summary, taken)]
        return SourceStatus(self.NAME, "partial" if reasons else "ok", "; ".join(told))


def summary(note: dict[str, Any]) -> str:
    """One window in words."""
    lasted_ms = (note["end"] - note["begin"]) / 1e6
    text = f"{note['steps']} whole steps in a window of {lasted_ms:.0f} ms, {note['bytes'] / 1e6:.1f} MB"
    if note.get("hurried"):
        text += " (cut short: a profiler of the program's own began)"
    stall = note.get("stall")
    return text if stall is None else f"{text}; ending it held up one step by {stall / 1e6:.0f} ms"


def pack(file: int, path: Path) -> None:
    """Compress a memory file to `path`. Raises OSError."""
    packer = isal_zlib.compressobj(FASTEST, isal_zlib.DEFLATED, GZIP)
    offset = 0
    with path.open("wb") as out:
        while offset < LARGEST_TRACE_BYTES:
            piece = os.pread(file, CHUNK_BYTES, offset)
            if not piece:
                break
            offset += len(piece)
            out.write(packer.compress(piece))
        out.write(packer.flush())
