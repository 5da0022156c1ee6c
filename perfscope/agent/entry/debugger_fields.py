"""The fields in another process's memory by which a debugger requests a script (PEP 768).

CPython 3.14 and newer has them, and describes their places in a table at the start of `_PyRuntime`
(`_Py_DebugOffsets`). The target is not stopped, and executes nothing for it. `sys.remote_exec` does
the same.
"""

import os
import struct
from dataclasses import dataclass

COOKIE = b"xdebugpy"
VERSION_AT, INTERPRETERS_HEAD_AT, THREADS_MAIN_AT = 8, 40, 80
# Where the table's last part begins, by minor version (pycore_debug_offsets.h of 3.14.10, 3.15.2).
SUPPORT_AT = {0x030E: 712, 0x030F: 840}
SUPPORT = struct.Struct("<6Q")
POINTER = struct.Struct("<Q")
FLAG = struct.Struct("<i")
PLEASE_STOP = 1 << 5  # _PY_EVAL_PLEASE_STOP_BIT of pycore_ceval.h
LARGEST_OFFSET = 1 << 24


class NoDebuggerFields(Exception):
    """The fields are missing, in an unknown place, disabled or in use."""


@dataclass(frozen=True)
class DebuggerFields:
    """Addresses in the target of its main thread's fields; `memory` is an open /proc/PID/mem."""

    memory: int
    pending: int
    script: int
    script_bytes: int
    eval_breaker: int

    def is_pending(self) -> bool:
        """Return whether the target has not begun with the script yet.

        Raises OSError if it has exited.
        """
        flag = read_memory(self.memory, self.pending, FLAG.size)
        return bool(FLAG.unpack(flag)[0])

    def request_script(self, path: str) -> None:
        """Request the script at `path`.

        Raises NoDebuggerFields if the path is too long or another script waits, OSError.
        """
        text = os.fsencode(path) + b"\0"
        if len(text) > self.script_bytes:
            raise NoDebuggerFields("the path of the script is too long")
        if self.is_pending():
            raise NoDebuggerFields("another debugger's script is waiting")
        write_memory(self.memory, self.script, text)
        write_memory(self.memory, self.pending, FLAG.pack(1))
        # Only the byte with the flag: other parts of the word change when code is instrumented.
        breaker = read_memory(self.memory, self.eval_breaker, 1)[0]
        write_memory(self.memory, self.eval_breaker, bytes([breaker | PLEASE_STOP]))

    def cancel_request(self) -> None:
        """Cancel the request. Raises OSError if the target has exited."""
        if self.is_pending():
            write_memory(self.memory, self.pending, FLAG.pack(0))


def find_debugger_fields(memory: int, runtime: int, version: int) -> DebuggerFields:
    """Return the fields of the main thread of the main interpreter.

    runtime: address of `_PyRuntime`. version: PY_VERSION_HEX. Raises NoDebuggerFields, OSError.
    """
    support_at = SUPPORT_AT.get(version >> 16)
    if support_at is None:
        raise NoDebuggerFields(f"the table of CPython {version:#x} is not known")
    table = read_memory(memory, runtime, support_at + SUPPORT.size)
    if table[: len(COOKIE)] != COOKIE or pointer(table, VERSION_AT) >> 16 != version >> 16:
        raise NoDebuggerFields("the table is not where it should be")
    offsets = SUPPORT.unpack_from(table, support_at)
    head, main = pointer(table, INTERPRETERS_HEAD_AT), pointer(table, THREADS_MAIN_AT)
    if max(head, main, *offsets) > LARGEST_OFFSET:
        raise NoDebuggerFields("the table is damaged")
    breaker, support, enabled, pending, script, script_bytes = offsets
    interpreter = pointer(read_memory(memory, runtime + head, POINTER.size), 0)
    thread = pointer(read_memory(memory, interpreter + main, POINTER.size), 0)
    if not interpreter or not thread:
        raise NoDebuggerFields("Python is starting up or shutting down there")
    if not FLAG.unpack(read_memory(memory, interpreter + enabled, FLAG.size))[0]:
        raise NoDebuggerFields("remote debugging is switched off there")
    base = thread + support
    return DebuggerFields(memory, base + pending, base + script, script_bytes, thread + breaker)


def pointer(table: bytes, offset: int) -> int:
    """Return the 64-bit word at byte `offset` of the table."""
    return int(POINTER.unpack_from(table, offset)[0])


def read_memory(memory: int, address: int, size: int) -> bytes:
    """Read `size` bytes of the target. Raises OSError, also if there are fewer."""
    found = os.pread(memory, size, address)
    if len(found) != size:
        raise OSError("the target's memory ends there")
    return found


def write_memory(memory: int, address: int, content: bytes) -> None:
    """Write to the target. Raises OSError, also if not all could be written."""
    if os.pwrite(memory, content, address) != len(content):
        raise OSError("the target's memory ends there")
