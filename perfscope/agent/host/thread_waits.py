"""What each thread of a process waits for: the system call, the file or peer, and the time limit.

/proc/PID/task/TID/syscall has the call and its arguments. The path of an `open` and the time limit
of a wait are in the memory of the process, which is read and never written; nothing is stopped. No
file of the process is opened or looked up, because that would wait as long as the process does.
"""

import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from perfscope.agent.host import proc
from perfscope.agent.host.blocking_system_calls import (
    CHILD,
    CLOCK_SLEEP,
    DESCRIPTOR,
    FUTEX_LIMIT,
    LOCK,
    MILLISECONDS,
    NETWORK,
    NONE,
    OTHER,
    POLL,
    REQUESTS,
    SLEEP,
    TIMEVAL,
    CallForm,
    numbered_forms,
)
from perfscope.agent.host.socket_peers import (
    SocketEntry,
    Sockets,
    holder_of,
    inode_of,
    link_of,
    read_sockets,
)
from perfscope.agent.host.system_calls import kind_of_file

RUNNING: Final = "running"
STOPPED: Final = "stopped"
DISK: Final = "disk"
INPUT: Final = "input"
GIL: Final = "gil"
STOPPED_STATES: Final = "Tt"
UNINTERRUPTIBLE: Final = "D"
NO_LIMIT: Final = -1
UNKNOWN_PEER: Final = -1
LONGEST_PATH: Final = 1024
PAGE_BYTES: Final = 4096
TWO_NUMBERS: Final = struct.Struct("=qq")
POLLED: Final = struct.Struct("=iHH")
MOST_POLLED: Final = 8
FUTEX_CLOCK_REALTIME: Final = 256
FUTEX_COMMAND_MASK: Final = 127
FUTEX_WAIT_UNTIL: Final = (9, 11)
"""FUTEX_WAIT_BITSET and FUTEX_WAIT_REQUEUE_PI: the limit is an instant."""
NS_PER_S: Final = 1_000_000_000
LONGEST_NS: Final = 1 << 58
STANDARD_INPUT: Final = 0
MOST_THREADS_OF_PEER: Final = 64
ANY_CHILD: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class ThreadWait:
    """A thread, and what it waits for.

    `target` is the file, address or lock, `peer` the pid of the process at its other end (-1:
    unknown), `limit_ns` the time after which the wait ends (-1: never). `runs` and `cpu_ns`
    count since the thread started.
    """

    tid: int
    name: str
    runs: int
    cpu_ns: int
    call: str = ""
    kind: str = OTHER
    target: str = ""
    peer: int = UNKNOWN_PEER
    limit_ns: int = NO_LIMIT


