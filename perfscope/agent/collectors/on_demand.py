"""Where a process cannot be entered: a window that Kineto itself takes, of a process that was started with KINETO_USE_DAEMON=1.

Such a process asks a daemon for orders, and here we are that daemon. Nothing enters the process; the trace is a file that it
writes where we say, and that is ours as soon as it is whole.
"""

import contextlib
import errno
import os
import secrets
import shutil
import socket
import stat
import time
from pathlib import Path
from typing import Any

from perfscope.agent.collector import Job
from perfscope.agent.host import proc
from perfscope.agent.profiler_windows import dynolog
from perfscope.agent.profiler_windows.trace_store import TraceStore
from perfscope.agent.profiler_windows.window import MANY_STEPS, Window
from perfscope.traces.run.manifest import SourceStatus

PERIOD_NS = 100_000_000
USUAL_S = 1.0
"""Steps are not seen from outside: a second."""
WRITING_S = 20.0
WRITE_FOR_ANY = 0o1733
DAEMON = "KINETO_USE_DAEMON"


class OnDemand:
    """The collector, in the place of `Kernels`: one window of one process."""

    NAME = "kernels"

    def __init__(self, window: Window) -> None:
        self.window = window
        self.seconds = window.seconds if window.steps == MANY_STEPS else USUAL_S
        self.listening: socket.socket | None = None
        self.folder: Path | None = None
        self.asked: dict[str, Any] = {}

    def start(self, job: Job) -> None:
        """Listen under the daemon's name. Raises CollectorUnavailable where that cannot be."""
        self.job, self.began_ns = job, time.monotonic_ns()
        self.listening = dynolog.listen(job.root_pid)
        self.store = TraceStore(job.run)

    def poll(self, now_ns: int) -> int:
        assert self.listening is not None
        self.store.write_down()
        for message in dynolog.heard(self.listening):
            if message.kind == "ctxt":
                dynolog.answer(self.listening, message, (1).to_bytes(4, "little"))
            elif message.kind == "req":
                self.requested(message)
        self.fetch()
        return now_ns + PERIOD_NS

    @property
    def settled(self) -> bool:
        """Is the trace in the run folder?"""
        return self.listening is not None and self.store.stored > 0

    def requested(self, message: dynolog.Message) -> None:
        """A process asks for orders: the first of ours is asked for a trace."""
        assert self.listening is not None
        wanted = message.pid in self.job.processes and not self.asked and message.what != dynolog.BUSY
        text = b""
        try:
            if wanted:
                self.folder = self.place(message.pid)
                text = dynolog.order(self.folder / "trace.json", self.seconds, stacks=self.window.stacks)
        except OSError as error:
            wanted, self.store.trouble = False, [f"no place for Kineto's trace: {error.strerror}"]
        mono, real = time.monotonic_ns(), time.time_ns()
        if dynolog.answer(self.listening, message, text) and wanted:
            self.asked = {"mono": mono, "real": real, "pid": message.pid}

    def place(self, pid: int) -> Path:
        """A folder that the process may write to, as it names it itself: in our run folder, or in its own /tmp."""
        name = f"perfscope-{secrets.token_hex(8)}"
        self.root = Path("/") if shares_files(pid) else Path(f"/proc/{pid}/root")
        folder = self.job.run.path.resolve() / name if self.root == Path("/") else Path("/tmp") / name
        made = self.seen(folder)
        if made.parent.is_symlink():  # it would lead out of the process's files, into ours
            raise OSError(errno.ELOOP, "/tmp is a link there")
        made.mkdir()
        made.chmod(WRITE_FOR_ANY)
        return folder

    def seen(self, path: Path) -> Path:
        """A path of the process's as we reach it."""
        return self.root / path.relative_to("/")

    def fetch(self) -> None:
        """Take the trace as soon as it has its name: Kineto renames it when it is whole."""
        if self.folder is None:
            return
        traces = list(self.seen(self.folder).glob("trace_*.json"))
        target = self.job.processes.get(self.asked.get("pid", -1))
        if not traces or target is None:
            return
        with contextlib.suppress(OSError):
            file = os.open(traces[0], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            now_ns, what = time.monotonic_ns(), os.fstat(file)
            begin = self.asked["mono"]
            note = {name: self.asked[name] for name in ("mono", "real")}
            note |= {"first": begin, "begin": begin, "end": now_ns, "off": now_ns, "last": now_ns, "steps": 0}
            note |= {"whole": False, "bytes": what.st_size, "stall": None, "on_demand": True}
            if stat.S_ISREG(what.st_mode):
                self.store.keep(file, note, target)
            else:
                os.close(file)
        self.tidy()

    def tidy(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.seen(self.folder), ignore_errors=True)
            self.folder = None

    def stop(self) -> SourceStatus:
        """Wait for a trace that is being written, and say how it went."""
        until = time.monotonic() + self.seconds + WRITING_S
        while self.folder is not None and time.monotonic() < until and self.job.root_pid in self.job.processes:
            self.fetch()
            time.sleep(0.05)
            self.job.look_again()
        self.tidy()
        assert self.listening is not None
        self.listening.close()
        self.store.finish()
        if self.store.stored:
            told = f"Kineto's own window of {self.seconds:g} s, ordered as its daemon: the process cannot be entered"
            return SourceStatus(self.NAME, "ok", told)
        return SourceStatus(self.NAME, "unavailable", self.silence())

    def silence(self) -> str:
        if self.store.trouble:
            return self.store.trouble[0]
        if self.asked:
            return "Kineto was asked for a window and wrote none"
        waited_s = (time.monotonic_ns() - self.began_ns) / 1e9
        if waited_s < dynolog.PATIENCE_S:
            return f"in {waited_s:.0f} s the process did not ask for orders; started with {DAEMON}=1 it does every 10 s"
        return f"the process cannot be entered, and asks for no orders: start it with {DAEMON}=1"


def shares_files(pid: int) -> bool:
    """Is its mount namespace ours? Where we may not look it is taken to be."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return True


def may_ask(pid: int) -> bool:
    """May it be a process that asks for orders? True where its environment is not ours to read."""
    if proc.read(f"/proc/{pid}/environ") is None:
        return True
    return proc.environment(pid, (DAEMON,)).get(DAEMON, "0") not in ("", "0")
