"""Memory that a tracer shares with its watcher, so that a killed or frozen tracer does no harm.

The tracer writes, the watcher reads. The next tracer of the same entry continues with the memory
that the first one mapped in the target.
"""

import mmap
import secrets
import struct

WORD = struct.Struct("<Q")
STOP_AT, BASE_AT, TOKEN_AT, SCRIPT_AT, REPORT_AT = 0, 8, 16, 32, 40
TOKEN_BYTES = 16
REPORT_LENGTH = struct.Struct("<I")
BYTES = 16384


class EntryProgress:
    """The shared memory of one entry; processes that are forked later share it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, BYTES)
        self.memory[TOKEN_AT : TOKEN_AT + TOKEN_BYTES] = secrets.token_bytes(TOKEN_BYTES)

    @property
    def token(self) -> bytes:
        """The bytes that mark the memory of this entry in the target."""
        return self.memory[TOKEN_AT : TOKEN_AT + TOKEN_BYTES]

    @property
    def stop_began_ns(self) -> int:
        """When the current stop began (CLOCK_MONOTONIC), 0 between stops."""
        return self.word(STOP_AT)

    @stop_began_ns.setter
    def stop_began_ns(self, began_ns: int) -> None:
        WORD.pack_into(self.memory, STOP_AT, began_ns)

    @property
    def base(self) -> int:
        """The address of this entry's memory in the target, 0 until it has been written."""
        return self.word(BASE_AT)

    @base.setter
    def base(self, address: int) -> None:
        WORD.pack_into(self.memory, BASE_AT, address)

    @property
    def script_requested(self) -> bool:
        """Whether the target may still run a requested script; then no tracer may continue."""
        return bool(self.word(SCRIPT_AT))

    @script_requested.setter
    def script_requested(self, requested: bool) -> None:
        WORD.pack_into(self.memory, SCRIPT_AT, requested)

    @property
    def report(self) -> bytes:
        """The outcome, empty while the entry is under way."""
        length = REPORT_LENGTH.unpack_from(self.memory, REPORT_AT)[0]
        return self.memory[REPORT_AT + REPORT_LENGTH.size :][:length]

    @report.setter
    def report(self, content: bytes) -> None:
        room = BYTES - REPORT_AT - REPORT_LENGTH.size
        content = content[:room]
        start = REPORT_AT + REPORT_LENGTH.size
        self.memory[start : start + len(content)] = content
        REPORT_LENGTH.pack_into(self.memory, REPORT_AT, len(content))

    def word(self, offset: int) -> int:
        """Return the 64-bit word at byte `offset`."""
        return int(WORD.unpack_from(self.memory, offset)[0])
