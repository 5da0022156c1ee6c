"""One recording of this process. All scopes that are open at the same time, in whatever thread,
share it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from perfscope.agent.delivery import own_process as inside
from perfscope.agent.delivery.probe_socket import open_door
from perfscope.agent.entry.torch_import_watch import TorchImportWatch
from perfscope.agent.job.roles import int_variable, place_from_environment
from perfscope.agent.leftovers import folder_name, remove_dead
from perfscope.agent.profile_agent import Order
from perfscope.agent.profiler_windows.window import Window
from perfscope.errors import IMPORT_FAILURES, PerfscopeError

BEGINS_WITHIN_S = 5.0
ENDS_WITHIN_S = 60.0
FOLDER = "run.perfscope"
PREFIX = "perfscope-profile-"


class Session:
    """A recording from `start` to `stop`. Neither raises: what went wrong stands in `trouble`, and
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
        self.door = open_door()
        with suppress(*IMPORT_FAILURES):
            import nvtx  # noqa: F401  that the first of `scope.range` is heard too
        try:
            self.agent = started(self.order())
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
        self.door.listening.close()

    def begin(self) -> None:
        """Put the probe in, here; it calls the agent by itself, and waits for it."""
        window = self.window if self.depth == "kernels" else None
        inside.begin(self.door, window, self.came, self.left)
        self.begun.wait(BEGINS_WITHIN_S)

    def came(self, probe: Any) -> None:
        self.probe = probe
        self.begun.set()

    def left(self) -> None:
        self.begun.set()
        self.over.set()

    def order(self) -> Order:
        door = self.door
        number = door.listening.fileno()
        return Order(
            self.pid,
            str(self.out),
            number,
            door.address,
            door.token,
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
            said, _ = self.agent.communicate(b"stop\n", timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            said = b'{"error": "the agent did not end"}'
        except OSError as error:
            said = b'{"error": "the agent is gone"}' if error else b""
        self.trouble = word(said)
        self.ended = True

    def mark_step(self) -> None:
        """A step ends here."""
        probe = self.probe
        if probe is not None and probe.live[0] and self.pid == os.getpid():
            kind, thread = probe.kinds["STEP"], threading.get_native_id()
            probe.records.append((kind, thread, time.monotonic_ns(), 0, *(-1,) * 8))


def private_folder() -> Path:
    """Make the folder of a recording that is not kept; those of programs that were killed are
    removed. Raises OSError.
    """
    place = Path(tempfile.gettempdir()).resolve()
    remove_dead(place, PREFIX)
    home = place / folder_name(PREFIX)
    home.mkdir(mode=0o700)
    return home


def started(order: Order) -> "subprocess.Popen[bytes]":
    """Start the agent's process and hand it its order on stdin: a command line can be read by every
    user. Raises OSError.
    """
    import msgspec

    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    agent = subprocess.Popen(
        [sys.executable, "-m", "perfscope.agent.profile_agent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        pass_fds=(order.door,),
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


def word(said: bytes) -> str | None:
    """The agent's last word: what went wrong."""
    import msgspec

    try:
        error: str | None = msgspec.json.decode(said, type=dict[str, str | None])["error"]
    except (msgspec.MsgspecError, KeyError):
        return "the agent ended without a word"
    return error


def own_rank() -> int:
    """Of torch.distributed, else as the launcher says it; -1 for none."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return (
        place_from_environment(os.environ, "RANK")
        if parent_process() is None
        else int_variable(os.environ, "RANK")
    )


def remove(home: Path, pid: int) -> None:
    """The folder of a recording that nobody kept; a forked child leaves its parent's alone."""
    if os.getpid() == pid:
        shutil.rmtree(home, ignore_errors=True)


class Sessions:
    """The one that is open in this process, if any."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: Session | None = None

    def join(self, out: Path | None, depth: str, window: Window) -> Session:
        """The open one, or a new one; `leave` it."""
        with self.lock:
            if self.open is None or self.open.pid != os.getpid():
                self.open = Session(out, depth, window)
                self.open.start()
            self.open.shared |= self.open.users > 0
            self.open.users += 1
            return self.open

    def leave(self, session: Session) -> bool:
        """True when the recording ended with it."""
        if session.pid != os.getpid():
            return False
        with self.lock:
            session.users -= 1
            if session.users:
                return False  # those that are still open have what came before too
            self.open = None
            session.stop()
            return True


SESSIONS = Sessions()
os.register_at_fork(after_in_child=lambda: setattr(SESSIONS, "lock", threading.Lock()))

__all__ = ["SESSIONS", "PerfscopeError", "Session", "Sessions"]