@dataclass
class WaitReader:
    """Reads the waits of the threads of one process; `others` are the pids of its job.

    Sockets are read once, when they are first needed: a process that waits opens none.
    """

    pid: int
    others: Sequence[int] = ()
    calls: dict[int, CallForm] = field(default_factory=numbered_forms)
    runtime: tuple[int, int] | None = None
    """Address and size of CPython's `_PyRuntime`: a futex in it is the GIL."""
    sockets: Sockets | None = None
    peers: dict[str, int] = field(default_factory=dict)

    def threads(self, most: int) -> list[ThreadWait]:
        """Return what the threads wait for, at most so many, the main thread first."""
        try:
            tids = sorted(int(name) for name in os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            return []
        tids.sort(key=lambda tid: tid != self.pid)
        found = [self.thread(tid) for tid in tids[:most]]
        return [wait for wait in found if wait is not None]

    def thread(self, tid: int) -> ThreadWait | None:
        """Return what one thread waits for, None when it is gone."""
        place = f"/proc/{self.pid}/task/{tid}"
        runs = (proc.read(f"{place}/schedstat") or "").split()
        stat = (proc.read(f"{place}/stat") or "").rpartition(")")
        if len(runs) < 3 or not stat[2]:
            return None
        name, state = stat[0].partition("(")[2], stat[2].split()[0]
        words = (proc.read(f"{place}/syscall") or "").split()
        wait = ThreadWait(tid, name, int(runs[2]), int(runs[0]))
        form = self.calls.get(int(words[0])) if words and words[0] != RUNNING else None
        if form is None or len(words) < 7 or state in STOPPED_STATES:
            return replace(wait, kind=kind_without_call(words, state))
        return self.with_call(wait, form, [int(word, 16) for word in words[1:7]])

    def with_call(self, wait: ThreadWait, form: CallForm, arguments: list[int]) -> ThreadWait:
        """Return the wait of a thread that is in this system call."""
        kind, target, peer = self.kind_target_and_peer(form, arguments)
        limit_ns = self.limit_ns(form, arguments)
        if kind == NETWORK and peer > 0 and peer not in (self.pid, *self.others):
            limit_ns = shorter_limit(limit_ns, sleep_of(peer))
        return replace(wait, call=form.name, kind=kind, target=target, peer=peer, limit_ns=limit_ns)

    def kind_target_and_peer(self, form: CallForm, arguments: list[int]) -> tuple[str, str, int]:
        """Return the kind of a wait, its file, address or lock, and the peer."""
        if form.path != NONE:
            return form.kind, self.path_at(arguments[form.path]), UNKNOWN_PEER
        if form.kind == CHILD:
            return CHILD, *self.awaited_child(form, arguments)
        if form.kind == LOCK:
            kind = GIL if self.is_in_runtime(arguments[0]) else LOCK
            return kind, f"{arguments[0]:#x}", UNKNOWN_PEER
        if form.kind == POLL:
            return self.kind_target_and_peer_of_poll(form, arguments)
        if form.file == NONE:
            return form.kind, "", UNKNOWN_PEER
        descriptor = arguments[form.file] & 0xFFFFFFFF
        link = link_of(self.pid, descriptor)
        kind = kind_of_file(link) if form.kind == DESCRIPTOR else form.kind
        if form.kind == DESCRIPTOR and descriptor == STANDARD_INPUT and form.name == "read":
            kind = INPUT
        writes = form.name in ("write", "writev")
        return kind, self.text_of_link(link), self.peer_of(link, waits_for_writer=not writes)

    def is_in_runtime(self, address: int) -> bool:
        """Return whether an address is inside `_PyRuntime`."""
        return self.runtime is not None and 0 <= address - self.runtime[0] < self.runtime[1]

    def kind_target_and_peer_of_poll(
        self, form: CallForm, arguments: list[int]
    ) -> tuple[str, str, int]:
        """Return the kind, target and peer of a wait for several files: those of the first one.

        A poll of no file is a sleep, one of a listening socket waits for requests.
        """
        descriptors = self.descriptors_of_poll(form, arguments)
        if not descriptors:
            return SLEEP if form.file == NONE else POLL, "", UNKNOWN_PEER
        if STANDARD_INPUT in descriptors:
            return INPUT, self.text_of_link(link_of(self.pid, STANDARD_INPUT)), UNKNOWN_PEER
        links = [link_of(self.pid, descriptor) for descriptor in descriptors]
        for link in links:
            entry = self.socket_of(link)
            if entry is not None and entry.listens:
                return REQUESTS, self.text_of_link(link), UNKNOWN_PEER
        kinds = [kind_of_file(link) for link in links]
        wanted = next((at for at, kind in enumerate(kinds) if kind in ("pipe", NETWORK)), 0)
        peer = self.peer_of(links[wanted], waits_for_writer=True)
        return kinds[wanted], self.text_of_link(links[wanted]), peer

    def descriptors_of_poll(self, form: CallForm, arguments: list[int]) -> list[int]:
        """Return the first descriptors that a call polls."""
        if form.file != NONE:
            return epoll_members(self.pid, arguments[form.file] & 0xFFFFFFFF)
        if form.name in ("select", "pselect6"):
            count = min(arguments[0], 1024)
            mask = self.read_memory(arguments[1], (count + 7) // 8) if arguments[1] else b""
            bits = int.from_bytes(mask, "little")
            return [number for number in range(count) if bits >> number & 1][:MOST_POLLED]
        count = min(arguments[1], MOST_POLLED)
        polled = self.read_memory(arguments[0], count * POLLED.size)
        whole = len(polled) // POLLED.size * POLLED.size
        return [number for number, _, _ in POLLED.iter_unpack(polled[:whole]) if number >= 0]

    def awaited_child(self, form: CallForm, arguments: list[int]) -> tuple[str, int]:
        """Return the child that is waited for, as text and as pid."""
        wanted = arguments[1] if form.name == "waitid" else arguments[0]
        wanted &= 0xFFFFFFFF
        if form.name == "waitid" and arguments[0] != 1:  # P_PID
            wanted = ANY_CHILD
        if wanted == ANY_CHILD:
            children = proc.children(self.pid)
            wanted = children[0] if len(children) == 1 else 0
        if not 0 < wanted < ANY_CHILD:
            return "", UNKNOWN_PEER
        inner = {proc.namespace_pid(pid): pid for pid in proc.children(self.pid)}
        return f"pid {wanted}", inner.get(wanted, UNKNOWN_PEER)

    def text_of_link(self, link: str) -> str:
        """Return a link as it is shown: the address of a socket, `pipe`, or the path."""
        entry = self.socket_of(link)
        if entry is not None:
            if entry.listens:
                return f"listening {entry.local}".rstrip()
            return entry.remote if entry.is_tcp else f"socket {entry.local}".rstrip()
        return "pipe" if link.startswith("pipe:") else link

    def socket_of(self, link: str) -> SocketEntry | None:
        """Return the socket that a link refers to, None for another file."""
        inode = inode_of(link) if link.startswith("socket:") else None
        if inode is None:
            return None
        if self.sockets is None:
            self.sockets = read_sockets(self.pid)
        return self.sockets.entries.get(inode)

    def peer_of(self, link: str, *, waits_for_writer: bool) -> int:
        """Return the pid of the process at the other end of a pipe or socket, -1 if unknown."""
        if not link.startswith(("pipe:", "socket:")):
            return UNKNOWN_PEER
        key = f"{link} {waits_for_writer}"
        if key not in self.peers:
            self.peers[key] = self.find_peer(link, writing=waits_for_writer)
        return self.peers[key]

    def find_peer(self, link: str, *, writing: bool) -> int:
        """Return the process at the other end; first the job's own are searched, then all."""
        others = [pid for pid in self.others if pid != self.pid]
        if link.startswith("pipe:"):
            return holder_of(link, others, writing=writing) or UNKNOWN_PEER
        entry = self.socket_of(link)
        inode = None if entry is None or self.sockets is None else self.sockets.peer_inode(entry)
        if inode is None:
            return UNKNOWN_PEER
        wanted = f"socket:[{inode}]"
        elsewhere = (pid for pid in reversed(proc.all_pids()) if pid != self.pid)
        searched = (others, [self.pid], elsewhere)
        found = (holder_of(wanted, pids) for pids in searched)
        return next((pid for pid in found if pid is not None), UNKNOWN_PEER)

    def path_at(self, address: int) -> str:
        """Return the path at an address in the memory of the process, "" if it cannot be read."""
        to_page_end = PAGE_BYTES - address % PAGE_BYTES
        data = self.read_memory(address, min(to_page_end, LONGEST_PATH))
        if b"\0" not in data and len(data) == to_page_end < LONGEST_PATH:
            data += self.read_memory(address + to_page_end, LONGEST_PATH - to_page_end)
        path = data.partition(b"\0")[0].decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else "?" for letter in path)

    def limit_ns(self, form: CallForm, arguments: list[int]) -> int:
        """Return the time after which a wait ends, NO_LIMIT for one without a limit.

        A limit that is a duration is returned whole: when the wait began is not known.
        """
        if form.limit_at == NONE:
            return NO_LIMIT
        value = arguments[form.limit_at]
        if form.limit == MILLISECONDS:
            milliseconds = value & 0xFFFFFFFF
            return NO_LIMIT if milliseconds >> 31 else milliseconds * 1_000_000
        data = self.read_memory(value, TWO_NUMBERS.size) if value else b""
        if len(data) < TWO_NUMBERS.size:
            return NO_LIMIT
        seconds, rest = TWO_NUMBERS.unpack(data)
        limit_ns = seconds * NS_PER_S + rest * (1000 if form.limit == TIMEVAL else 1)
        clock = clock_of_limit(form, arguments)
        if clock is not None:
            limit_ns -= time.clock_gettime_ns(clock)
        return int(min(max(limit_ns, 0), LONGEST_NS))

    def read_memory(self, address: int, size: int) -> bytes:
        """Return memory of the process, less or nothing where it cannot be read."""
        if size <= 0:
            return b""
        try:
            with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as file:
                return os.pread(file.fileno(), size, address)
        except (OSError, OverflowError):
            return b""


def kind_without_call(words: list[str], state: str) -> str:
    """Return the kind of a wait whose system call is not known, or of a thread that runs."""
    if state in STOPPED_STATES:
        return STOPPED
    if words and words[0] != RUNNING:
        return DISK if state == UNINTERRUPTIBLE else OTHER
    return RUNNING if words or state == "R" else OTHER


def sleep_of(pid: int) -> int:
    """Return the shortest sleep of the threads of a process, in ns; NO_LIMIT without one."""
    waits = WaitReader(pid, [pid]).threads(MOST_THREADS_OF_PEER)
    sleeps = [wait.limit_ns for wait in waits if wait.kind == SLEEP and wait.limit_ns >= 0]
    return min(sleeps, default=NO_LIMIT)


def shorter_limit(first: int, second: int) -> int:
    """Return the shorter of two time limits, where NO_LIMIT is the longest."""
    limits = [limit for limit in (first, second) if limit != NO_LIMIT]
    return min(limits, default=NO_LIMIT)


def clock_of_limit(form: CallForm, arguments: list[int]) -> int | None:
    """Return the clock that a time limit is an instant of, None where it is a duration."""
    if form.limit == CLOCK_SLEEP and arguments[1] & 1:
        return time.CLOCK_REALTIME if arguments[0] == 0 else time.CLOCK_MONOTONIC
    if form.limit == FUTEX_LIMIT and arguments[1] & FUTEX_COMMAND_MASK in FUTEX_WAIT_UNTIL:
        is_real = arguments[1] & FUTEX_CLOCK_REALTIME
        return time.CLOCK_REALTIME if is_real else time.CLOCK_MONOTONIC
    return None


def epoll_members(pid: int, descriptor: int) -> list[int]:
    """Return the first descriptors that an epoll file watches."""
    lines = proc.kernel_lines(proc.read(f"/proc/{pid}/fdinfo/{descriptor}"))
    members = [line.split()[1] for line in lines if line.startswith("tfd:")]
    return [int(member) for member in members[:MOST_POLLED]]
