"""What a tracer and the process that watches it share: so that a tracer that was killed or frozen
does no harm.

The tracer writes, the watcher reads; the next tracer of the same entry continues with the memory
that the first one mapped.
"""

import mmap
import secrets
import struct

WORD = struct.Struct("<Q")
VISIT_AT, BASE_AT, TOKEN_AT, SCRIPT_AT, REPORT_AT = 0, 8, 16, 32, 40
TOKEN_BYTES = 16
REPORT_LENGTH = struct.Struct("<I")
BYTES = 16384


class EntryProgress:
    """One entry's shared memory; processes that are forked afterwards share it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, BYTES)
        self.memory[TOKEN_AT : TOKEN_AT + TOKEN_BYTES] = secrets.token_bytes(TOKEN_BYTES)

    @property
    def token(self) -> bytes:
        """What marks the memory of this entry in the target."""
        return self.memory[TOKEN_AT : TOKEN_AT + TOKEN_BYTES]

    @property
    def visit(self) -> int:
        """When the stop under way began (CLOCK_MONOTONIC, ns); 0 between stops."""
        return self.word(VISIT_AT)

    @visit.setter
    def visit(self, began_ns: int) -> None:
        WORD.pack_into(self.memory, VISIT_AT, began_ns)

    @property
    def base(self) -> int:
        """Where the memory of this entry lies in the target, once it has been written; 0 before."""
        return self.word(BASE_AT)

    @base.setter
    def base(self, address: int) -> None:
        WORD.pack_into(self.memory, BASE_AT, address)

    @property
    def script_requested(self) -> bool:
        """Whether the target may still run a script that a tracer has asked for: no other one may
        continue the entry.
        """
        return bool(self.word(SCRIPT_AT))

    @script_requested.setter
    def script_requested(self, requested: bool) -> None:
        WORD.pack_into(self.memory, SCRIPT_AT, requested)

    @property
    def report(self) -> bytes:
        """The outcome, empty until there is one."""
        length = REPORT_LENGTH.unpack_from(self.memory, REPORT_AT)[0]
        return self.memory[REPORT_AT + REPORT_LENGTH.size :][:length]

    @report.setter
    def report(self, content: bytes) -> None:
        room = BYTES - REPORT_AT - REPORT_LENGTH.size
        content = content[:room]
        start = REPORT_AT + REPORT_LENGTH.size
        self.memory[start : start + len(content)] = content
        REPORT_LENGTH.pack_into(self.memory, REPORT_AT, len(content))

    def word(self, at: int) -> int:
        """Return the 64-bit word at byte `at`."""
        return int(WORD.unpack_from(self.memory, at)[0])
