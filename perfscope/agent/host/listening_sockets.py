"""Number of sockets that a process listens on.

Without any, nobody can connect to the process, so a loop in it fetches its inputs itself.
"""

import os

from perfscope.agent.host import proc
from perfscope.agent.host.socket_peers import TCP_LISTENS, unix_sockets


def count_listening_sockets(pid: int) -> int | None:
    """Return how many TCP and Unix sockets of a process accept connections.

    None where the kernel hides its sockets.
    """
    accepting = accepting_inodes(pid)
    try:
        files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    if accepting is None:
        return None
    return sum(descriptor_target(pid, file) in accepting for file in files)


def descriptor_target(pid: int, file: str) -> str:
    """Return what a descriptor refers to, empty when it has been closed."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{file}")
    except OSError:
        return ""


def accepting_inodes(pid: int) -> set[str] | None:
    """Return `socket:[INODE]` of each socket in the network namespace that accepts connections."""
    tables = {name: proc.read(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6", "unix")}
    if tables["tcp"] is None or tables["unix"] is None:
        return None
    found = {entry.inode for entry in unix_sockets(tables["unix"]).values() if entry.listens}
    for name in ("tcp", "tcp6"):
        for line in proc.kernel_lines(tables[name])[1:]:
            fields = line.split()
            if fields[3] == TCP_LISTENS:
                found.add(int(fields[9]))
    return {f"socket:[{inode}]" for inode in found}
