"""What is laid into the target: a page of machine code, and behind it a page of data with the text to run.

The code is `injected_page.s` beside this file, assembled (a test assembles it again). Its three doors:

arrive       called on the stopped thread: makes the data pages writable, keeps errno, queues the pending call when asked to.
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
    "5341544155415641574889fb4189f5ff93a80000004989c4448b304889df488b"
    "73384881ee00100000ba03000000ff93b000000041bf0100000085c075554c89"
    "a3c00000004489b3c8000000ff537041bf0200000085c0743a4183fd017531c7"
    "431401000000488b7b304881c7a40000004889deff93b80000004531ff85c074"
    "12c743140000000041bf03000000eb034531ff458934244489f8415f415e415d"
    "415c5bc3c7471400000000837f1800754c837f10007543c74710010000005348"
    "89fb31ff488db3d0000000488d9350010000ff5360488d7b2831f6488b534048"
    "89d9ff534889431cbf02000000488db35001000031d2ff53605b31c0c3488b77"
    "38488b4768488b7f30ffe00f1f44000053415441554889fbff53504889c7ff53"
    "58ff537085c00f848c000000ff53784189c4c7432001000000ff938800000049"
    "89c54885c07439488dbb00020000be010100004c89ea4c89e9ff939000000048"
    "85c0740b4889c7ff93a0000000eb06ff93980000004c89efff93a0000000eb06"
    "ff93980000004489e7837b14007514ff9380000000488b7b30488b7338488b43"
    "68eb0ec7431801000000488b8380000000415d415c5bffe0415d415c5b31c0c3"
)
ARRIVE_DOOR = 0
READY, NO_MEMORY, NO_PYTHON, QUEUE_FULL = range(4)  # what arrive answers
PENDING_DOOR = 0xA4
THREAD_DOOR = 0x110
PAGE_BYTES = mmap.PAGESIZE

C_FUNCTIONS = ("pthread_create", "pthread_self", "pthread_detach", "pthread_sigmask", "munmap")
PYTHON_FUNCTIONS = (
    *("Py_IsInitialized", "PyGILState_Ensure", "PyGILState_Release", "PyDict_New", "PyRun_String", "PyErr_Clear"),
    "Py_DecRef",
)
TABLE_NAMES = (*C_FUNCTIONS, *PYTHON_FUNCTIONS, "__errno_location", "mprotect", "Py_AddPendingCall")
TOKEN = struct.Struct("16s")
STATE = struct.Struct("16sIIIII")  # token, claimed, pending, leaving, failed, began
CLAIMED_AT, PENDING_AT, LEAVING_AT = 16, 20, 24
THREAD_AT = 40
ERRNO = struct.Struct("<QI")  # where the thread's errno lies, and what it was
ERRNO_AT = 192
TABLE = struct.Struct("<3Q15Q16x128s")  # base, length, thread_main, the functions, two of errno, the signal mask
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
    def arrive_door(self) -> int:
        return self.base + ARRIVE_DOOR

    @property
    def thread_door(self) -> int:
        return self.base + THREAD_DOOR

    def data_image(self, functions: dict[str, int]) -> bytes:
        """The data page's content. `functions` has the address of each of TABLE_NAMES."""
        table = [functions[name] for name in TABLE_NAMES]
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
