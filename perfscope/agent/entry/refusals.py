"""Why a process cannot be entered, each with the line that says what to do."""

import ctypes
import errno
import os
import re
from pathlib import Path

from perfscope.agent.entry import ptrace
from perfscope.agent.entry.seccomp_filter import refuse_by_seccomp
from perfscope.agent.entry.symbols import (
    addresses,
    initialized,
    possible_python_files,
    python_files,
    python_version,
)
from perfscope.agent.host import proc
from perfscope.errors import CannotEnter

# before, a thread of C could end a process that never made a Python thread
SINCE_3_8 = "PyConfig_InitPythonConfig"
SYS_KCMP, KCMP_VM = 312, 1
CLASS_64, MACHINE_X86_64 = 2, 62
REMOTE_EXEC_SINCE = 0x030E0000
CAP_SYS_PTRACE = 1 << 19
MAPPED_PYTHON = re.compile(r"(libpython3|/python3?(\.\d+)?[a-z]*$)")


def gone(pid: int) -> CannotEnter:
    return CannotEnter(
        f"pid {pid} has exited: start it again, or attach to another (`perfscope ps` lists them)"
    )


def status_of(pid: int) -> dict[str, str]:
    """/proc/PID/status as a dict. Raises CannotEnter when there is no such process."""
    try:
        return proc.status(pid)
    except (FileNotFoundError, ProcessLookupError):
        raise CannotEnter(
            f"no process with pid {pid}: `perfscope ps` lists what can be attached to"
        ) from None


def main_thread_state(pid: int) -> str:
    """One letter (R S D T t Z X), "" when there is no such process."""
    try:
        return status_of(pid)["State"][:1]
    except CannotEnter:
        return ""


def own_pid(pid: int) -> int:
    """The pid as the process sees it itself, in the innermost pid namespace."""
    return int(status_of(pid).get("NSpid", str(pid)).split()[-1])


