"""py-spy, run on one process, and the stacks in its output.

py-spy reads the process from outside, without stopping it: `--nonblocking` is required, because a
stop per thread and sample freezes a process with many threads. (py-spy refuses it together with
`--native`.) Its Chrome trace is the only format with times, frames and threads. It identifies
threads by their pthread handle, so `py-spy dump` is run as well, for the kernel's thread ids.
"""

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from perfscope.agent.probe.stacks import is_of_package, short_path
from perfscope.agent.target_user.rights import take_rights_to_trace, target_user

LARGEST_OUTPUT_BYTES = 256 << 20
EXIT_TIMEOUT_S = 3.0
EXIT_POLL_S = 0.005
LARGEST_MESSAGES_BYTES = 1 << 16
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
OUR_FRAMES = " (<perfscope "
"""In the label of each frame of the probe: its files have such names."""
OUR_THREAD = " (<perfscope>:"
"""In the label of a frame that only the probe's thread has: the text that started the probe."""
NOT_PERMITTED = (
    "not permitted to read the process's memory (`perfscope doctor` shows how to get the right)"
)


class PySpyEvent(msgspec.Struct):
    """The begin (B) or end (E) of a frame.

    `ts` is in microseconds since py-spy started, `tid` the pthread handle.
    """

    ph: str
    ts: float
    tid: int = -1
    name: str = ""
    args: dict[str, Any] = {}


class DumpedThread(msgspec.Struct):
    """A thread in the output of `py-spy dump`; `thread_id` is its pthread handle."""

    thread_id: int
    os_thread_id: int | None = None
    thread_name: str | None = None


@dataclass
class LastingStack:
    """A stack that a thread (pthread handle) had for a while; times are since py-spy started."""

    thread: int
    begin_us: float
    duration_us: float
    text: str


def find_py_spy() -> str | None:
    """Return the path of the py-spy next to our Python, else of the one on PATH."""
    neighbor = Path(sys.executable).with_name("py-spy")
    return str(neighbor) if neighbor.exists() else shutil.which("py-spy")


def folder_of_process(pid: int) -> str:
    """Return the working directory of a process with a slash at its end, "" if not permitted."""
    try:
        return os.readlink(f"/proc/{pid}/cwd").rstrip("/") + "/"
    except OSError:
        return ""


def die_with_parent() -> None:
    """Have the kernel kill this child when its parent ends, and unblock all signals."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    parent = os.getppid()
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent_has_ended = os.getppid() != parent
    if parent_has_ended:
        os._exit(1)


def start_py_spy(
    executable: str,
    pid: int,
    arguments: Sequence[str],
    *,
    out: int = subprocess.DEVNULL,
    err: int = subprocess.DEVNULL,
    kept: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start py-spy on process `pid`, with the descriptors `kept` open. Raises OSError.

    It opens files of the target. Where these belong to another user, py-spy runs as that user, with
    the right to read the process. It is then executed by descriptor, because that user may not be
    able to open its path.
    """
    command = [executable, *arguments, "--pid", str(pid)]
    with target_user(pid) as user, open(executable, "rb") as program:

        def prepare() -> None:
            if user.foreign:
                take_rights_to_trace(user)
            die_with_parent()

        by_descriptor = f"/proc/self/fd/{program.fileno()}"
        return subprocess.Popen(
            command,
            executable=by_descriptor if user.foreign else None,
            env={} if user.foreign else None,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=(*kept, program.fileno()) if user.foreign else kept,
            preexec_fn=prepare,
            start_new_session=True,
        )


