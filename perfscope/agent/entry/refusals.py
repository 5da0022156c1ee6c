"""The reasons why a process cannot be entered, each with what to do about it."""

import ctypes
import errno
import os
import re
from pathlib import Path

from perfscope.agent.entry import ptrace
from perfscope.agent.entry.seccomp_filter import refuse_by_seccomp
from perfscope.agent.entry.symbols import (
    SINCE_3_8,
    addresses,
    is_initialized,
    possible_python_files,
    python_files,
    python_version,
)
from perfscope.agent.host import proc
from perfscope.errors import CannotEnter

SYS_KCMP, KCMP_VM = 312, 1
NO_SUCH_PID = 0x7FFFFFFF
CLASS_64, MACHINE_X86_64 = 2, 62
REMOTE_EXEC_SINCE = 0x030E0000
CAP_SYS_PTRACE = 1 << 19
MAPPED_PYTHON = re.compile(r"(libpython3|/python3?(\.\d+)?[a-z]*$)")
ENDED = ("", "Z", "X")  # states of a main thread, see `main_thread_state`
LIST = "run `perfscope ps` to list processes you can attach to"
START = "start it with `perfscope run`"


def gone(pid: int) -> CannotEnter:
    """Return the refusal for a process that has exited."""
    return CannotEnter(f"pid {pid} has exited: start it again, or {LIST}")


def status_of(pid: int) -> dict[str, str]:
    """Return /proc/PID/status as a dict. Raises CannotEnter if there is no such process."""
    try:
        return proc.read_status(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise CannotEnter(f"no process with pid {pid}: {LIST}") from None


def main_thread_state(pid: int) -> str:
    """Return the state as one letter (R S D T t Z X), "" if there is no such process."""
    try:
        return status_of(pid)["State"][:1]
    except CannotEnter:
        return ""


def innermost_pid(pid: int) -> int:
    """Return the pid as the process itself sees it, in the innermost pid namespace."""
    pids = status_of(pid).get("NSpid", str(pid)).split()
    return int(pids[-1])


def check_entry(pid: int) -> None:
    """Raise CannotEnter, with the reason and what to do, if `pid` cannot be entered.

    It does not stop the process.
    """
    status = status_of(pid)
    refuse_by_state(pid, status)
    refuse_by_owner(pid, status)
    refuse_by_tracer(pid, status)
    refuse_by_permission(pid)
    refuse_by_shared_memory(pid, status)
    refuse_by_seccomp(pid, status)
    refuse_by_build(pid)


def refuse_by_state(pid: int, status: dict[str, str]) -> None:
    """Raise CannotEnter for a process that has exited or is stopped, and for a kernel thread."""
    state = status["State"][:1]
    if state in ENDED:
        tasks = f"/proc/{pid}/task"
        threads = len(os.listdir(tasks)) if os.path.isdir(tasks) else 0
        if threads > 1:
            raise CannotEnter(
                f"the main thread of pid {pid} has ended while other threads still run: {START}"
            )
        parent = status.get("PPid", "?")
        raise CannotEnter(f"pid {pid} has exited, and waits for its parent, pid {parent}: {LIST}")
    if state == "T":
        raise CannotEnter(
            f"pid {pid} is stopped by a signal: let it run first with `kill -CONT {pid}`"
        )
    if int(status.get("Kthread", "0")):
        raise CannotEnter(f"pid {pid} is a kernel thread, not Python: {LIST}")


def refuse_by_owner(pid: int, status: dict[str, str]) -> None:
    """Raise CannotEnter for a process of another user, and for a setuid program."""
    real, effective, saved, _ = status["Uid"].split()
    if own_capabilities() & CAP_SYS_PTRACE:
        if len({real, effective, saved}) > 1:
            raise CannotEnter(
                f"pid {pid} runs with the rights of several users ({real}, {effective}, {saved}),"
                " and perfscope does not enter setuid programs: use `--depth observe`"
            )
        return
    if str(os.geteuid()) not in (real, effective, saved):
        raise CannotEnter(
            f"pid {pid} belongs to {user_name(int(real))}: run perfscope as that user or with sudo"
        )
    if len({real, effective, saved}) > 1:
        raise CannotEnter(
            f"pid {pid} runs a setuid program, which the kernel protects: run perfscope with sudo"
        )


def refuse_by_tracer(pid: int, status: dict[str, str]) -> None:
    """Raise CannotEnter for a process that another program traces."""
    tracer = int(status.get("TracerPid", "0"))
    if tracer:
        try:
            name = Path(f"/proc/{tracer}/comm").read_text("utf-8", "replace").strip()
        except OSError:
            name = "another program"
        raise CannotEnter(
            f"pid {pid} is already traced by {name} (pid {tracer}), and only one tracer is"
            f" possible: end pid {tracer} first"
        )


def refuse_by_permission(pid: int) -> None:
    """Raise CannotEnter if the kernel does not let this process trace `pid`."""
    ctypes.set_errno(0)
    # This request always fails: with ESRCH if ptrace is allowed at all, with EPERM if a seccomp
    # filter forbids it.
    answer = ptrace.LIBC.ptrace(ptrace.DETACH, NO_SUCH_PID, None, None)
    if answer < 0 and ctypes.get_errno() == errno.EPERM:
        raise CannotEnter(f"a seccomp filter forbids ptrace here: {container_advice()}")
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        raise refused_by_kernel(pid) from None
    except OSError:
        raise gone(pid) from None


def refuse_by_shared_memory(pid: int, status: dict[str, str]) -> None:
    """Raise CannotEnter for a child of vfork that still uses its parent's memory.

    Entering one of them would change both.
    """
    parent = int(status.get("PPid", "0"))
    if not parent:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_KCMP, pid, parent, KCMP_VM, 0, 0) == 0:
        raise CannotEnter(
            f"pid {pid} shares the memory of its parent, pid {parent}, until it executes another"
            f" program: attach to pid {parent}"
        )


