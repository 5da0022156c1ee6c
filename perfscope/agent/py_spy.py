"""One run of py-spy on one process, which it reads from outside without stopping it, and what it
saw as rows.

`--nonblocking` is a must (a stop per thread and sample freezes a process with many threads); py-spy
refuses it together with `--native`. Its Chrome trace is the one format that keeps times, frames and
threads; threads bear their pthread handle there, so `py-spy dump` is asked once more for the
kernel's thread ids.
"""

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from perfscope.agent.probe.stacks import short_path
from perfscope.agent.target_user.rights import take_rights_to_trace, target_user

LARGEST_OUTPUT_BYTES = 256 << 20
LAST_WORD_S = 3.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Event(msgspec.Struct):
    """Begin (B) or end (E) of a frame; `ts` in microseconds from py-spy's start, `tid` the pthread
    handle.
    """

    ph: str
    ts: float
    tid: int = -1
    name: str = ""
    args: dict[str, Any] = {}


class Thread(msgspec.Struct):
    """A thread as `py-spy dump` tells it."""

    thread_id: int
    os_thread_id: int | None = None
    thread_name: str | None = None


@dataclass
class Stood:
    """A stack that a thread (pthread handle) had for a while; `at_us` from py-spy's start."""

    thread: int
    at_us: float
    stood_us: float
    stack: str


def program() -> str | None:
    """The py-spy beside our own interpreter, else the one on the path."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def die_with_parent() -> None:
    """In the child: the kernel kills it when we end, however we end. Signals that we take by
    waiting for them reach it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    parent = os.getppid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # ended already
        os._exit(1)


@dataclass
class Sampling:
    """py-spy on `pid` at `rate_hz`, until `end`; raises OSError from `begin` when it cannot be
    started.

    It writes into a memory file: no path is written to, which as root somebody else could have
    turned into a link.
    """

    spy: str
    pid: int
    rate_hz: float
    handles: dict[int, int] = field(default_factory=dict)
    said: str = ""

    def begin(self) -> None:
        command = [
            "record",
            "--nonblocking",
            "--idle",
            "--rate",
            f"{self.rate_hz:g}",
            "--format",
            "chrometrace",
        ]
        self.output = os.memfd_create("perfscope-pyspy")
        try:
            self.process = self.start(
                *command, "--output", f"/proc/self/fd/{self.output}", out=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(self.output)
            raise OSError(errno.EPERM, str(getattr(error, "strerror", error))) from None
        self.naming: subprocess.Popen[bytes] | None = None
        self.began_ns = time.monotonic_ns()

    def start(self, *arguments: str, out: int) -> subprocess.Popen[bytes]:
        """Start py-spy. Raises OSError.

        It opens the target's files: where these are another user's it runs as that user, with the
        right to read the process, and is executed by descriptor, as that user may not see our path.
        """
        command = [self.spy, *arguments, "--pid", str(self.pid)]
        err = subprocess.PIPE if out == subprocess.DEVNULL else subprocess.DEVNULL
        with target_user(self.pid) as user, open(self.spy, "rb") as spy:

            def prepare() -> None:
                if user.foreign:
                    take_rights_to_trace(user)
                die_with_parent()

            return subprocess.Popen(
                command,
                executable=f"/proc/self/fd/{spy.fileno()}" if user.foreign else None,
                env={} if user.foreign else None,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(self.output, spy.fileno()) if user.foreign else (self.output,),
                preexec_fn=prepare,
                start_new_session=True,
            )

    @property
    def share(self) -> float | None:
        """Of a core, that this py-spy has used since its start; None when it has ended."""
        try:
            used_ns = time.clock_gettime_ns(~self.process.pid << 3 | 2)
        except OSError:
            return None
        return used_ns / max(time.monotonic_ns() - self.began_ns, 1)

    def name_threads(self) -> None:
        """Ask for the kernel's thread ids; the answer is taken by the next call, or by `end`. Never
        blocks.
        """
        if self.naming is None:
            self.naming = self.start("dump", "--json", "--nonblocking", out=subprocess.PIPE)
        elif self.naming.poll() is not None:
            self.take_names()

    def take_names(self) -> None:
        if self.naming is None:
            return
        naming, self.naming = self.naming, None
        try:
            out, _ = naming.communicate(timeout=LAST_WORD_S)
            threads = msgspec.json.decode(out, type=list[Thread])
        except (subprocess.TimeoutExpired, msgspec.MsgspecError):
            naming.kill()
            naming.communicate()
            return
        for one in threads:
            if one.os_thread_id is not None:
                self.handles[one.thread_id] = one.os_thread_id

    def end(self) -> list[Event]:
        """Tell it to stop and read what it wrote; empty, with the reason in `said`, when it
        failed.
        """
        if self.process.poll() is None:
            self.name_threads()
            self.take_names()
            self.process.send_signal(signal.SIGINT)
        try:
            _, err = self.process.communicate(timeout=LAST_WORD_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, err = self.process.communicate()
        self.take_names()
        events = self.written(err)
        events.sort(key=lambda one: one.ts)
        self.zero_ns = self.written_ns - int(events[-1].ts * 1000) if events else self.written_ns
        return events

    def written(self, err: bytes) -> list[Event]:
        """What it wrote; empty, with the reason in `said`, when that cannot be read."""
        # The last thing it does is to end every frame and write the file.
        with open(self.output, "rb") as file:
            about = os.fstat(file.fileno())
            self.written_ns = time.monotonic_ns() - (time.time_ns() - about.st_mtime_ns)
            if about.st_size > LARGEST_OUTPUT_BYTES:
                self.said = f"it wrote more than {LARGEST_OUTPUT_BYTES >> 20} MB"
                return []
            file.seek(0)
            try:
                return msgspec.json.decode(file.read(), type=list[Event])
            except msgspec.MsgspecError:
                self.said = complaint(err.decode("utf-8", "replace"))
                return []


def complaint(said: str) -> str:
    """The line of py-spy's output that says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line in lines:
        if "ermission" in line:
            return (
                "not permitted to read the process's memory (`perfscope doctor` says how to get the"
                " right)"
            )
        if line.startswith("Error:"):
            return line.removeprefix("Error:").strip()
    return lines[-1] if lines else "it ended without a word"


def stacks(events: list[Event]) -> Iterator[Stood]:
    """Every stack of every thread with the time it stood."""
    standing: dict[int, list[str]] = {}
    since: dict[int, float] = {}
    for event in events:
        stack = standing.setdefault(event.tid, [])
        at_us = since.get(event.tid, event.ts)
        if stack and event.ts > at_us:
            yield Stood(event.tid, at_us, event.ts - at_us, ";".join(stack))
        since[event.tid] = event.ts
        if event.ph == "B":
            stack.append(label(event))
        elif event.ph == "E" and stack:
            stack.pop()


def label(event: Event) -> str:
    """`function (file:line)`, as the probe writes it: the bare name, the path from its package
    on.
    """
    name = event.name.rsplit(".", 1)[-1]
    return f"{name} ({short_path(str(event.args.get('filename', '?')))}:{event.args.get('line', 0)})".replace(  # noqa: E501
        ";", ","
    )
