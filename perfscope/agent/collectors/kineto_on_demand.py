"""A profiling window that Kineto itself records, where a process cannot be entered.

This needs a process that was started with KINETO_USE_DAEMON=1. It asks a daemon for a configuration
every 10 s, and this collector answers as that daemon. The trace is a file that the process writes;
it is taken as soon as it is complete.
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
from perfscope.agent.delivery.peer_credentials import TrustedUsers
from perfscope.agent.host import proc
from perfscope.agent.profiler_windows import dynolog
from perfscope.agent.profiler_windows.trace_store import LARGEST_TRACE_BYTES, TraceStore
from perfscope.agent.profiler_windows.window import MANY_STEPS, Window
from perfscope.agent.recording.recording_plan import Plan
from perfscope.agent.target_user import files
from perfscope.agent.target_user.child import Reply, call_as
from perfscope.agent.target_user.rights import TargetUser, user_of
from perfscope.agent.temporary_folders import folder_name
from perfscope.traces.run_folder.manifest import SourceStatus

DEFAULT_S = 1.0
"""The duration of the window. Steps cannot be counted from outside."""
WRITE_TIMEOUT_S = 20.0
MOST_TRIES = 3
"""Folders made in one recording: a process may ask, and be gone when the answer comes."""
DAEMON_VARIABLE = "KINETO_USE_DAEMON"
PLACE, PREFIX = "/tmp", "perfscope-kineto-"


@dataclass(frozen=True)
class TraceFolder:
    """A folder that the process writes its trace to.

    It is in the process's own /tmp, and only the user of the process can open it.
    """

    user: TargetUser
    name: str
    folder: int

    @classmethod
    def make(cls, pid: int) -> "TraceFolder":
        """Make a folder for process `pid`. Raises OSError."""
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
        """The path of the folder in the process."""
        return Path(PLACE) / self.name

    def trace(self) -> tuple[int, int] | None:
        """Return (memory file, size in bytes), None while there is no trace. Raises OSError."""
        pattern = ("trace_", ".json")
        copy = call_as(
            self.user,
            files.copy_first,
            self.folder,
            *pattern,
            LARGEST_TRACE_BYTES + 1,
            files=(self.folder,),
            limit_s=WRITE_TIMEOUT_S,
        )
        return (copy.files[0], int(copy.value)) if copy.files else None

    def remove(self) -> None:
        """Remove the folder and the files in it."""
        with contextlib.suppress(OSError):
            place = (self.user.root, PLACE, self.name, self.folder)
            call_as(self.user, files.remove_folder, *place, files=(self.folder,))
        os.close(self.folder)
        self.user.close()


def create_trace_folder(root: int, name: str) -> Reply:
    """Make the folder, as the user of the target. Raises OSError."""
    files.remove_dead_folders(root, PLACE, PREFIX)
    return files.make_target_folder(root, PLACE, name, {})


@dataclass(frozen=True)
class TraceRequest:
    """The request for a trace that process `pid` got, with both clocks at that moment."""

    pid: int
    mono: int
    real: int

    def row(self, now_ns: int, size_bytes: int) -> dict[str, Any]:
        """Return the row of the stream `kernels` for the trace, which was found at `now_ns`."""
        return {
            "mono": self.mono,
            "real": self.real,
            "first": self.mono,
            "begin": self.mono,
            "end": now_ns,
            "off": now_ns,
            "last": now_ns,
            "steps": 0,
            "whole": False,
            "bytes": size_bytes,
            "stall": None,
            "on_demand": True,
        }


class OnDemand(Collector):
    """Requests one window of one process from Kineto; it replaces `Kernels`."""

    NAME = "kernels"
    PERIOD_NS = 100_000_000
    NEEDS = frozenset({Need.ENTRY_REFUSED, Need.WINDOWS_WANTED, Need.KINETO_DAEMON})
    STOPS_SLOWLY = True

    def __init__(self, window: Window) -> None:
        self.window = window
        self.seconds = window.seconds if window.steps == MANY_STEPS else DEFAULT_S
        self.listening: socket.socket | None = None
        self.folder: TraceFolder | None = None
        self.tries = 0
        self.users = TrustedUsers()
        self.request: TraceRequest | None = None

    @classmethod
    def create(cls, plan: Plan, running: Sequence[Collector]) -> "OnDemand":
        return cls(plan.window)

    def start(self, job: Job) -> None:
        """Listen under the name of Kineto's daemon. Raises CollectorUnavailable."""
        self.job, self.began_ns = job, time.monotonic_ns()
        self.listening = dynolog.listen_as_daemon(job.root_pid)
        self.inbox = dynolog.MessageReceiver(self.listening)
        self.store = TraceStore(job.run)

    def poll(self, now_ns: int) -> int:
        assert self.listening is not None
        self.store.list_stored()
        for message in self.inbox.take():
            trusted = self.users.uids_including(self.job.processes.values())
            if message.pid not in self.job.processes or message.uid not in trusted:
                continue
            if message.kind == "ctxt":
                dynolog.send_answer(self.listening, message, (1).to_bytes(4, "little"))
            elif message.kind == "req":
                self.answer_request(message)
        self.fetch()
        return now_ns + self.PERIOD_NS

    @property
    def is_complete(self) -> bool:
        """Whether the trace is in the run folder."""
        return self.listening is not None and self.store.stored > 0

    def answer_request(self, message: dynolog.KinetoMessage) -> None:
        """Answer a process that asks for a configuration: request a trace of the first one."""
        assert self.listening is not None
        configuration = b""
        is_free = self.request is None and message.what != dynolog.BUSY
        if is_free and self.tries < MOST_TRIES:
            self.tries += 1
            configuration = self.make_configuration(message.pid)
        mono, real = time.monotonic_ns(), time.time_ns()
        is_answered = dynolog.send_answer(self.listening, message, configuration)
        if configuration and is_answered:
            self.request = TraceRequest(message.pid, mono, real)
        elif configuration:
            self.remove_folder()

    def make_configuration(self, pid: int) -> bytes:
        """Make a folder for the trace and return the configuration; empty if that fails."""
        try:
            self.folder = TraceFolder.make(pid)
        except OSError as error:
            self.store.trouble = [f"cannot make a folder for Kineto's trace: {error.strerror}"]
            return b""
        path = self.folder.path / "trace.json"
        return dynolog.trace_order(path, self.seconds, stacks=self.window.stacks)

    def fetch(self) -> None:
        """Take the trace if it is complete: Kineto then renames it."""
        if self.folder is None or self.request is None:
            return
        target = self.job.processes.get(self.request.pid)
        if target is None:
            return
        try:
            trace = self.folder.trace()
        except OSError as error:
            self.store.trouble = [f"cannot read Kineto's trace: {error.strerror}"]
            self.remove_folder()
            return
        if trace is None:
            return
        file, size_bytes = trace
        self.store.keep(file, self.request.row(time.monotonic_ns(), size_bytes), target)
        self.remove_folder()

    def remove_folder(self) -> None:
        """Remove the folder of the trace."""
        if self.folder is not None:
            self.folder.remove()
            self.folder = None

    def stop(self) -> SourceStatus:
        """Wait for a trace that is being written."""
        until_s = time.monotonic() + self.seconds + WRITE_TIMEOUT_S
        while self.folder is not None and self.job.root_pid in self.job.processes:
            if time.monotonic() >= until_s:
                break
            self.fetch()
            time.sleep(0.05)
            self.job.refresh()
        self.remove_folder()
        self.inbox.stop()
        assert self.listening is not None
        self.listening.close()
        self.store.finish()
        if self.store.stored:
            reason = (
                f"the process cannot be entered; Kineto recorded a window of {self.seconds:g} s"
            )
            return SourceStatus(self.NAME, "ok", reason)
        return SourceStatus(self.NAME, "unavailable", self.reason_for_none())

    def reason_for_none(self) -> str:
        """Return why there is no trace."""
        if self.store.trouble:
            return self.store.trouble[0]
        if self.request is not None:
            return "Kineto did not write the requested trace"
        start_with = f"start it with {DAEMON_VARIABLE}=1"
        waited_s = (time.monotonic_ns() - self.began_ns) / 1e9
        if waited_s < dynolog.PATIENCE_S:
            return (
                f"the process did not ask for a configuration within {waited_s:.0f} s;"
                f" {start_with}, then it asks every 10 s"
            )
        return f"the process cannot be entered and does not ask for a configuration: {start_with}"


def may_ask_for_windows(pid: int) -> bool:
    """Return whether process `pid` may ask a Kineto daemon for windows.

    Where its environment cannot be read, it may.
    """
    if proc.read(f"/proc/{pid}/environ") is None:
        return True
    value = proc.environment(pid, (DAEMON_VARIABLE,)).get(DAEMON_VARIABLE, "0")
    return value not in ("", "0")
