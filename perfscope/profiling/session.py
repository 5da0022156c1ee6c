"""One recording of this process. All scopes that are open at the same time, in whatever thread,
share it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from perfscope.agent.delivery import start_in_this_process as inside
from perfscope.agent.delivery.probe_socket import open_probe_socket
from perfscope.agent.entry.torch_import_watch import TorchImportWatch
from perfscope.agent.job.roles import int_variable, place_from_environment
from perfscope.agent.profiler_windows.window import Window
from perfscope.agent.recording.profile_agent import Order
from perfscope.agent.temporary_folders import folder_name, remove_dead
from perfscope.errors import IMPORT_FAILURES, PerfscopeError
from perfscope.profiling.marks import mark_step
from perfscope.traces.python_command import module_command

BEGINS_WITHIN_S = 5.0
ENDS_WITHIN_S = 60.0
FOLDER = "run.perfscope"
PREFIX = "perfscope-profile-"


class Session:
    """A recording from `start` to `stop`. Neither raises: what went wrong is in `trouble`, and
    the program goes on.
    """

    def __init__(self, out: Path | None, depth: str, window: Window) -> None:
        self.pid = os.getpid()
        self.depth, self.window = depth, window
        self.users = 0
        self.shared = False
        self.ended = False
        self.probe: Any = None
        self.trouble: str | None = None
        self.agent: subprocess.Popen[bytes] | None = None
        self.hook: TorchImportWatch | None = None
        self.begun, self.over = threading.Event(), threading.Event()
        self.kept = out is not None
        if out is None:
            home = private_folder()
            weakref.finalize(self, remove, home, os.getpid())
            out = home / FOLDER
        self.out = out

    def start(self) -> None:
        """Start the agent and the probe; returns once its patches are in place."""
        self.probe_socket = open_probe_socket()
        with suppress(*IMPORT_FAILURES):
            import nvtx  # noqa: F401  so that the first `scope.range` is recorded too
        try:
            self.agent = start_agent(self.order())
        except OSError as error:
            self.trouble = (
                f"no agent could be started: {error.strerror}; give Python's path as sys.executable"
            )
            return
        if "torch" in sys.modules:
            self.begin()
        else:
            self.hook = TorchImportWatch(self.begin)
            sys.meta_path.insert(0, self.hook)
        self.agent.wait()  # the agent itself is not our child
        self.probe_socket.listening.close()

    def begin(self) -> None:
        """Start the probe in this process; it connects to the agent."""
        window = self.window if self.depth == "kernels" else None
        inside.begin(self.probe_socket, window, self.came, self.left)
        self.begun.wait(BEGINS_WITHIN_S)

    def came(self, probe: Any) -> None:
        self.probe = probe
        self.begun.set()

    def left(self) -> None:
        self.begun.set()
        self.over.set()

    def order(self) -> Order:
        probe_socket = self.probe_socket
        number = probe_socket.listening.fileno()
        return Order(
            self.pid,
            str(self.out),
            number,
            probe_socket.address,
            probe_socket.token,
            self.depth,
            self.window,
            own_rank(),
        )

    def stop(self) -> None:
        """End the recording; the probe has left and the run folder is whole afterwards."""
        if self.agent is None:
            return
        if self.hook in sys.meta_path:
            sys.meta_path.remove(self.hook)
        try:
            answer, _ = self.agent.communicate(b"stop\n", timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            answer = b'{"error": "the agent did not end"}'
        except OSError:
            answer = b'{"error": "the agent is gone"}'
        self.trouble = error_in(answer)
        self.ended = True

    def mark_step(self) -> None:
        """Record that a step of this thread ends now."""
        if self.probe is not None and self.pid == os.getpid():
            mark_step()


def private_folder() -> Path:
    """Make the folder of a recording that is not kept; those of programs that were killed are
    removed. Raises OSError.
    """
    place = Path(tempfile.gettempdir()).resolve()
    remove_dead(place, PREFIX)
    home = place / folder_name(PREFIX)
    home.mkdir(mode=0o700)
    return home


def start_agent(order: Order) -> "subprocess.Popen[bytes]":
    """Start the agent's process and hand it its order on stdin: a command line can be read by every
    user. Raises OSError.
    """
    import msgspec

    agent = subprocess.Popen(
        module_command("perfscope.agent.recording.profile_agent"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(order.probe_socket_fd,),
        start_new_session=True,
        bufsize=0,
    )
    assert agent.stdin is not None
    try:
        agent.stdin.write(msgspec.json.encode(order) + b"\n")
    except OSError:  # it ended before it read a word
        agent.wait()
        raise
    return agent


def error_in(answer: bytes) -> str | None:
    """Return the error that the agent reported when it ended, None without one."""
    import msgspec

    try:
        error: str | None = msgspec.json.decode(answer, type=dict[str, str | None])["error"]
    except (msgspec.MsgspecError, KeyError):
        return "the recording process exited unexpectedly"
    return error


def own_rank() -> int:
    """Return the rank from torch.distributed, else from the launcher's variables; -1 for none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return (
        place_from_environment(os.environ, "RANK")
        if parent_process() is None
        else int_variable(os.environ, "RANK")
    )


def remove(home: Path, pid: int) -> None:
    """Remove the folder of a recording that is not kept, unless this is a forked child."""
    if os.getpid() == pid:
        shutil.rmtree(home, ignore_errors=True)


class Sessions:
    """The recording that is open in this process, if any."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: Session | None = None

    def join(self, out: Path | None, depth: str, window: Window) -> Session:
        """Return the open session, or start a new one. The caller must `leave` it."""
        with self.lock:
            if self.open is None or self.open.pid != os.getpid():
                self.open = Session(out, depth, window)
                self.open.start()
            self.open.shared |= self.open.users > 0
            self.open.users += 1
            return self.open

    def leave(self, session: Session) -> bool:
        """Leave a session; return whether that ended its recording."""
        if session.pid != os.getpid():
            return False
        with self.lock:
            session.users -= 1
            if session.users:
                return False  # the scopes that are still open share the recording
            self.open = None
            session.stop()
            return True


SESSIONS = Sessions()
os.register_at_fork(after_in_child=lambda: setattr(SESSIONS, "lock", threading.Lock()))

__all__ = ["SESSIONS", "PerfscopeError", "Session", "Sessions"]
