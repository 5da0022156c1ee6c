"""The probe's life inside the target: connect, install, report, hold the lease, leave with every
patch undone.

Everything runs on one raw thread of ours; the patched functions only read clocks and append a tuple
to a list, which may be done inside any bytecode, garbage collection or signal handler.
"""

import itertools
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
from _queue import SimpleQueue
from _thread import get_ident, start_new_thread
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.compilation import Compilation
    from perfscope.agent.probe.connection import Line
    from perfscope.agent.probe.guard import Guard
    from perfscope.agent.probe.patches import Patches
    from perfscope.agent.probe.presence import OwnFile

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

# Our thread looks at the stacks this often, in a loader worker more seldom, and in neither more
# often than MOST_SHARE of the time allows: meanwhile it holds the interpreter, and each time it
# takes and returns it costs the loop two thread switches.
TICK_S = 0.1
WORKER_TICK_S = 0.25
LONGEST_TICK_S = 0.5
# The workers of a short epoch are gone within a fraction of a second, and what they have not sent
# goes with them.
YOUNG_S = 2.0
YOUNG_TICK_S = 0.05
MOST_SHARE = 0.002
SWITCHES_NS = 100_000
SEND_S = 0.5
MOST_UNSENT = 2_000
CLOCK_S = 10.0
SMOOTHING = 8
FIRST_WAKINGS = 3
"""Say nothing of the later ones: code that is new to us is looked up."""
FAREWELL_S = 1.0
FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGSYS,
    signal.SIGABRT,
}
WORKER_STARTS_S = 30.0
WORKER_LOOK_S = 0.001
RECORD = struct.Struct("=12q")
MADV_WIPEONFORK = 18


class OwnPid:
    """Stands in for the page of `marker` on kernels before 4.14: asks for the pid each time."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __getitem__(self, at: int) -> int:
        return os.getpid() == self.pid

    def __setitem__(self, at: int, value: int) -> None:
        self.pid = -1


def marker() -> Any:
    """A byte that is 1 here and 0 in every child forked from here: a page that the kernel wipes on
    fork. Costs no system call.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(MADV_WIPEONFORK)
    except (OSError, ValueError):
        return OwnPid()
    page[0] = 1
    return page


class Probe:
    """Shared by all parts: the records, the names, the patches and the way back."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.kinds: dict[str, int] = config["kinds"]
        self.pid = os.getpid()
        # its first byte is what the patched functions ask: 0 in a forked child, and once we leave,
        # so that a wrapper that outlives us (somebody patched over it) only passes its call on
        self.live = marker()
        # a list: append and del of a slice are single steps of the interpreter, and cheaper than
        # any queue
        self.records: list[tuple[int, ...]] = []
        # the main thread's kernel id without a system call; other threads come and go, and their
        # idents come back
        main = getattr(sys.modules.get("threading"), "_main_thread", None)
        self.tids: dict[int, int] = {main.ident: self.pid} if main is not None else {}
        self.notes: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.codes: dict[Any, int] = {}
        self.guard: Guard = SHELF["guard"].Guard(self.notes.put)
        self.patches: Patches = SHELF["patches"].Patches()
        guarded = SHELF["guard"].Guarded
        self.undo: list[Callable[[], None]] = guarded(self.guard, "undo")
        # what must be over before the patches go
        self.endings: list[Callable[[], None]] = guarded(self.guard, "ending")
        self.ticks: list[Callable[[int], None]] = guarded(self.guard, "tick")
        self.forward_began: list[Callable[[], None]] = guarded(self.guard, "forward hook")
        self.optimizer_ended: list[Callable[[], None]] = guarded(self.guard, "optimizer hook")
        self.outlived: Callable[..., None] = self.guard.one(
            "wrapper that outlived its visit", self.look_again
        )
        self.last_word: Callable[[], None] = SHELF[
            "guard"
        ].nothing  # called at the end of the program
        self.compilation: Compilation = SHELF["compilation"].Compilation(self)
        self.connection: socket.socket | None = None
        self.own_socket: OwnFile | None = None
        self.line: Line | None = None
        self.leaving = self.forgotten = False
        self.parts: list[ModuleType] = []
        self.passes = itertools.count()

    def code(self, key: Any, kind: str, name: str, **extra: Any) -> int:
        """The code of a thing with a name; told to the agent once."""
        known = self.codes.get(key)
        if known is None:
            known = self.codes[key] = len(self.codes)
            self.notes.put({"code": known, "kind": kind, "name": name, **extra})
        return known

    def around(self, original: Any, begin: Any, end: Any) -> Any:
        """Return `original` with `begin` before and `end` behind it (`patches.around` says how)."""
        return SHELF["patches"].around(self, original, begin, end)

    def leave(self) -> list[str]:
        """From now on record nothing, take everything back; names of the patches that could not be
        taken back yet.
        """
        self.leaving = True
        for ended in self.endings:
            ended()
        self.live[0] = 0
        self.compilation.stop_listening()
        self.patches.take_back_all()
        while self.undo:
            self.undo.pop()()
        return [str(patch) for patch in self.patches.stuck]

    def look_again(self, *_: Any) -> None:
        """A patched function was called though we are gone: a child was forked unseen, or somebody
        had patched over it.
        """
        self.forked()
        self.patches.try_again()

    def forked(self) -> None:
        """In a forked child: take out what came along. The parent's connection and files are not
        ours any more.

        A loader worker gets a visit of its own: those of a short epoch are gone before they could
        be entered from outside.
        """
        if self.pid == os.getpid() or self.forgotten:
            return
        self.forgotten = True
        self.leave()
        if self.connection is not None and self.own_socket is not None:
            # not closed by the end of the socket object: by then the number may be the program's
            self.own_socket.number = self.connection.detach()
            self.own_socket.close()
        if becomes_a_worker():
            start_new_thread(run_in_worker, (self.config, self.parts))


def becomes_a_worker() -> bool:
    """Whether this child was forked by torch's data loader, or already works for one."""
    loader = getattr(
        sys.modules.get("torch.utils.data.dataloader"), "_MultiProcessingDataLoaderIter", None
    )
    starts = getattr(vars(loader or object).get("__init__"), "__code__", None)
    frame = sys._getframe()
    while frame is not None and starts is not None:
        if frame.f_code is starts:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return SHELF["presence"].in_worker()  # type: ignore[no-any-return]


