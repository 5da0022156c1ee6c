"""Depth `observe`: Python stacks from outside, by py-spy, which reads the target's memory without stopping it.

`--nonblocking` is a must (a stop per thread and sample freezes a process with many threads); py-spy refuses it together
with `--native`. Its Chrome trace is the one format that keeps times: begin and end of every frame of every thread.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from perfscope.agent.collector import Job
from perfscope.errors import CollectorUnavailable
from perfscope.traces.manifest import SourceStatus

RATE_HZ = 10
PERIOD_NS = 500_000_000
LAST_WORD_S = 5.0
LARGEST_OUTPUT_BYTES = 256 << 20
PR_SET_PDEATHSIG = 1


class Event(msgspec.Struct):
    """One begin (B) or end (E) of a frame; `ts` in microseconds from py-spy's start."""

    ph: str
    ts: float
    tid: int = -1
    name: str = ""
    args: dict[str, Any] = {}


def program() -> str | None:
    """The py-spy beside our own interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Stacks:
    """The collector: one py-spy for the target, its output turned into rows at the end."""

    NAME = "stacks"

    def start(self, job: Job) -> None:
        spy = program()
        if spy is None:
            raise CollectorUnavailable("py-spy is not installed: `pip install py-spy`")
        if not any(one.is_python for one in job.processes.values()):
            raise CollectorUnavailable("the process is not Python")
        self.job = job
        self.folder = tempfile.TemporaryDirectory(prefix="perfscope-stacks-")
        self.output = Path(self.folder.name) / "trace.json"
        command = [spy, "record", "--pid", str(job.root_pid), "--nonblocking", "--idle", "--rate", str(RATE_HZ)]
        self.process = subprocess.Popen(
            [*command, "--format", "chrometrace", "--output", str(self.output)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=die_with_parent,  # also when we are killed
        )
        self.began_ns = time.monotonic_ns()

    def poll(self, now_ns: int) -> int:
        return now_ns + PERIOD_NS

    def stop(self) -> SourceStatus:
        before = os.times()
        ended_ns = time.monotonic_ns()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            _, said = self.process.communicate(timeout=LAST_WORD_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        cpu_s = os.times().children_user + os.times().children_system - before.children_user - before.children_system
        share = cpu_s / max((ended_ns - self.began_ns) / 1e9, 1e-9)
        try:
            rows = self.take(ended_ns)
        except (OSError, msgspec.MsgspecError):
            words = said.decode("utf-8", "replace").strip().splitlines() or ["no output"]
            return SourceStatus(self.NAME, "failed", f"py-spy: {words[-1][:200]}", share)
        finally:
            self.folder.cleanup()
        return SourceStatus(
            self.NAME, "ok" if rows else "partial", None if rows else "py-spy saw no Python stack", share
        )

    def take(self, ended_ns: int) -> int:
        """Rows from the Chrome trace: one per stack and the time it stood; returns how many."""
        if self.output.stat().st_size > LARGEST_OUTPUT_BYTES:
            raise OSError("py-spy's output is too large")
        events = sorted(msgspec.json.decode(self.output.read_bytes(), type=list[Event]), key=lambda one: one.ts)
        if not events:
            return 0
        target = self.job.processes.get(self.job.root_pid)
        stream = self.job.run.jsonl("pyspy.stacks", target.process if target else 0)
        zero_ns = ended_ns - int(events[-1].ts * 1000)  # its last sample was taken when it was told to stop
        standing: dict[int, list[str]] = {}
        since: dict[int, float] = {}
        rows = 0
        for event in events:
            stack = standing.setdefault(event.tid, [])
            stood_us = event.ts - since.get(event.tid, event.ts)
            if stack and stood_us > 0:
                ts = zero_ns + int(since[event.tid] * 1000)
                row = {"ts": ts, "tid": event.tid, "weight_ns": int(stood_us * 1000), "stack": ";".join(stack)}
                stream.append(row)
                rows += 1
            since[event.tid] = event.ts
            if event.ph == "B":
                stack.append(frame(event))
            elif event.ph == "E" and stack:
                stack.pop()
        return rows


def frame(event: Event) -> str:
    """`function (file:line)` as the probe writes it."""
    file, line = str(event.args.get("filename", "?")), event.args.get("line", 0)
    return f"{event.name} ({file}:{line})".replace(";", ",")
