"""What is mapped into the target: a page of machine code, then pages of data with the text to run.

The code is `injected_page.s`, assembled (a test assembles it again). Its four entry points:

arrive: called on the stopped thread. Makes the data pages writable, and queues the pending call if
    asked to.
start: called on the stopped thread while that only waits. Starts the native thread directly.
pending: the pending call, on the main thread, at a bytecode boundary, with the GIL. It only starts
    a native thread. No Python code runs on the main thread, so none of ours can meet a signal
    handler, a recursion limit or a tracer there.
thread_main: the native thread. Takes the GIL, runs the text with globals of its own, drops what it
    raised, and unmaps everything. If a pending call is still queued, because the direct call was
    used meanwhile, that call unmaps it.

The flag `claimed` makes the text run once. It is set on the main thread only; the tracer resets it
only while that is stopped.
"""

import mmap
import secrets
import signal
import struct
from dataclasses import dataclass, field

CODE = bytes.fromhex(
    "53415541574889fb4189f5488b73384881ee00100000ba03000000ff93a80000"
    "0041bf0100000085c07542ff537041bf0200000085c074354531ff4183fd0175"
    "2cc7431401000000488b7b304881c7900000004889deff93b000000085c0740d"
    "c743140000000041bf030000004489f8415f415d5bc3c74710010000004889f9"
    "488b5740488b474831f6488d7928ffe0c7471400000000837f1800754c837f10"
    "007543c7471001000000534889fb31ff488db3b8000000488d9338010000ff53"
    "60488d7b2831f6488b53404889d9ff534889431cbf02000000488db338010000"
    "31d2ff53605b31c0c3488b7738488b4768488b7f30ffe0660f1f840000000000"
    "53415441554889fbbf02000000488db3b800000031d2ff5360ff53504889c7ff"
    "5358ff537085c00f848c000000ff53784189c4c7432001000000ff9388000000"
    "4989c54885c07439488dbb00020000be010100004c89ea4c89e9ff9390000000"
    "4885c0740b4889c7ff93a0000000eb06ff93980000004c89efff93a0000000eb"
    "06ff93980000004489e7837b14007514ff9380000000488b7b30488b7338488b"
    "4368eb0ec7431801000000488b8380000000415d415c5bffe0415d415c5b31c0"
    "c3"
)
ARRIVE_AT = 0
READY, NO_MEMORY, NO_PYTHON, QUEUE_FULL = range(4)  # what `arrive` returns
START_AT = 0x76
PENDING_CALL_AT = 0x90
THREAD_AT = 0x100
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
TABLE_NAMES = (*C_FUNCTIONS, *PYTHON_FUNCTIONS, "mprotect", "Py_AddPendingCall")
TOKEN_BYTES = 16
STATE = struct.Struct("16sIIIII")  # token, claimed, pending, leaving, failed, began
CLAIMED_AT, PENDING_AT, LEAVING_AT = 16, 20, 24
TABLE = struct.Struct("<3Q14Q128s")  # base, length, thread_main, the functions, the signal mask
TABLE_AT = 48
TEXT_AT = 512
# These are not blocked: a blocked fault would end the process without calling faulthandler. All
# other signals are for the threads of the program.
FAULTS = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGSYS,
)
THREAD_MASK = ((1 << 64) - 1) & ~sum(1 << (number - 1) for number in FAULTS)


@dataclass(frozen=True)
class PageState:
    """The flags of the data page.

    claimed: the thread was started. pending: the pending call is queued and has not run. failed:
    the error number of starting the thread, 0 if none. began: the thread runs.
    """

    claimed: bool
    pending: bool
    failed: int
    began: bool


@dataclass
class InjectedPage:
    """The memory mapped into one target: the code page at `base`, then the data pages."""

    text: bytes
    base: int = 0
    token: bytes = field(default_factory=lambda: secrets.token_bytes(TOKEN_BYTES))

    @property
    def length(self) -> int:
        """The size of the whole mapping."""
        needed = PAGE_BYTES + TEXT_AT + len(self.text) + 1
        return (needed + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES

    @property
    def data(self) -> int:
        """The address of the data pages."""
        return self.base + PAGE_BYTES

    @property
    def arrive_address(self) -> int:
        """The address of `arrive`."""
        return self.base + ARRIVE_AT

    @property
    def start_address(self) -> int:
        """The address of `start`."""
        return self.base + START_AT

    @property
    def thread_address(self) -> int:
        """The address of `thread_main`."""
        return self.base + THREAD_AT

    def data_image(self, functions: dict[str, int]) -> bytes:
        """Return the content of the data pages, with the addresses of TABLE_NAMES."""
        table = [functions[name] for name in TABLE_NAMES]
        mask = struct.pack("<Q", THREAD_MASK) + b"\xff" * 120
        image = bytearray(TEXT_AT)
        STATE.pack_into(image, 0, self.token, 0, 0, 0, 0, 0)
        TABLE.pack_into(image, TABLE_AT, self.base, self.length, self.thread_address, *table, mask)
        return bytes(image) + self.text + b"\0"

    def state(self, image: bytes) -> PageState | None:
        """Return the state in the first STATE.size bytes at `data`.

        Returns None if that memory is not ours any more: the text has run, and it was unmapped.
        """
        if len(image) < STATE.size:
            return None
        token, claimed, pending, _leaving, failed, began = STATE.unpack_from(image)
        if token != self.token:
            return None
        return PageState(bool(claimed), bool(pending), failed, bool(began))
