"""Where a process cannot be entered: a window that Kineto itself takes, of a process that was
started with KINETO_USE_DAEMON=1.

Such a process asks a daemon for orders, and here we are that daemon. Nothing enters the process;
the trace is a file that it writes where we say, and that is ours as soon as it is whole.
"""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfscope.agent.collector import Collector, Job, Need
from perfscope.agent.delivery.peers import TrustedUsers
from perfscope.agent.host import proc
from perfscope.agent.leftovers import folder_name
from perfscope.agent.profiler_windows import dynolog
from perfscope.agent.profiler_windows.trace_store import LARGEST_TRACE_BYTES, TraceStore
from perfscope.agent.profiler_windows.window import MANY_STEPS, Window
from perfscope.agent.recording_plan import Plan
from perfscope.agent.target_user import files
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.rights import TargetUser, user_of
from perfscope.traces.run.manifest import SourceStatus

USUAL_S = 1.0
"""Steps are not seen from outside: a second."""
WRITING_S = 20.0
MOST_TRIES = 3
"""Folders made in one recording: a process may ask, and be gone when the answer comes."""
DAEMON = "KINETO_USE_DAEMON"
PLACE, PREFIX = "/tmp", "perfscope-kineto-"


@dataclass(frozen=True)
class TraceFolder:
    """A folder that the process may write its trace to: in its own /tmp, made with its user's
    rights, open to nobody else.
    """

    user: TargetUser
    name: str
    folder: int

    @classmethod
    def make(cls, pid: int) -> "TraceFolder":
        """Make it for process `pid`. Raises OSError."""
        user = user_of(pid)
        try:
            name = folder_name(PREFIX)
            made = call_as(user, create_trace_folder, user.root, name)
        except OSError:
            user.close()
            raise
        return cls(user, name, made.files[0])

    @property
    def path(self) -> Path:
        """The folder as the process names it."""
        return Path(PLACE) / self.name

    def trace(self) -> tuple[int, int] | None:
        """Return (memory file, size in bytes), None while the trace is not there. Raises
        OSError.
        """
        found = call_as(
            self.user,
            files.copy_first,
            *(self.folder, "trace_", ".json", LARGEST_TRACE_BYTES + 1),
            files=(self.folder,),
            limit_s=WRITING_S,
        )
        return (found.files[0], int(found.value)) if found.files else None

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        with contextlib.suppress(OSError):
            place = (self.user.root, PLACE, self.name, self.folder)
            call_as(self.user, files.remove_folder, *place, files=(self.folder,))
        os.close(self.folder)
        self.user.close()


def create_trace_folder(root: int, name: str) -> Reply:
    """Make the folder; run as the target's user. Raises OSError."""
    files.remove_dead_folders(root, PLACE, PREFIX)
    return files.make_folder(root, PLACE, name, {})