def run_in_worker(config: dict[str, Any], parts: list[ModuleType]) -> None:
    """A visit of a worker that was forked a moment ago, as soon as torch has told it which one it
    is.
    """
    until = time.monotonic() + WORKER_STARTS_S
    while not SHELF["presence"].in_worker() and time.monotonic() < until:
        time.sleep(WORKER_LOOK_S)
    if SHELF["presence"].in_worker():
        run(config, parts)


def drain(probe: Probe, line: "Line") -> int:
    """Send what the patched functions have put on the queues."""
    count = len(probe.records)
    rows = probe.records[:count]
    del probe.records[:count]
    notes = [probe.notes.get_nowait() for _ in range(probe.notes.qsize())]
    if notes:
        line.add_notes(notes)
    if rows:
        line.add(b"R", b"".join(itertools.starmap(RECORD.pack, rows)), len(rows))
    return len(rows)


def cost_ns(config: dict[str, Any], parts: list[ModuleType]) -> float:
    """What one record costs the thread that makes it: the parts' own wrappers around nothing, the
    least of ten short trials.
    """
    apart = Probe(config)  # its records are nobody's, and it patches nothing

    def least(call: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
        def trial() -> int:
            began = time.monotonic_ns()
            for _ in range(20):
                call(*arguments)
            return time.monotonic_ns() - began

        return min(trial() for _ in range(10))

    tried = [one for part in parts if hasattr(part, "trials") for one in part.trials(apart)]
    costs = [
        (least(timed, arguments) - least(original, arguments)) / 20
        for timed, original, arguments in tried
    ]
    apart.leave()  # the files that a worker's wrappers read
    return sum(costs) / max(len(costs), 1)


def hello(probe: Probe) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    said: dict[str, Any] = {
        "hello": 1,
        "token": probe.config["token"],
        "pid": probe.pid,
        "python": sys.version.split()[0],
        "worker": getattr(SHELF["presence"].worker_info(), "id", None),
        "cost_ns": cost_ns(probe.config, probe.parts),
        "mono": time.monotonic_ns(),
        "real": time.time_ns(),
    }
    if torch is not None and hasattr(torch, "get_num_threads"):
        said["torch"] = {
            "version": str(torch.__version__),
            "intra_op_threads": torch.get_num_threads(),
            "inter_op_threads": torch.get_num_interop_threads(),
            "cuda": bool(torch.cuda.is_initialized()),
        }
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        said["rank"] = distributed.get_rank()
        said["world_size"] = distributed.get_world_size()
    return said


class Pace:
    """When to wake next: what the last wakings cost, wall time and thread switches, is kept to
    MOST_SHARE of the time.
    """

    def __init__(self, normal_s: float) -> None:
        self.normal_ns = int(normal_s * 1e9)
        self.wakings = self.busy_ns = 0
        self.mean_ns = 0.0

    def spent(self, took_ns: int) -> int:
        """ns to sleep after a waking that took so long."""
        took_ns += SWITCHES_NS
        self.busy_ns += took_ns
        self.wakings += 1
        if self.wakings > FIRST_WAKINGS:
            self.mean_ns += (took_ns - self.mean_ns) / SMOOTHING if self.mean_ns else took_ns
        return min(max(self.normal_ns, int(self.mean_ns / MOST_SHARE)), int(LONGEST_TICK_S * 1e9))


def after_counting(due_ns: int, began_ns: int) -> int:
    """Return when to wake: later where `due_ns` is in a block in which steps are only counted."""
    begin, end = SHELF["counting_blocks"].next_block(due_ns, began_ns)
    return int(end if due_ns >= begin else due_ns)


def stay(probe: Probe, line: "Line") -> None:
    """Until told to leave or left alone: sample, drain, push."""
    poller = select.poll()
    poller.register(line.connection, select.POLLIN)
    pace = Pace(WORKER_TICK_S if SHELF["presence"].in_worker() else TICK_S)
    count, began_ns = 0, time.monotonic_ns()
    grown_ns = began_ns + int(YOUNG_S * 1e9) if SHELF["presence"].in_worker() else 0
    due_ns = send_ns = clock_ns = began_ns
    while line.alive():
        poller.modify(line.connection, select.POLLIN | (select.POLLOUT if line.pending else 0))
        for _, ready in (waked := poller.poll(max(due_ns - time.monotonic_ns(), 0) / 1e6)):
            line.push()  # what did not fit: with many records the line would never be empty
            if ready != select.POLLOUT:
                line.listen()
        if waked:
            continue
        now_ns = time.monotonic_ns()
        for each in probe.ticks:
            each(now_ns)
        probe.patches.try_again()
        if now_ns >= clock_ns:
            clock_ns = now_ns + int(CLOCK_S * 1e9)
            line.add_notes([{"mono": time.monotonic_ns(), "real": time.time_ns()}])
        if now_ns >= send_ns or now_ns < grown_ns or len(probe.records) >= MOST_UNSENT:
            send_ns = now_ns + int(SEND_S * 1e9)
            count += drain(probe, line)
        line.push()
        ended_ns = time.monotonic_ns()
        due_ns = after_counting(ended_ns + pace.spent(ended_ns - now_ns), began_ns)
        if ended_ns < grown_ns:
            due_ns = min(due_ns, ended_ns + int(YOUNG_TICK_S * 1e9))
    span_ns = time.monotonic_ns() - began_ns
    line.add_notes([{"cost": count, "busy_ns": pace.busy_ns, "span_ns": span_ns}])


def farewell(probe: Probe, line: "Line", stuck: list[str]) -> None:
    """What came in since, and that we are gone; given up after a moment: the target matters
    more.
    """
    time.sleep(0.02)
    drain(probe, line)
    line.push()
    bye = {
        "bye": 1,
        "dropped": line.dropped,
        "stuck": stuck,
        "mono": time.monotonic_ns(),
        "real": time.time_ns(),
    }
    line.send_notes([bye])
    until = time.monotonic() + FAREWELL_S
    while line.open and line.pending and time.monotonic() < until:
        time.sleep(0.01)
        line.push()


def run(config: dict[str, Any], parts: list[ModuleType]) -> None:
    """The whole visit; called on a raw thread of the target."""
    # signals are for the target's own threads; a fault of ours is still answered as the program has
    # asked for
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    probe = Probe(config)
    probe.guard.own_thread = get_ident()
    probe.parts = parts
    try:
        connection = SHELF["connection"].connect(config)
    except OSError:
        return
    probe.connection, probe.own_socket = connection, SHELF["presence"].OwnFile(connection.fileno())
    probe.line = line = SHELF["connection"].Line(connection)
    visits = SHELF["presence"].visits_here()
    probe.guard.one("visit", visit)(probe, line)
    stuck = probe.leave()
    if probe in visits:
        visits.remove(probe)
    probe.guard.one("farewell", farewell)(probe, line, stuck)
    connection.close()
    probe.codes.clear()
    probe.ticks.clear()


def visit(probe: Probe, line: "Line") -> None:
    """Say who we are, put the parts in, stay."""
    line.send_notes([hello(probe)])
    refused = SHELF["presence"].other_visit(probe)
    if refused:
        line.send_notes([{"refused": refused}])
        return
    SHELF["presence"].visits_here().append(probe)
    probe.compilation.tick(0)
    probe.ticks.append(probe.compilation.tick)
    for part in probe.parts:
        probe.guard.one(f"install of {part.__name__}", part.install)(probe)
    line.send_notes([{"installed": 1, "cpu_ns": time.thread_time_ns()}])
    stay(probe, line)
