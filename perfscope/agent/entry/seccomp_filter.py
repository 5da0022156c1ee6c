"""Checks whether seccomp filters allow the system calls that injected code needs.

A filter is a small program of the classic BPF machine over the number and the arguments of a system
call (seccomp(2)).
"""

import ctypes
import errno
import os
import struct
import time
from collections.abc import Sequence

from perfscope.agent.entry import ptrace
from perfscope.agent.entry.process_identity import Target
from perfscope.agent.entry.ptrace import ProcessGone, TimeUp
from perfscope.agent.entry.remote_call import stop_thread
from perfscope.agent.entry.shared_progress import EntryProgress
from perfscope.agent.host import proc
from perfscope.errors import CannotEnter

INSTRUCTION = struct.Struct("<HBBI")
DATA = struct.Struct("<iIQ6Q")
ARCH_X86_64 = 0xC000003E
MOST_FILTERS, MOST_INSTRUCTIONS = 64, 4096
GET_FILTER = 0x420C
ACTION_MASK, ALLOW, LOG, ERRNO = 0xFFFF0000, 0x7FFF0000, 0x7FFC0000, 0x00050000
CLONE3, NO_SUCH_CALL = 435, ERRNO | 38  # glibc then uses clone; it reports any other error
WORD = 0xFFFFFFFF
STRICT, FILTER = "1", "2"  # of Seccomp in /proc/PID/status
CAP_SYS_ADMIN = 1 << 21
# An environment variable of perfscope, which `--even-with-seccomp` sets.
INSIST = "PERFSCOPE_EVEN_WITH_SECCOMP"
THREAD_FLAGS = 0x3D0F00

REQUIRED: dict[str, tuple[int, tuple[int, ...]]] = {
    "mmap": (9, (0, 8192, 5, 0x22, -1, 0)),
    "mprotect": (10, (0, 4096, 3)),
    "munmap": (11, (0, 8192)),
    "rt_sigprocmask": (14, (2, 0, 0, 8)),
    "rt_sigpending": (127, (0, 8)),
    "tgkill": (234, (1, 1, 23)),
    "futex": (202, (0, 128)),
    "clone": (56, (THREAD_FLAGS,)),
    "socket": (41, (1, 0x80801, 0)),
    "connect": (42, ()),
    "sendmsg": (46, ()),
    "recvmsg": (47, ()),
}
"""The calls that an entry needs: number, and arguments as our code passes them."""
USED = {
    "read": 0,
    "write": 1,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "brk": 12,
    "rt_sigaction": 13,
    "ioctl": 16,
    "access": 21,
    "select": 23,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "nanosleep": 35,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "shutdown": 48,
    "getsockname": 51,
    "setsockopt": 54,
    "getsockopt": 55,
    "exit": 60,
    "fcntl": 72,
    "ftruncate": 77,
    "readlink": 89,
    "getrusage": 98,
    "getuid": 102,
    "sched_setscheduler": 144,
    "prctl": 157,
    "gettid": 186,
    "sched_getaffinity": 204,
    "getdents64": 217,
    "clock_gettime": 228,
    "clock_nanosleep": 230,
    "ioprio_set": 251,
    "openat": 257,
    "newfstatat": 262,
    "ppoll": 271,
    "set_robust_list": 273,
    "getrandom": 318,
    "memfd_create": 319,
    "statx": 332,
    "rseq": 334,
    "clone3": 435,
}
"""Calls that our code may also make. An error is handled, but must not end or stop the process."""


def refuse_by_seccomp(pid: int, status: dict[str, str]) -> None:
    """Raise CannotEnter if seccomp forbids an entry, judging by what is known without a stop.

    status: /proc/PID/status. `check_filters` checks the filters themselves.
    """
    mode = status.get("Seccomp", "0")
    if mode == STRICT:
        raise CannotEnter(
            f"pid {pid} runs in seccomp strict mode, in which an entry would kill it: use `--depth"
            " observe`"
        )
    if needs_filter_check(status) and not can_read_filters():
        advice = "run perfscope with sudo, use `--depth observe`, or pass `--even-with-seccomp`"
        raise CannotEnter(
            f"pid {pid} has a seccomp filter that may kill it during an entry: {advice}"
        )


def needs_filter_check(status: dict[str, str]) -> bool:
    """Return whether the process has filters that must be checked before it is entered."""
    return status.get("Seccomp") == FILTER and not may_skip_check(status)


def may_skip_check(status: dict[str, str]) -> bool:
    """Return whether the filters are also those of this process (a container's), or the user has
    passed `--even-with-seccomp`.
    """
    this_process = proc.read_status(os.getpid())
    count = this_process.get("Seccomp_filters", "")
    same_filters = count == status.get("Seccomp_filters", "0")
    is_shared = this_process.get("Seccomp") == FILTER and same_filters
    return is_shared or os.environ.get(INSIST, "") not in ("", "0")


def can_read_filters() -> bool:
    """Return whether the kernel lets this process read the filters of others."""
    pid = os.getpid()
    is_admin = bool(proc.capabilities(pid) & CAP_SYS_ADMIN)
    return is_admin and proc.read_status(pid).get("Seccomp", "0") == "0"