def refuse_by_build(pid: int) -> None:
    """Raise CannotEnter for a program that is not a CPython that can be entered."""
    refuse_several_pythons(pid)
    try:
        files = python_files(pid)
        path = files[-1].path if files else os.readlink(f"/proc/{pid}/exe")
        head = elf_header(pid, files[-1].start) if files else b""
    except OSError:
        raise gone(pid) from None
    refuse_by_format(pid, path, head)
    found = addresses(pid, files, ("PyRun_String", SINCE_3_8))
    # In older versions, a thread that C code started could crash a process without Python threads.
    if SINCE_3_8 in found:
        return
    if "PyRun_String" in found:
        raise CannotEnter(f"pid {pid} runs a CPython older than 3.8: use 3.10 or newer")
    if main_thread_state(pid) in ENDED:
        raise gone(pid)
    paths = [file.path.removesuffix(" (deleted)") for file in files]
    looks_like_python = any(MAPPED_PYTHON.search(mapped) for mapped in paths)
    if path.endswith(" (deleted)") and looks_like_python:
        raise CannotEnter(
            f"the Python of pid {pid} was replaced on disk after it started: restart it to attach"
        )
    if looks_like_python:
        raise CannotEnter(f"pid {pid} runs a static Python without symbols: {START}")
    raise CannotEnter(f"pid {pid} ({os.path.basename(path)}) is not Python: {LIST}")


