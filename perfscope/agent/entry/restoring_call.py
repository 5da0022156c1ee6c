"""Code that calls a function on a stopped thread and then restores the thread (assembled from
`restoring_call.s`).

A tracer can be killed at any moment, and the thread then runs on. So the code saves the registers,
the vector state and errno before the call, and restores them and the signal mask after it. If the
tracer is alive, it stops the thread in between, at RETURNED, and restores everything exactly.

What depends on the call is written to the head of the code before the registers are set, and the
code reads it before it calls the function.
"""

import struct
from dataclasses import dataclass

CODE = bytes.fromhex(
    "ff35b2ffffffff35b4ffffff5051525657415041514152415353554154415541"
    "564157ff35a7ffffffff3599ffffff4889e5482b259fffffff4883e4c0488dbc"
    "240002000031c0b908000000f348ab83c8ff89c2480fae2424ff1581ffffff49"
    "89c4448b28488b3d2cffffff488b352dffffff488b152effffff488b0d2fffff"
    "ff49c7c0ffffffff4531c9ff15fffeffff48c74424f8000000004889c345892c"
    "248b3d41ffffff89fe8b153dffffffb8ea0000000f0583c8ff89c2480fae2c24"
    "4889ec6a004889e7be08000000b87f0000000f05584885442408741548c78424"
    "80000000fcffffff488384249000000002bf020000004889e631d241ba080000"
    "00b80e0000000f054883c410415f415e415d415c5d5b415b415a415941585f5e"
    "5a59589dc28000"
)
HEAD = struct.Struct("<11Q2I")
TIME_LIMIT, ENTRY, RETURNED = 0x60, 0x70, 0x126
SIZE = ENTRY + len(CODE)
RED_ZONE_BYTES = 128
SAVED_BYTES = 19 * 8
VECTOR_ALIGNMENT = 64
ARGUMENTS = 4


@dataclass(frozen=True)
class RestoringCall:
    """One call; afterwards the thread gets back `return_to`, `flags` and `signal_mask`.

    waking: mask of the signals that end an interrupted wait. signal: sent to the process `pid` (as
    it sees itself) when the function has returned.
    """

    function: int
    arguments: tuple[int, ...]
    return_to: int
    flags: int
    signal_mask: int
    waking: int
    xstate_bytes: int
    errno_location: int
    pid: int
    signal: int

    def head(self) -> bytes:
        """Return the words before the code."""
        unused = [0] * (ARGUMENTS - len(self.arguments))
        call = (self.function, *self.arguments, *unused)
        state = (self.return_to, self.flags, self.signal_mask, self.waking, self.xstate_bytes)
        return HEAD.pack(*call, *state, self.errno_location, self.pid, self.signal)


def stack_at_entry(stack: int) -> int:
    """Return the stack pointer to begin with, for a thread with stack pointer `stack`."""
    return stack - RED_ZONE_BYTES


def return_slot(stack: int, xstate_bytes: int) -> int:
    """Return where the function's return address is, for a thread with stack pointer `stack`."""
    vectors = stack - RED_ZONE_BYTES - SAVED_BYTES - xstate_bytes
    return vectors // VECTOR_ALIGNMENT * VECTOR_ALIGNMENT - 8
