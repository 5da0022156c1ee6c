"""Reads /proc: the identity, environment and mapped files of a process.

Where a process is gone or may not be read, functions return None or an empty value, unless they
document an OSError.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NO_IMAGE = (0, 0)


@dataclass(frozen=True)
class Stat:
    """Fields of /proc/PID/stat: thread name, state letter, parent, start in ticks since boot.

    `image` holds the addresses where the program's code and stack begin. A forked child keeps it,
    every exec changes it. It is (1, 0) where the kernel hides it, and NO_IMAGE for a kernel thread
    and for a process that is ending.
    """

    name: str
    state: str
    parent: int
    start_ticks: int
    image: tuple[int, int] = NO_IMAGE


def read(path: str) -> str | None:
    """Return the text of a small file of /proc, None when it is gone or may not be read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return None


def kernel_lines(text: str | None) -> list[str]:
    """Return the lines of a text of the kernel, none of None.

    Only a newline ends a line. `str.splitlines` also splits at other control characters, and names
    that a program chooses may contain them: a thread's name could then add a line.
    """
    return text.removesuffix("\n").split("\n") if text else []


def decimal_number(text: str) -> int | None:
    """Return the number that a text of at most nine digits is, None for any other text.

    Programs choose the texts. Python refuses to convert thousands of digits, and a recording has
    no room for numbers of more than 64 bits.
    """
    return int(text) if text.isdecimal() and text.isascii() and len(text) <= 9 else None


def read_status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status by field name. Raises OSError when the process is gone."""
    with open(f"/proc/{pid}/status", "rb") as file:
        text = file.read().decode("utf-8", "replace")
    fields: dict[str, str] = {}
    for line in kernel_lines(text):
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def capabilities(pid: int) -> int:
    """Return the effective capabilities of a process, a bit mask.

    Raises OSError when it is gone.
    """
    return int(read_status(pid)["CapEff"], 16)


def stat(pid: int) -> Stat | None:
    """Return the identity of a process, None when it is gone."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name may hold spaces and parentheses: fields are counted from the last parenthesis.
    name_begin, name_end = text.index("(") + 1, text.rindex(")")
    fields = text[name_end + 2 :].split()
    return Stat(
        name=text[name_begin:name_end],
        state=fields[0],
        parent=int(fields[1]),
        start_ticks=int(fields[19]),
        image=(int(fields[23]), int(fields[25])),
    )


def start_time_s(start_ticks: int) -> float:
    """Return when a process started, by the wall clock, from its `stat`."""
    since_boot_s = start_ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + since_boot_s


def command_line(pid: int) -> list[str]:
    """Return the words of the command line; none for a kernel thread."""
    text = read(f"/proc/{pid}/cmdline") or ""
    return text.rstrip("\0").split("\0") if text else []


def environment(pid: int, names: tuple[str, ...]) -> dict[str, str]:
    """Return the named variables of the environment that the process was started with."""
    found = {}
    for entry in (read(f"/proc/{pid}/environ") or "").split("\0"):
        name, _, value = entry.partition("=")
        if name in names:
            found[name] = value
    return found


def namespace_pid(pid: int) -> int:
    """Return the pid of a process in its own (innermost) pid namespace."""
    for line in kernel_lines(read(f"/proc/{pid}/status")):
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def process_of_thread(tid: int) -> int:
    """Return the pid of the process that a thread belongs to.

    /proc has a folder for thread ids too, and `htop` shows them.
    """
    for line in kernel_lines(read(f"/proc/{tid}/status")):
        if line.startswith("Tgid:"):
            return int(line.split()[-1])
    return tid


def mapped_paths(pid: int) -> set[str]:
    """Return the paths, in its own mount namespace, of the files mapped into a process."""
    paths = set()
    for line in kernel_lines(read(f"/proc/{pid}/maps")):
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/"):
            paths.add(fields[5])
    return paths


def mapped_names(pid: int) -> set[str]:
    """Return the base names of the files mapped into a process."""
    return {os.path.basename(path) for path in mapped_paths(pid)}


def available_bytes() -> int | None:
    """Return the memory of the host available without swapping; None where that is unknown."""
    for line in kernel_lines(read("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def children(pid: int) -> list[int]:
    """Return the pids of the direct children of all threads of a process, ascending."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for tid in threads:
        listed = read(f"/proc/{pid}/task/{tid}/children")
        if listed is None and tid == str(pid) and stat(pid) is not None:
            return children_by_parent(pid)
        found += [int(word) for word in (listed or "").split()]
    return sorted(found)


def children_by_parent(pid: int) -> list[int]:
    """Return the direct children by reading every process.

    This is for kernels that keep no lists of children (CONFIG_PROC_CHILDREN is off).
    """
    found = []
    for other in all_pids():
        fields = stat(other)
        if fields is not None and fields.parent == pid:
            found.append(other)
    return found


def all_pids() -> list[int]:
    """Return all visible pids, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def executable(pid: int) -> str:
    """Return the base name of the program, empty when it is unknown."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""