def check(pid: int) -> None:
    """Raise CannotEnter, with the reason and what to do, where `pid` cannot be entered; stops
    nothing.
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
    state = status["State"][:1]
    if state in ("Z", "X"):
        threads = len(os.listdir(f"/proc/{pid}/task")) if os.path.isdir(f"/proc/{pid}/task") else 0
        if threads > 1:
            raise CannotEnter(
                f"the main thread of pid {pid} has ended while others run on: start it under"
                " `perfscope run`"
            )
        raise CannotEnter(
            f"pid {pid} is a zombie, it has exited: its parent, pid {status.get('PPid', '?')}, must"
            " reap it"
        )
    if state == "T":
        raise CannotEnter(
            f"pid {pid} is stopped by a signal: let it run first with `kill -CONT {pid}`"
        )
    if int(status.get("Kthread", "0")):
        raise CannotEnter(
            f"pid {pid} is a thread of the kernel, not Python: `perfscope ps` lists what can be"
            " attached to"
        )


def refuse_by_owner(pid: int, status: dict[str, str]) -> None:
    real, effective, saved, _ = status["Uid"].split()
    if own_capabilities() & CAP_SYS_PTRACE:
        if len({real, effective, saved}) > 1:
            raise CannotEnter(
                f"pid {pid} runs with the rights of several users ({real}, {effective}, {saved}): "
                "perfscope does not enter setuid programs; use `--depth observe`"
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
    tracer = int(status.get("TracerPid", "0"))
    if tracer:
        try:
            name = Path(f"/proc/{tracer}/comm").read_text("utf-8", "replace").strip()
        except OSError:
            name = "another program"
        raise CannotEnter(
            f"pid {pid} is traced by {name} (pid {tracer}): end that first, a process has one"
            " tracer"
        )


def refuse_by_permission(pid: int) -> None:
    ctypes.set_errno(0)
    # A request that must fail: ESRCH where ptrace is allowed at all, EPERM where a seccomp filter
    # forbids it.
    if (
        ptrace.LIBC.ptrace(ptrace.DETACH, 0x7FFFFFFF, None, None) < 0
        and ctypes.get_errno() == errno.EPERM
    ):
        raise CannotEnter(f"ptrace is forbidden here by a seccomp filter: {container_advice()}")
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        raise refused_by_kernel(pid) from None
    except OSError:
        raise gone(pid) from None


def refuse_by_shared_memory(pid: int, status: dict[str, str]) -> None:
    """A child of vfork has its parent's memory until it executes a program: what is done to one is
    done to both.
    """
    parent = int(status.get("PPid", "0"))
    if (
        parent
        and ctypes.CDLL(None, use_errno=True).syscall(SYS_KCMP, pid, parent, KCMP_VM, 0, 0) == 0
    ):
        raise CannotEnter(
            f"pid {pid} has the memory of its parent, pid {parent}, until it executes another"
            " program: attach to the parent"
        )


def refuse_by_build(pid: int) -> None:
    refuse_several_pythons(pid)
    try:
        files = python_files(pid)
        path = files[-1].path if files else os.readlink(f"/proc/{pid}/exe")
        head = elf_header(pid, files[-1].start) if files else b""
    except OSError:
        raise gone(pid) from None
    machine = int.from_bytes(head[18:20], "little")
    looks_python = any(MAPPED_PYTHON.search(one.path.removesuffix(" (deleted)")) for one in files)
    if head[:4] != b"\x7fELF":
        raise CannotEnter(
            f"pid {pid} runs {path}, which is no ELF program: start it under `perfscope run`"
        )
    if head[4] != CLASS_64:
        raise CannotEnter(
            f"pid {pid} is a 32-bit process: use a 64-bit Python, or start it under `perfscope run`"
        )
    foreign = machine != MACHINE_X86_64 or os.uname().machine != "x86_64"
    if foreign and known_version(pid) < REMOTE_EXEC_SINCE:
        advice = "start it under `perfscope run`, or use CPython 3.14 or newer (PEP 768)"
        raise CannotEnter(f"entering pid {pid} works on x86-64 only: {advice}")
    found = addresses(pid, files, ("PyRun_String", SINCE_3_8))
    if SINCE_3_8 in found:
        return
    if "PyRun_String" in found:
        raise CannotEnter(f"pid {pid} is a CPython before 3.8: use 3.10 or newer")
    if main_thread_state(pid) in ("", "Z", "X"):
        raise gone(pid)
    if path.endswith(" (deleted)") and looks_python:
        raise CannotEnter(
            f"the Python of pid {pid} was replaced on disk since it started: restart it to attach"
        )
    if looks_python:
        raise CannotEnter(
            f"pid {pid} is a static Python without symbols: start it under `perfscope run`"
        )
    raise CannotEnter(
        f"pid {pid} ({os.path.basename(path)}) is not Python: `perfscope ps` lists what can be"
        " attached to"
    )


def refuse_several_pythons(pid: int) -> None:
    """Raise CannotEnter where more than one CPython runs in the process, or none of several yet."""
    try:
        if python_files(pid):
            return
        interpreters = [
            file for file in possible_python_files(pid) if initialized(pid, file) is not None
        ]
        running = [os.path.basename(file.path) for file in interpreters if initialized(pid, file)]
    except OSError:
        raise gone(pid) from None
    if running:
        names = " and ".join(running)
        raise CannotEnter(
            f"pid {pid} runs more than one Python ({names}): start it under `perfscope run`"
        )
    if interpreters:
        raise CannotEnter(f"the Python of pid {pid} has not started yet, or has ended: try again")


def elf_header(pid: int, start: int) -> bytes:
    """Return the first bytes of the program as it is mapped at `start`: its file is the target
    user's, and is not opened.
    """
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        return os.pread(memory.fileno(), 20, start)


def known_version(pid: int) -> int:
    """PY_VERSION_HEX of the target, 0 when it does not tell. Raises CannotEnter when it is gone."""
    try:
        return python_version(pid) or 0
    except OSError:
        raise gone(pid) from None


def refused_by_kernel(pid: int) -> CannotEnter:
    """The reason for EPERM or EACCES from ptrace and its kin, from most to least specific."""
    if main_thread_state(pid) in ("", "Z", "X"):
        return gone(pid)
    scope = yama_scope()
    if scope == 3:
        return CannotEnter(
            "no process can be traced: kernel.yama.ptrace_scope is 3 until reboot; use `perfscope"
            " run`"
        )
    if in_container() and not own_capabilities() & CAP_SYS_PTRACE:
        return CannotEnter(
            f"no permission to trace pid {pid} in this container: {container_advice()}"
        )
    if scope in (1, 2):
        advice = "`sudo sysctl -w kernel.yama.ptrace_scope=0`, or run perfscope with sudo"
        return CannotEnter(
            f"no permission to trace pid {pid}: kernel.yama.ptrace_scope is {scope}; {advice}"
        )
    if not own_capabilities() & CAP_SYS_PTRACE:
        why = "it is setuid, made itself non-dumpable, or has capabilities that perfscope lacks"
        return CannotEnter(
            f"no permission to trace pid {pid}: {why}; run perfscope with sudo, in a container"
            f" {container_advice()}"
        )
    return CannotEnter(
        f"the kernel forbids tracing pid {pid} (a security module, or another user namespace): see"
        " `dmesg`"
    )


def container_advice() -> str:
    kubernetes = "in Kubernetes `securityContext.capabilities.add: [SYS_PTRACE]`"
    return f"start the container with `--cap-add SYS_PTRACE`, {kubernetes}"


def in_container() -> bool:
    marks = ("/.dockerenv", "/run/.containerenv")
    return any(os.path.exists(mark) for mark in marks) or "KUBERNETES_SERVICE_HOST" in os.environ


def yama_scope() -> int | None:
    """kernel.yama.ptrace_scope: 0 anyone of the same user, 1 descendants only, 2 root only, 3
    nobody; None without Yama.
    """
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text("ascii"))
    except OSError:
        return None


def own_capabilities() -> int:
    return proc.capabilities(os.getpid())


def user_name(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user with uid {uid}"