class OnDemand(Collector):
    """The collector, in the place of `Kernels`: one window of one process."""

    NAME = "kernels"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.ENTRY_REFUSED, Need.WINDOWS_WANTED, Need.KINETO_DAEMON})
    STOPS_SLOWLY = True

    def __init__(self, window: Window) -> None:
        self.window = window
        self.seconds = window.seconds if window.steps == MANY_STEPS else USUAL_S
        self.listening: socket.socket | None = None
        self.folder: TraceFolder | None = None
        self.tries = 0
        self.users = TrustedUsers()
        self.asked: dict[str, Any] = {}

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "OnDemand":
        return cls(plan.window)

    def start(self, job: Job) -> None:
        """Listen under the daemon's name. Raises CollectorUnavailable where that cannot be."""
        self.job, self.began_ns = job, time.monotonic_ns()
        self.listening = dynolog.listen(job.root_pid)
        self.inbox = dynolog.Inbox(self.listening)
        self.store = TraceStore(job.run)

    def poll(self, now_ns: int) -> int:
        assert self.listening is not None
        self.store.write_down()
        for message in self.inbox.take():
            users = self.users.uids_including(self.job.processes.values())
            if message.pid not in self.job.processes or message.uid not in users:
                continue
            if message.kind == "ctxt":
                dynolog.answer(self.listening, message, (1).to_bytes(4, "little"))
            elif message.kind == "req":
                self.requested(message)
        self.fetch()
        return now_ns + self.PERIOD_NS

    @property
    def settled(self) -> bool:
        """Is the trace in the run folder?"""
        return self.listening is not None and self.store.stored > 0

    def requested(self, message: dynolog.Message) -> None:
        """Answer a process of the job that asks for a configuration: the first one is asked for a
        trace.
        """
        assert self.listening is not None
        wanted = not self.asked and message.what != dynolog.BUSY and self.tries < MOST_TRIES
        text = b""
        if wanted:
            self.tries += 1
            try:
                self.folder = TraceFolder.make(message.pid)
                text = dynolog.order(
                    self.folder.path / "trace.json", self.seconds, stacks=self.window.stacks
                )
            except OSError as error:
                wanted, self.store.trouble = (
                    False,
                    [f"no place for Kineto's trace: {error.strerror}"],
                )
        mono, real = time.monotonic_ns(), time.time_ns()
        answered = dynolog.answer(self.listening, message, text)
        if wanted and answered:
            self.asked = {"mono": mono, "real": real, "pid": message.pid}
        elif wanted:
            self.tidy()

    def fetch(self) -> None:
        """Take the trace as soon as it has its name: Kineto renames it when it is whole."""
        target = self.job.processes.get(self.asked.get("pid", -1))
        if self.folder is None or target is None:
            return
        try:
            trace = self.folder.trace()
        except OSError as error:
            self.store.trouble = [f"Kineto's trace cannot be read: {error.strerror}"]
            self.tidy()
            return
        if trace is None:
            return
        file, size_bytes = trace
        now_ns, begin = time.monotonic_ns(), self.asked["mono"]
        note = {name: self.asked[name] for name in ("mono", "real")}
        note |= {
            "first": begin,
            "begin": begin,
            "end": now_ns,
            "off": now_ns,
            "last": now_ns,
            "steps": 0,
        }
        note |= {"whole": False, "bytes": size_bytes, "stall": None, "on_demand": True}
        self.store.keep(file, note, target)
        self.tidy()

    def tidy(self) -> None:
        if self.folder is not None:
            self.folder.remove()
            self.folder = None

    def stop(self) -> SourceStatus:
        """Wait for a trace that is being written, and say how it went."""
        until = time.monotonic() + self.seconds + WRITING_S
        while (
            self.folder is not None
            and time.monotonic() < until
            and self.job.root_pid in self.job.processes
        ):
            self.fetch()
            time.sleep(0.05)
            self.job.refresh()
        self.tidy()
        self.inbox.stop()
        assert self.listening is not None
        self.listening.close()
        self.store.finish()
        if self.store.stored:
            told = (
                f"Kineto's own window of {self.seconds:g} s, ordered as its daemon: the process"
                " cannot be entered"
            )
            return SourceStatus(self.NAME, "ok", told)
        return SourceStatus(self.NAME, "unavailable", self.silence())

    def silence(self) -> str:
        if self.store.trouble:
            return self.store.trouble[0]
        if self.asked:
            return "Kineto was asked for a window and wrote none"
        waited_s = (time.monotonic_ns() - self.began_ns) / 1e9
        if waited_s < dynolog.PATIENCE_S:
            return (
                f"in {waited_s:.0f} s the process did not ask for orders; started with {DAEMON}=1"
                " it does every 10 s"
            )
        return f"the process cannot be entered, and asks for no orders: start it with {DAEMON}=1"


def may_ask_for_windows(pid: int) -> bool:
    """Return whether process `pid` may ask a Kineto daemon for windows; True where its environment
    cannot be read.
    """
    if proc.read(f"/proc/{pid}/environ") is None:
        return True
    return proc.environment(pid, (DAEMON,)).get(DAEMON, "0") not in ("", "0")
