"""Plain reads of /proc: one process's identity, environment and what it has mapped. A process that
is gone gives None.
"""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
NO_IMAGE = (0, 0)


@dataclass(frozen=True)
class Stat:
    """From /proc/PID/stat: thread name, state letter, parent, start in clock ticks since boot.

    `image` (where the program's code and stack begin) is the same in a forked child and changes
    with every exec; (1, 0) where the kernel hides it from us, NO_IMAGE for a kernel thread and once
    a process has begun to end.
    """

    name: str
    state: str
    parent: int
    start_ticks: int
    image: tuple[int, int] = NO_IMAGE


def read(path: str) -> str | None:
    """A small file of /proc, None when it is gone or not ours to read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return None


def status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status by field name. Raises OSError when the process is gone."""
    with open(f"/proc/{pid}/status", "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def capabilities(pid: int) -> int:
    """Return the effective capabilities of a process as a bit mask. Raises OSError when it is
    gone.
    """
    return int(status(pid)["CapEff"], 16)


def stat(pid: int) -> Stat | None:
    """Identity of a process; the name may hold spaces and brackets, so the fields are counted from
    the last one.
    """
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    name = text[text.index("(") + 1 : text.rindex(")")]
    return Stat(
        name, fields[0], int(fields[1]), int(fields[19]), (int(fields[23]), int(fields[25]))
    )


def command_line(pid: int) -> list[str]:
    """The words of the command line, none for a kernel thread or a process that is gone."""
    text = read(f"/proc/{pid}/cmdline") or ""
    return text.rstrip("\0").split("\0") if text else []


def environment(pid: int, names: tuple[str, ...]) -> dict[str, str]:
    """Only the named variables, as they were when the process started."""
    found = {}
    for entry in (read(f"/proc/{pid}/environ") or "").split("\0"):
        name, _, value = entry.partition("=")
        if name in names:
            found[name] = value
    return found


def own_pid(pid: int) -> int:
    """The pid in the process's own (innermost) namespace."""
    for line in (read(f"/proc/{pid}/status") or "").splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def process_of(tid: int) -> int:
    """The process that a thread belongs to: /proc answers to a thread's number too, and `htop`
    shows these.
    """
    for line in (read(f"/proc/{tid}/status") or "").splitlines():
        if line.startswith("Tgid:"):
            return int(line.split()[-1])
    return tid


def mapped_paths(pid: int) -> set[str]:
    """Paths of the files mapped into the process, in its own mount namespace."""
    paths = set()
    for line in (read(f"/proc/{pid}/maps") or "").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/"):
            paths.add(fields[5])
    return paths


def mapped(pid: int) -> set[str]:
    """Base names of the files mapped into the process."""
    return {os.path.basename(path) for path in mapped_paths(pid)}


def available_bytes() -> int | None:
    """Memory of the host that can be had without swapping; None where the kernel does not say."""
    for line in (read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def children(pid: int) -> list[int]:
    """Direct children of every thread of a process, by pid."""
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
    """The same where the kernel keeps no lists of children (CONFIG_PROC_CHILDREN is off): every
    process is asked.
    """
    return [one for one in everyone() if (found := stat(one)) is not None and found.parent == pid]


def everyone() -> list[int]:
    """All pids to be seen here, ascending."""
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def executable(pid: int) -> str:
    """Base name of the program, "" when it cannot be told."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""
