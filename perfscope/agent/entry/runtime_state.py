"""The state of a stopped CPython (`_PyRuntime`): main thread, and the lock of its pending calls.

A thread that was stopped while it holds that lock would wait for itself in `Py_AddPendingCall`. The
places of these fields are not part of CPython's interface. So a value is used only if the fields
around it have values that are possible.
"""

import contextlib
import os
import struct
from dataclasses import dataclass

SEARCHED_BYTES = 4096
WORD = struct.Struct("<Q")
COOKIE = b"xdebugpy"
# In `_Py_DebugOffsets` of 3.13 and newer, the start of `_PyRuntime`.
FREE_THREADED_AT = 16

MUTEX_SINCE = 0x030D
# mutex, npending, max, maxloop of `_PyRuntime.ceval.pending_mainthread`
QUEUE = struct.Struct("<B3xiii")
MOST_PENDING = 32
QUEUE_LIMITS = struct.pack("<ii", MOST_PENDING, 0)
MUTEX_LOCKED, MUTEX_VALUES = 1, 3

INTERPRETER_AT = {0x030A: 40, 0x030B: 48}
LOCK_OF_INTERPRETER_AT = {0x030A: 80, 0x030B: 112}
LOCK_OF_RUNTIME_AT = {0x030C: 2024}
SEMAPHORE = struct.Struct("<II")  # value (1 when the lock is free), number of waiters
MOST_WAITERS = 1 << 16
HIGHEST_ADDRESS = 1 << 47
MAIN_THREAD_AT = {0x030A: 72, 0x030B: 80, 0x030C: 64, 0x030D: 656, 0x030E: 832, 0x030F: 960}


@dataclass(frozen=True)
class RuntimeState:
    """The start of `_PyRuntime` in a process, read at one moment. version: PY_VERSION_HEX."""

    memory: int
    content: bytes
    version: int

    def knows_thread(self, thread: int) -> bool:
        """Return whether the thread with this pthread_t is the one that initialized Python."""
        wanted = WORD.pack(thread)
        offset = self.content.find(wanted)
        while offset >= 0 and offset % WORD.size:
            offset = self.content.find(wanted, offset + 1)
        return offset >= 0

    def has_another_main_thread(self, thread: int) -> bool:
        """Return whether another thread than the one with this pthread_t initialized Python."""
        offset = MAIN_THREAD_AT.get(self.version >> 16)
        if offset is None or self.word(offset) == 0:
            return False
        return not self.knows_thread(thread)

    def is_free_threaded(self) -> bool:
        """Return whether this is a build without the GIL."""
        is_table = self.content[: len(COOKIE)] == COOKIE
        return is_table and bool(WORD.unpack_from(self.content, FREE_THREADED_AT)[0])

    def queue_is_locked(self) -> bool | None:
        """Return whether a thread holds the lock of the pending calls, None if unknown."""
        if self.version >> 16 >= MUTEX_SINCE:
            return self.mutex_is_locked()
        return self.semaphore_is_locked()

    def mutex_is_locked(self) -> bool | None:
        """Return whether the PyMutex of 3.13 and newer is locked, None if it is not found."""
        found = []
        at = self.content.find(QUEUE_LIMITS)
        while at >= 0:
            start = at - QUEUE.size + len(QUEUE_LIMITS)
            if start >= 0 and start % 8 == 0:
                mutex, pending, _, _ = QUEUE.unpack_from(self.content, start)
                padding = self.content[start + 1 : start + 4]
                if mutex <= MUTEX_VALUES and padding == bytes(3) and 0 <= pending <= MOST_PENDING:
                    found.append(bool(mutex & MUTEX_LOCKED))
            at = self.content.find(QUEUE_LIMITS, at + 1)
        return found[0] if len(found) == 1 else None

    def semaphore_is_locked(self) -> bool | None:
        """Return whether the lock of 3.12 and older is taken, None if it is not found."""
        minor = self.version >> 16
        if minor in LOCK_OF_RUNTIME_AT:
            lock = self.word(LOCK_OF_RUNTIME_AT[minor])
        elif minor in INTERPRETER_AT:
            interpreter = self.word(INTERPRETER_AT[minor])
            address = interpreter + LOCK_OF_INTERPRETER_AT[minor]
            lock = int.from_bytes(self.read(address, WORD.size), "little")
        else:
            return None
        semaphore = self.read(lock, SEMAPHORE.size)
        if len(semaphore) != SEMAPHORE.size:
            return None
        value, waiters = SEMAPHORE.unpack(semaphore)
        return value == 0 if value <= 1 and waiters < MOST_WAITERS else None

    def read(self, address: int, size: int) -> bytes:
        """Return memory of the process, empty if there is none at this address."""
        if not 0 < address < HIGHEST_ADDRESS:
            return b""
        with contextlib.suppress(OSError):
            return os.pread(self.memory, size, address)
        return b""

    def word(self, offset: int) -> int:
        """Return the 64-bit word at byte `offset`."""
        return int(WORD.unpack_from(self.content, offset)[0])


def read_runtime_state(memory: int, runtime: int, version: int) -> RuntimeState:
    """Return the state at address `runtime` (`_PyRuntime`), through an open /proc/PID/mem.

    Raises OSError.
    """
    content = os.pread(memory, SEARCHED_BYTES, runtime)
    return RuntimeState(memory, content.ljust(SEARCHED_BYTES, b"\0"), version)