@dataclass
class PySpy:
    """One py-spy that samples `pid` at `rate_hz`, from `begin` to `end`.

    It writes into a memory file. As root, it must not write to a path, which another user could
    have replaced by a link.
    """

    executable: str
    pid: int
    rate_hz: float
    handles: dict[int, int] = field(default_factory=dict)
    """Kernel thread ids by pthread handle."""
    error: str = ""
    folder: str = ""
    """The working directory of the process, with a slash at its end; "" if not permitted."""
    names_threads: bool = True
    """Whether thread ids are wanted: they need another run of py-spy."""
    ended_cpu_s: float = 0.0
    """CPU time of its runs that have ended."""

    def begin(self) -> None:
        """Start sampling. Raises OSError when py-spy cannot be started."""
        self.output = os.memfd_create("perfscope-pyspy")
        self.messages = os.memfd_create("perfscope-pyspy-messages")
        self.folder = folder_of_process(self.pid)
        arguments = ["record", "--nonblocking", "--idle", "--rate", f"{self.rate_hz:g}"]
        arguments += ["--format", "chrometrace", "--output", f"/proc/self/fd/{self.output}"]
        try:
            self.process = start_py_spy(
                self.executable, self.pid, arguments, err=self.messages, kept=(self.output,)
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(self.output)
            os.close(self.messages)
            raise OSError(errno.EPERM, str(getattr(error, "strerror", error))) from None
        self.naming: subprocess.Popen[bytes] | None = None
        self.began_ns = time.monotonic_ns()

    @property
    def share(self) -> float | None:
        """Share of a core that this py-spy has used since its start; None when it has ended."""
        cpu_clock = ~self.process.pid << 3 | 2
        try:
            used_ns = time.clock_gettime_ns(cpu_clock)
        except OSError:
            return None
        return used_ns / max(time.monotonic_ns() - self.began_ns, 1)

    def name_threads(self) -> None:
        """Ask for thread ids without blocking; the next call, or `end`, reads the answer."""
        if not self.names_threads:
            return
        if self.naming is None:
            self.names = os.memfd_create("perfscope-pyspy-dump")
            try:
                arguments = ("dump", "--json", "--nonblocking")
                self.naming = start_py_spy(self.executable, self.pid, arguments, out=self.names)
            except (OSError, subprocess.SubprocessError):  # the process may have ended
                os.close(self.names)
        elif self.has_ended(self.naming):
            self.read_thread_ids()

    def has_ended(self, child: subprocess.Popen[bytes]) -> bool:
        """Return whether a run of py-spy has ended, and keep its CPU time when it has."""
        if child.returncode is not None:
            return True
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid == 0:
            return False
        child.returncode = os.waitstatus_to_exitcode(status)
        self.ended_cpu_s += usage.ru_utime + usage.ru_stime
        return True

    def wait_for_end(self, child: subprocess.Popen[bytes]) -> None:
        """Wait until a run of py-spy has ended; end it by force after EXIT_TIMEOUT_S."""
        give_up_s = time.monotonic() + EXIT_TIMEOUT_S
        while not self.has_ended(child):
            if time.monotonic() > give_up_s:
                child.kill()
            time.sleep(EXIT_POLL_S)

    def read_thread_ids(self) -> None:
        """Read the thread ids that were asked for, if any."""
        if self.naming is None:
            return
        naming, self.naming = self.naming, None
        self.wait_for_end(naming)
        with open(self.names, "rb") as file, suppress(msgspec.MsgspecError):
            file.seek(0)
            for thread in msgspec.json.decode(file.read(), type=list[DumpedThread]):
                if thread.os_thread_id is not None:
                    self.handles[thread.thread_id] = thread.os_thread_id

    def end(self) -> list[PySpyEvent]:
        """Stop py-spy and return its events; none, with the reason in `error`, when it failed."""
        if not self.has_ended(self.process):
            self.name_threads()
            self.read_thread_ids()
            self.process.send_signal(signal.SIGINT)
        self.wait_for_end(self.process)
        self.read_thread_ids()
        events = self.read_output()
        events.sort(key=lambda event: event.ts)
        last_us = events[-1].ts if events else 0.0
        self.zero_ns = self.written_ns - int(last_us * 1000)
        return events

    def read_output(self) -> list[PySpyEvent]:
        """Return the events in the output; none, with the reason in `error`, when it is not valid.

        The last thing that py-spy does is to end every frame and write the file.
        """
        with open(self.messages, "rb") as file:
            file.seek(0)
            messages = file.read(LARGEST_MESSAGES_BYTES).decode("utf-8", "replace")
        with open(self.output, "rb") as file:
            status = os.fstat(file.fileno())
            age_ns = time.time_ns() - status.st_mtime_ns
            self.written_ns = time.monotonic_ns() - age_ns
            if status.st_size > LARGEST_OUTPUT_BYTES:
                self.error = f"it wrote more than {LARGEST_OUTPUT_BYTES >> 20} MB"
                return []
            file.seek(0)
            try:
                return msgspec.json.decode(file.read(), type=list[PySpyEvent])
            except msgspec.MsgspecError:
                self.error = find_error(messages)
                return []


def find_error(text: str) -> str:
    """Return the line of py-spy's messages that says what failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "ermission" in line:
            return NOT_PERMITTED
        if line.startswith("Error:"):
            return line.removeprefix("Error:").strip()
    return lines[-1] if lines else "it ended without a message"


def read_stacks(events: list[PySpyEvent], folder: str) -> Iterator[LastingStack]:
    """Yield every stack of every thread but the probe's, with its duration.

    `folder` is the working directory of the process, with a slash at its end.
    """
    stacks: dict[int, list[str]] = {}
    changed_us: dict[int, float] = {}
    for event in events:
        stack = stacks.setdefault(event.tid, [])
        begin_us = changed_us.get(event.tid, event.ts)
        is_ours = any(OUR_THREAD in label for label in stack)
        if stack and not is_ours and event.ts > begin_us:
            shown = ";".join(label for label in stack if OUR_FRAMES not in label)
            yield LastingStack(event.tid, begin_us, event.ts - begin_us, shown)
        changed_us[event.tid] = event.ts
        if event.ph == "B":
            stack.append(frame_label(event, folder))
        elif event.ph == "E" and stack:
            stack.pop()


def frame_label(event: PySpyEvent, folder: str) -> str:
    """Return `function (file:line)` as the probe writes it; `folder` is its working directory."""
    file = short_path(str(event.args.get("filename", "?")), folder)
    function = event.name.rsplit(".", 1)[-1] if is_of_package(file) else event.name
    line = event.args.get("line", 0)
    return f"{function} ({file}:{line})".replace(";", ",")