def refuse_by_format(pid: int, path: str, head: bytes) -> None:
    """Raise CannotEnter for a program that is not ELF, 64-bit and of a supported machine.

    head: the first bytes of the program.
    """
    machine = int.from_bytes(head[18:20], "little")
    if head[:4] != b"\x7fELF":
        raise CannotEnter(f"pid {pid} runs {path}, which is not an ELF program: {START}")
    if head[4] != CLASS_64:
        raise CannotEnter(f"pid {pid} is a 32-bit process: use a 64-bit Python, or {START}")
    is_x86_64 = machine == MACHINE_X86_64 and os.uname().machine == "x86_64"
    if not is_x86_64 and known_version(pid) < REMOTE_EXEC_SINCE:
        raise CannotEnter(
            f"pid {pid} cannot be entered, because that needs x86-64 or CPython 3.14 and newer"
            f" (PEP 768): {START}"
        )


def refuse_several_pythons(pid: int) -> None:
    """Raise CannotEnter if several CPythons run in the process, or several but none runs yet."""
    try:
        if python_files(pid):
            return
        possible = possible_python_files(pid)
        interpreters = [file for file in possible if is_initialized(pid, file) is not None]
        running = [
            os.path.basename(file.path) for file in interpreters if is_initialized(pid, file)
        ]
    except OSError:
        raise gone(pid) from None
    if running:
        names = " and ".join(running)
        raise CannotEnter(f"pid {pid} runs more than one Python ({names}): {START}")
    if interpreters:
        raise CannotEnter(f"the Python of pid {pid} has not started yet, or has ended: try again")


def elf_header(pid: int, start: int) -> bytes:
    """Return the first bytes of the program as it is mapped at `start`.

    The file is not opened: it belongs to the target's user.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), 20, start)


def known_version(pid: int) -> int:
    """Return PY_VERSION_HEX of the target, 0 if unknown. Raises CannotEnter if it has exited."""
    try:
        return python_version(pid) or 0
    except OSError:
        raise gone(pid) from None


def refused_by_kernel(pid: int) -> CannotEnter:
    """Return the reason for EPERM or EACCES from ptrace, the most specific one that applies."""
    if main_thread_state(pid) in ENDED:
        return gone(pid)
    scope = yama_scope()
    may_trace_all = bool(own_capabilities() & CAP_SYS_PTRACE)
    if scope == 3:
        return CannotEnter(
            "no process can be traced until reboot, because kernel.yama.ptrace_scope is 3: use"
            " `perfscope run`"
        )
    if in_container() and not may_trace_all:
        return CannotEnter(
            f"not permitted to trace pid {pid}: the container lacks SYS_PTRACE;"
            f" {container_advice()}"
        )
    if scope in (1, 2):
        advice = "run `sudo sysctl -w kernel.yama.ptrace_scope=0`, or run perfscope with sudo"
        return CannotEnter(
            f"not permitted to trace pid {pid}: kernel.yama.ptrace_scope is {scope}; {advice}"
        )
    if not may_trace_all:
        why = "it is setuid, made itself non-dumpable, or has capabilities that perfscope lacks"
        return CannotEnter(
            f"not permitted to trace pid {pid}: {why}; run perfscope with sudo, in a container"
            f" {container_advice()}"
        )
    return CannotEnter(
        f"not permitted to trace pid {pid}: a security module or another user namespace forbids"
        " it; see `dmesg`"
    )


def container_advice() -> str:
    """Return how to start a container in which ptrace is allowed."""
    kubernetes = "in Kubernetes `securityContext.capabilities.add: [SYS_PTRACE]`"
    return f"start the container with `--cap-add SYS_PTRACE`, {kubernetes}"


def in_container() -> bool:
    """Return whether this process seems to run in a container."""
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(os.path.exists(mark) for mark in marks) or "KUBERNETES_SERVICE_HOST" in os.environ


def yama_scope() -> int | None:
    """Return kernel.yama.ptrace_scope, None without Yama.

    0: processes of the same user, 1: descendants only, 2: root only, 3: nobody.
    """
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text("ascii"))
    except OSError:
        return None


def own_capabilities() -> int:
    """Return the effective capabilities of this process."""
    return proc.capabilities(os.getpid())


def user_name(uid: int) -> str:
    """Return a user as it is printed in a refusal."""
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with uid {uid}"