def check_filters(target: Target, deadline_ns: int, progress: EntryProgress) -> None:
    """Stop the main thread to read its filters; raise CannotEnter if they forbid an entry.

    Call it on a thread that ends soon after. Raises OSError if the process cannot be traced.
    """
    pid = target.pid
    progress.stop_began_ns = time.monotonic_ns()
    try:
        thread = stop_thread(pid, target.memory, deadline_ns)
        try:
            filters = read_filters(pid)
        finally:
            thread.restore_and_detach()
    except TimeUp:
        raise CannotEnter(
            f"the main thread of pid {pid} could not be stopped in time: try again"
        ) from None
    except ProcessGone:
        raise CannotEnter(f"pid {pid} has exited: start it again") from None
    finally:
        progress.stop_began_ns = 0
    if filters is None:
        raise CannotEnter(
            f"perfscope cannot read the seccomp filter of pid {pid}: use `--depth observe`"
        )
    forbidden = forbidden_call(filters)
    if forbidden:
        raise CannotEnter(
            f"the seccomp filter of pid {pid} forbids {forbidden}, which an entry needs: use"
            " `--depth observe`"
        )


def read_filters(tid: int) -> list[bytes] | None:
    """Return the filters of a thread that this tracer has stopped, None if not readable."""
    found: list[bytes] = []
    for number in range(MOST_FILTERS):
        buffer = ctypes.create_string_buffer(MOST_INSTRUCTIONS * INSTRUCTION.size)
        try:
            length = ptrace.call_ptrace(GET_FILTER, tid, number, ctypes.addressof(buffer))
        except OSError as refusal:
            return found if refusal.errno == errno.ENOENT else None
        found.append(buffer.raw[: length * INSTRUCTION.size])
    return None


def forbidden_call(filters: Sequence[bytes]) -> str | None:
    """Return the name of a call of ours that the filters forbid, None if they allow all."""
    for name, (number, arguments) in REQUIRED.items():
        if filter_answer(filters, number, arguments) & ACTION_MASK not in (ALLOW, LOG):
            return name
    for name, number in USED.items():
        answer = filter_answer(filters, number, ())
        if answer & ACTION_MASK not in (ALLOW, LOG, ERRNO):
            return name
        if number == CLONE3 and answer & ACTION_MASK == ERRNO and answer != NO_SUCH_CALL:
            return name
    return None


def filter_answer(filters: Sequence[bytes], number: int, arguments: tuple[int, ...]) -> int:
    """Return the strictest answer of the filters for one system call, with its data."""
    words = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = DATA.pack(number, ARCH_X86_64, 0, *words)
    programs = [list(INSTRUCTION.iter_unpack(program)) for program in filters]
    answers = [run_filter(program, data) for program in programs]
    return min(answers, key=severity, default=ALLOW)


def severity(answer: int) -> int:
    """Return the rank of an answer as the kernel orders them, the strictest lowest.

    It orders by signed value: KILL_PROCESS (0x80000000) comes before KILL_THREAD (0).
    """
    return ctypes.c_int32(answer & ACTION_MASK).value


def run_filter(program: list[tuple[int, int, int, int]], data: bytes) -> int:
    """Return the answer of one filter; 0 (kill) if the kernel would not have accepted it."""
    accumulator = index = position = 0
    memory = [0] * 16
    while position < len(program):
        code, if_true, if_false, constant = program[position]
        position += 1
        kind = code & 7
        if kind == 6:
            return accumulator if code & 0x18 == 0x10 else constant
        if kind in (0, 1):
            value = load_value(code, constant, data, memory)
            accumulator, index = (value, index) if kind == 0 else (accumulator, value)
        elif kind in (2, 3):
            memory[constant & 15] = accumulator if kind == 2 else index
        elif kind == 4:
            accumulator = compute(code, accumulator, index if code & 8 else constant)
        elif kind == 5:
            operand = index if code & 8 else constant
            if code & 0xF0 == 0:
                position += constant
            else:
                position += if_true if is_jump_taken(code, accumulator, operand) else if_false
        elif code & 0x80:
            accumulator = index
        else:
            index = accumulator
    return 0


def load_value(code: int, constant: int, data: bytes, memory: list[int]) -> int:
    """Return the value that a load instruction loads."""
    mode = code & 0xE0
    if mode == 0x20 and constant + 4 <= len(data):
        return int.from_bytes(data[constant : constant + 4], "little")
    if mode == 0x60:
        return memory[constant & 15]
    return len(data) if mode == 0x80 else constant


def compute(code: int, left: int, right: int) -> int:
    """Return the result of an arithmetic instruction."""
    operation = code & 0xF0
    if operation in (0x30, 0x90):
        return 0 if not right else left // right if operation == 0x30 else left % right
    results = {
        0x00: lambda: left + right,
        0x10: lambda: left - right,
        0x20: lambda: left * right,
        0x40: lambda: left | right,
        0x50: lambda: left & right,
        0x60: lambda: left << (right & 31),
        0x70: lambda: left >> (right & 31),
        0x80: lambda: -left,
        0xA0: lambda: left ^ right,
    }
    return results[operation]() & WORD if operation in results else 0


def is_jump_taken(code: int, left: int, right: int) -> bool:
    """Return whether a conditional jump is taken."""
    operation = code & 0xF0
    if operation == 0x10:
        return left == right
    if operation == 0x20:
        return left > right
    return left >= right if operation == 0x30 else bool(left & right)
