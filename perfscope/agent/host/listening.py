"""How many sockets a process listens on: a loop in a process that nobody can connect to fetches its
inputs itself.
"""

import os

from perfscope.agent.host import proc

TCP_LISTEN = "0A"
UNIX_ACCEPTS = 1 << 16  # __SO_ACCEPTCON


def listening_sockets(pid: int) -> int | None:
    """TCP and Unix sockets of the process that accept connections, in its own network namespace;
    None when it hides them.
    """
    accepting = accepting_inodes(pid)
    try:
        files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    return None if accepting is None else sum(link_of(pid, file) in accepting for file in files)


def link_of(pid: int, file: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{file}")
    except OSError:  # closed meanwhile
        return ""


def accepting_inodes(pid: int) -> set[str] | None:
    """`socket:[INODE]` of all that accept connections in the namespace."""
    tables = {name: proc.read(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6", "unix")}
    if tables["tcp"] is None or tables["unix"] is None:
        return None
    found = set()
    for name in ("tcp", "tcp6"):
        for line in (tables[name] or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == TCP_LISTEN:
                found.add(f"socket:[{fields[9]}]")
    for line in tables["unix"].splitlines()[1:]:
        fields = line.split()
        if int(fields[3], 16) & UNIX_ACCEPTS:
            found.add(f"socket:[{fields[6]}]")
    return found
