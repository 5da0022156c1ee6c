"""Where the code of a thread runs: addresses that the kernel samples while the thread has a core.

perf_event_open(2) with the software clock of one thread: every `period_ns` of CPU time the kernel
writes the instruction pointer into a ring of memory that only we map. The thread is not stopped or
traced, and nothing enters its process.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import struct
import time
from bisect import bisect_right
from dataclasses import dataclass, field

SYS_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
# linux/perf_event.h
TYPE_SOFTWARE, TASK_CLOCK = 1, 1
SAMPLE_ADDRESS_AND_TIME = 1 | 4
DISABLED, EXCLUDE_KERNEL, EXCLUDE_HYPERVISOR, USE_CLOCK_ID = 1 << 0, 1 << 5, 1 << 6, 1 << 25
CLOSE_ON_EXEC = 8
ENABLE = 0x2400
RECORD_SAMPLE = 9
CPU_MODE, IN_KERNEL = 0x7, 1
HEAD_AT, TAIL_AT = 1024, 1032
ATTRIBUTES_BYTES = 128
HEADER, SAMPLE = struct.Struct("=IHH"), struct.Struct("=QQ")
POSITION = struct.Struct("=Q")
RING_PAGES = 2
LIBC = ctypes.CDLL(None, use_errno=True)

KERNEL = "[kernel]"
ANONYMOUS = "[anonymous]"
"""Code in memory that is not a file: compiled just in time."""
UNKNOWN = "[unknown]"
REREAD_AFTER_NS = 1_000_000_000


@dataclass(frozen=True)
class CpuSample:
    """An address that a thread executed at `ts` (ns of the monotonic clock)."""

    ts: int
    address: int
    in_kernel: bool


class CpuSampler:
    """The samples of one thread, from its creation to `close`.

    Where the kernel does not permit samples inside the kernel, there are only those outside it.
    """

    def __init__(self, tid: int, period_ns: int) -> None:
        """Begin to sample thread `tid`. Raises OSError where that is not permitted."""
        try:
            self.file = open_samples(tid, period_ns, EXCLUDE_HYPERVISOR)
        except PermissionError:
            self.file = open_samples(tid, period_ns, EXCLUDE_HYPERVISOR | EXCLUDE_KERNEL)
        self.bytes = RING_PAGES * mmap.PAGESIZE
        try:
            self.ring = mmap.mmap(self.file, mmap.PAGESIZE + self.bytes)
            fcntl.ioctl(self.file, ENABLE, 0)
        except OSError:
            os.close(self.file)
            raise

    def read(self) -> list[CpuSample]:
        """Return the samples since the last call."""
        (head,) = POSITION.unpack_from(self.ring, HEAD_AT)
        (tail,) = POSITION.unpack_from(self.ring, TAIL_AT)
        samples = []
        while tail < head:
            kind, misc, size = HEADER.unpack(self.data(tail, HEADER.size))
            if size < HEADER.size:
                break
            if kind == RECORD_SAMPLE:
                address, ts = SAMPLE.unpack(self.data(tail + HEADER.size, SAMPLE.size))
                samples.append(CpuSample(ts, address, misc & CPU_MODE == IN_KERNEL))
            tail += size
        POSITION.pack_into(self.ring, TAIL_AT, head)
        return samples

    def data(self, position: int, size: int) -> bytes:
        """Return bytes of the ring, which continues at its beginning."""
        first = position % self.bytes
        begin = mmap.PAGESIZE + first
        part = self.ring[begin : begin + min(size, self.bytes - first)]
        rest = size - len(part)
        return part + self.ring[mmap.PAGESIZE : mmap.PAGESIZE + rest]

    def close(self) -> None:
        """End the samples."""
        self.ring.close()
        os.close(self.file)


def open_samples(tid: int, period_ns: int, flags: int) -> int:
    """Return the descriptor of a thread's samples. Raises OSError."""
    number = SYS_PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    attributes = bytearray(ATTRIBUTES_BYTES)
    fields = (TYPE_SOFTWARE, ATTRIBUTES_BYTES, TASK_CLOCK, period_ns, SAMPLE_ADDRESS_AND_TIME)
    struct.pack_into("=IIQQQ", attributes, 0, *fields)
    struct.pack_into("=Q", attributes, 40, DISABLED | USE_CLOCK_ID | flags)
    struct.pack_into("=i", attributes, 92, time.CLOCK_MONOTONIC)
    address = (ctypes.c_char * ATTRIBUTES_BYTES).from_buffer(attributes)
    descriptor = LIBC.syscall(number, address, tid, -1, -1, CLOSE_ON_EXEC)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


@dataclass
class MappedCode:
    """The files whose code is mapped into a process, by address."""

    pid: int
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    read_ns: int = 0

    def name_at(self, address: int, now_ns: int) -> str:
        """Return the name of the file whose code is at an address.

        The list of files is read again, at most once per second, where the address is not in it.
        """
        name = self.known_name(address)
        if name is None and now_ns - self.read_ns > REREAD_AFTER_NS:
            self.read_ns = now_ns
            self.read()
            name = self.known_name(address)
        return UNKNOWN if name is None else name

    def known_name(self, address: int) -> str | None:
        """Return the name of the file at an address, None where none is known."""
        row = bisect_right(self.begins, address) - 1
        return self.names[row] if row >= 0 and address < self.ends[row] else None

    def read(self) -> None:
        """Read which files are mapped; keep what is known when the process is gone."""
        begins, ends, names = [], [], []
        try:
            with open(
                f"/proc/{self.pid}/maps", encoding="utf-8", errors="replace", newline="\n"
            ) as maps:
                for line in maps:
                    fields = line.rstrip("\n").split(None, 5)
                    if "x" not in fields[1]:
                        continue
                    begin, _, end = fields[0].partition("-")
                    begins.append(int(begin, 16))
                    ends.append(int(end, 16))
                    path = fields[5] if len(fields) == 6 else ANONYMOUS
                    names.append(path.removesuffix(" (deleted)").rpartition("/")[2])
        except OSError:
            return
        self.begins, self.ends, self.names = begins, ends, names
