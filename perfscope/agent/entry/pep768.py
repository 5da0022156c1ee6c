"""Enters CPython 3.14 and newer through sys.remote_exec (PEP 768), called by the target's own interpreter.

The interpreter must be of the same minor version and see the target as itself, so it is started inside the target's root
directory and its mount and pid namespaces. The script is a file in the target's world; it only starts a thread. Running
it and taking it back are the same act, the renaming of one file, so that the source runs once.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from perfscope.agent.entry import stub
from perfscope.agent.entry.idle import IdleWatch
from perfscope.agent.entry.injected_page import FAULTS
from perfscope.agent.entry.refusals import own_pid, status_of

CALL = "import sys; sys.remote_exec(int(sys.argv[1]), sys.argv[2])"
PLACES = ("/tmp", "/dev/shm", "/var/tmp")  # in the target's world; made with mode 0700 and a random name
NAMESPACES = {"mnt": 0x00020000, "pid": 0x20000000}
KEPT_ENVIRONMENT = (b"LD_LIBRARY_PATH=", b"PYTHONHOME=")
HELPER_S = 5.0
PATIENCE_S = 4.0  # then ptrace has its turn
POLL_S = 0.005

# All of it inside the try, from the first instruction on: a signal handler of the user's may raise anywhere in it.
SCRIPT = """\
try:
    import _signal, _thread, os
    here = {here!r}
    def leave():
        for name in ('script.py', 'source', 'taken', 'withdrawn'):
            try:
                os.unlink(here + '/' + name)
            except OSError:
                pass
        try:
            os.rmdir(here)
        except OSError:
            pass
    def work():
        try:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals() - {faults!r})
            try:
                os.rename(here + '/fresh', here + '/taken')
            except OSError:
                if os.path.exists(here + '/withdrawn'):
                    leave()
                return
            with open(here + '/source', 'rb') as stream:
                text = stream.read()
            leave()
            exec(text, {{'__builtins__': __builtins__}})
        except BaseException:
            pass
    _thread.start_new_thread(work, ())
except BaseException as error:
    frame = error.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    if isinstance(error, KeyboardInterrupt) or frame.tb_frame.f_globals is not globals():
        # A handler of the user's raised in here: have it raised once more, as from a handler, where the user's code goes on.
        import _signal, _thread, sys, time
        def hand_on(number, handler, theirs, main, ours):
            def once(_number, frame):
                if frame is None or frame.f_globals is not ours:
                    _signal.signal(number, handler)
                    raise theirs
            def later():
                while (frame := sys._current_frames().get(main)) is not None and frame.f_globals is ours:
                    time.sleep(0.0002)
                _thread.interrupt_main(number)
                work()
            _signal.signal(number, once)
            _thread.start_new_thread(later, ())
        for number in _signal.valid_signals():
            if callable(_signal.getsignal(number)):
                hand_on(number, _signal.getsignal(number), error, _thread.get_ident(), globals())
                break
"""


@dataclass
class Parcel:
    """The files laid into the target's world: `here` as we see the folder, `there` as the target does."""

    here: Path
    there: str

    def taken(self) -> bool:
        """Has the target begun to run it?"""
        return not (self.here / "fresh").exists()

    def withdraw(self) -> bool:
        """Take it back; False when the target was quicker. The script stays, to clean up should it still be run."""
        try:
            (self.here / "fresh").rename(self.here / "withdrawn")
        except FileNotFoundError:
            return False
        return True


def enter_by_remote_exec(pid: int, source: str, version: int, deadline_ns: int) -> bool:
    """Hand `source` over; False where that cannot be done or the main thread is idle: then another way is needed.

    version: PY_VERSION_HEX of the target. Raises SyntaxError.
    """
    watch = IdleWatch(pid)
    if watch.settle() is not None:
        return False  # a waiting thread would not look at the script
    parcel = laid_out(pid, stub.text(source, own_pid(pid), version))
    if parcel is None:
        return False
    if not ask(pid, parcel.there + "/script.py"):
        shutil.rmtree(parcel.here, ignore_errors=True)
        return False
    until_ns = min(deadline_ns, time.monotonic_ns() + int(PATIENCE_S * 1e9))
    while time.monotonic_ns() < until_ns and watch.idle is None:
        if parcel.taken():
            return True
        watch.look()
        time.sleep(POLL_S)
    return not parcel.withdraw()


def laid_out(pid: int, text: bytes) -> Parcel | None:
    """The files, owned by the target's user; None when no place in its world can be written."""
    uid, gid = (int(status_of(pid)[key].split()[1]) for key in ("Uid", "Gid"))
    for place in PLACES:
        there = f"{place}/perfscope-{secrets.token_hex(8)}"
        here = Path(f"/proc/{pid}/root{there}")
        with contextlib.suppress(OSError):
            here.mkdir(mode=0o700)
            script = SCRIPT.format(here=there, faults=set(map(int, FAULTS)))
            files = {"script.py": script.encode(), "source": text, "fresh": b""}
            for name, content in files.items():
                (here / name).write_bytes(content)
                os.chown(here / name, uid, gid)
            os.chown(here, uid, gid)
            return Parcel(here, there)
    return None


def ask(pid: int, script: str) -> bool:
    """Have the target's own interpreter call sys.remote_exec. False when that fails, for whatever reason."""
    try:
        program = os.readlink(f"/proc/{pid}/exe").encode()
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        kept = dict(entry.split(b"=", 1) for entry in environment if entry.startswith(KEPT_ENVIRONMENT))
        executable = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    except OSError:
        return False
    child = os.fork()
    if child == 0:
        code = 127
        try:
            code = in_their_world(pid, executable, [program, b"-I", b"-S", b"-c", CALL.encode()], script, kept)
        finally:
            os._exit(code)
    os.close(executable)
    return exit_status(child) == 0


def in_their_world(
    pid: int, executable: int, command: list[bytes], script: str, environment: dict[bytes, bytes]
) -> int:
    """Runs in a child of ours: join the target's namespaces and root, then become its interpreter."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    their_pid = pid
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
    other_root = os.stat(f"/proc/{pid}/root").st_ino != os.stat("/").st_ino
    libc = ctypes.CDLL(None, use_errno=True)
    foreign = []
    for name, kind in NAMESPACES.items():
        if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
            foreign.append((os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), kind))
            their_pid = own_pid(pid) if name == "pid" else their_pid
    if any(libc.setns(descriptor, kind) != 0 for descriptor, kind in foreign):
        return 126
    if foreign or other_root:
        os.fchdir(root)
        os.chroot(".")
    child = os.fork()  # a pid namespace holds for children only
    if child == 0:
        os.execve(executable, [*command, str(their_pid).encode(), script.encode()], environment)
    return exit_status(child)


def exit_status(child: int) -> int:
    """Wait for a child of ours, at most HELPER_S; its exit code, 124 when it had to be killed."""
    until_ns = time.monotonic_ns() + int(HELPER_S * 1e9)
    while time.monotonic_ns() < until_ns:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, 9)
    os.waitpid(child, 0)
    return 124
