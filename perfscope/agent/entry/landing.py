"""What is laid into the target: a page of machine code, and behind it a page of data with the text to run.

The code is `landing.s` beside this file, assembled (a test assembles it again). Its two doors:

pending      the pending call: on the main thread, at a bytecode boundary, with the GIL. Starts a native thread, nothing else:
             no Python runs on the main thread, so nothing of ours can meet a signal handler, a recursion limit or a tracer there.
thread_main  the thread: takes the GIL, runs the text in a dict of its own, drops what it raised,
             and gives the memory back. When a pending call is still queued (the idle way was used meanwhile), that call frees it.

`claimed` makes it happen once: it is touched only on the main thread, or by the tracer while the main thread is stopped.
"""

import mmap
import secrets
import signal
import struct
from dataclasses import dataclass

CODE = bytes.fromhex(
    "c7471400000000837f1800754c837f10007543c7471001000000534889fb31ff"
    "488db3a8000000488d9328010000ff5360488d7b2831f6488b53404889d9ff53"
    "4889431cbf02000000488db32801000031d2ff53605b31c0c3488b7738488b47"
    "68488b7f30ffe0660f1f84000000000053415441554889fbff53504889c7ff53"
    "58ff537085c00f848c000000ff53784189c4c7432001000000ff938800000049"
    "89c54885c07439488dbb00020000be010100004c89ea4c89e9ff939000000048"
    "85c0740b4889c7ff93a0000000eb06ff93980000004c89efff93a0000000eb06"
    "ff93980000004489e7837b14007514ff9380000000488b7b30488b7338488b43"
    "68eb0ec7431801000000488b8380000000415d415c5bffe0415d415c5b31c0c3"
)
PENDING_DOOR = 0
THREAD_DOOR = 0x70
PAGE_BYTES = mmap.PAGESIZE

C_FUNCTIONS = ("pthread_create", "pthread_self", "pthread_detach", "pthread_sigmask", "munmap")
PYTHON_FUNCTIONS = (
    "Py_IsInitialized",
    "PyGILState_Ensure",
    "PyGILState_Release",
    "PyDict_New",
    "PyRun_String",
    "PyErr_Clear",
    "Py_DecRef",
)
TOKEN = struct.Struct("16s")
STATE = struct.Struct("16sIIIII")  # token, claimed, pending, leaving, failed, began
CLAIMED_AT, PENDING_AT, LEAVING_AT = 16, 20, 24
THREAD_AT = 40
TABLE = struct.Struct("<3Q12Q128s")  # base, length, thread_main, the functions, the signal mask
TABLE_AT = 48
TEXT_AT = 512
# A blocked fault would end the process past faulthandler; everything else is for the threads that the user started.
FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS)
THREAD_MASK = ((1 << 64) - 1) & ~sum(1 << (number - 1) for number in FAULTS)


@dataclass(frozen=True)
class State:
    """What the data page says: `claimed` the thread was started, `pending` the pending call is queued and has not run."""

    claimed: bool
    pending: bool
    failed: int
    began: bool


@dataclass
class Landing:
    """The memory laid into one target: `base` is the code page, `base` + a page the data."""

    text: bytes
    base: int = 0
    token: bytes = b""

    def __post_init__(self) -> None:
        self.token = secrets.token_bytes(16)

    @property
    def length(self) -> int:
        needed = PAGE_BYTES + TEXT_AT + len(self.text) + 1
        return (needed + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES

    @property
    def data(self) -> int:
        return self.base + PAGE_BYTES

    @property
    def pending_door(self) -> int:
        return self.base + PENDING_DOOR

    @property
    def thread_door(self) -> int:
        return self.base + THREAD_DOOR

    def data_image(self, functions: dict[str, int]) -> bytes:
        """The data page's content. `functions` has the address of each of C_FUNCTIONS and PYTHON_FUNCTIONS."""
        table = [functions[name] for name in C_FUNCTIONS + PYTHON_FUNCTIONS]
        mask = struct.pack("<Q", THREAD_MASK) + b"\xff" * 120
        image = bytearray(TEXT_AT)
        STATE.pack_into(image, 0, self.token, 0, 0, 0, 0, 0)
        TABLE.pack_into(image, TABLE_AT, self.base, self.length, self.thread_door, *table, mask)
        return bytes(image) + self.text + b"\0"

    def state(self, image: bytes) -> State | None:
        """What STATE.size bytes read at `data` say; None when the memory is no longer ours: the text has run, all is freed."""
        if len(image) < STATE.size:
            return None
        token, claimed, pending, _leaving, failed, began = STATE.unpack_from(image)
        if token != self.token:
            return None
        return State(bool(claimed), bool(pending), failed, bool(began))
