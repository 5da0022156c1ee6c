"""Finds the metrics page of an engine from any process of its tree, by /proc only.

The port must belong to a socket on which that tree itself listens: a request never goes to a port
that another process has taken.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from perfscope.agent.engine_metrics.address import PageAddress
from perfscope.agent.engine_metrics.engine_command import RecognizedEngine, recognize_engine
from perfscope.agent.host import proc
from perfscope.agent.host.socket_peers import read_sockets

MOST_ANCESTORS: Final = 8
MOST_PROCESSES: Final = 256
LOOPBACK: Final = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "::1", "::": "::1"}
"""The address to connect to, by the one that a socket listens on."""


@dataclass(frozen=True)
class EngineProcess:
    """The front end of an engine: its pid, and what its command line says."""

    pid: int
    engine: RecognizedEngine


def find_engine(pid: int) -> EngineProcess | None:
    """Return the engine that a process belongs to, None where it belongs to none.

    The process may be the front end, one of its workers, or a launcher such as a shell above it. A
    forked worker has the command line of the front end, which is the highest of them.
    """
    highest, current = None, pid
    for _ in range(MOST_ANCESTORS):
        engine = recognize_engine(proc.command_line(current))
        if engine is not None:
            highest = EngineProcess(current, engine)
        found = proc.stat(current)
        if found is None or found.parent <= 1 or owner(found.parent) != owner(pid):
            break
        current = found.parent
    if highest is not None:
        return highest
    for child in tree_of(pid)[1:]:
        engine = recognize_engine(proc.command_line(child))
        if engine is not None:
            return EngineProcess(child, engine)
    return None


def owner(pid: int) -> int | None:
    """Return the uid that a process runs as, None where it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def tree_of(pid: int) -> list[int]:
    """Return a process and its descendants, the nearest first, at most MOST_PROCESSES."""
    found = [pid]
    for each in found:
        found += [child for child in proc.children(each) if child not in found]
        if len(found) >= MOST_PROCESSES:
            break
    return found[:MOST_PROCESSES]


def page_of(process: EngineProcess) -> PageAddress | str:
    """Return the address of an engine's page, or why there is none."""
    engine = process.engine
    if network_of(process.pid) != network_of(os.getpid()):
        return (
            "the engine has a network of its own (a container); name its page with"
            " --metrics http://HOST:PORT/metrics"
        )
    listening = listening_addresses(process.pid)
    on_port = [host for host, port in listening if port == engine.port]
    hosts = [LOOPBACK[host] for host in on_port if host in LOOPBACK]
    if hosts:
        return PageAddress("http", hosts[0], engine.port, engine.path)
    if on_port:
        return (
            f"the engine listens on {on_port[0]} only; name its page with"
            f" --metrics http://{on_port[0]}:{engine.port}{engine.path}"
        )
    others = [(host, port) for host, port in listening if host in LOOPBACK]
    if len(others) == 1:
        host, port = others[0]
        return PageAddress("http", LOOPBACK[host], port, engine.path)
    return f"the engine does not listen on port {engine.port}; name its page with --metrics URL"


def network_of(pid: int) -> int | None:
    """Return the network namespace of a process, None where the kernel hides it."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    except OSError:
        return None


def listening_addresses(pid: int) -> list[tuple[str, int]]:
    """Return host and port of each TCP socket on which a process or a descendant listens."""
    inodes = open_sockets(tree_of(pid))
    found = []
    for entry in read_sockets(pid).entries.values():
        if entry.is_tcp and entry.listens and entry.inode in inodes:
            host, _, port = entry.local.rpartition(":")
            found.append((host.strip("[]"), int(port)))
    return sorted(found)


def open_sockets(pids: Iterable[int]) -> set[int]:
    """Return the inodes of the sockets that these processes have open, where that is visible."""
    inodes: set[int] = set()
    for pid in pids:
        try:
            files = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for file in files:
            try:
                link = os.readlink(f"/proc/{pid}/fd/{file}")
            except OSError:
                continue
            if link.startswith("socket:["):
                inodes.add(int(link[8:-1]))
    return inodes
