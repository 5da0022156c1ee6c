"""Plain reads of /proc: one process's identity, environment and what it has mapped. A process that is gone gives None."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Stat:
    """From /proc/PID/stat: command name, state letter, parent, start in clock ticks since boot."""

    name: str
    state: str
    parent: int
    start_ticks: int


def read(path: str) -> str | None:
    """A small file of /proc, None when it is gone or not ours to read."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return None


def stat(pid: int) -> Stat | None:
    """Identity of a process; the name may hold spaces and brackets, so the fields are counted from the last one."""
    text = read(f"/proc/{pid}/stat")
    if not text:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(text[text.index("(") + 1 : text.rindex(")")], fields[0], int(fields[1]), int(fields[19]))


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


def mapped(pid: int) -> set[str]:
    """Base names of the files mapped into the process."""
    names = set()
    for line in (read(f"/proc/{pid}/maps") or "").splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith("/"):
            names.add(os.path.basename(fields[5]))
    return names


def children(pid: int) -> list[int]:
    """Direct children of every thread of a process, oldest first."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for tid in threads:
        found += [int(word) for word in (read(f"/proc/{pid}/task/{tid}/children") or "").split()]
    return sorted(found)


def executable(pid: int) -> str:
    """Base name of the program, "" when it cannot be told."""
    try:
        return Path(os.readlink(f"/proc/{pid}/exe")).name
    except OSError:
        return ""
