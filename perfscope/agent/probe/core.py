"""The life of the probe in the target: connect, install, report, and leave with every patch undone.

The probe runs on one raw thread of its own. The patched functions only read clocks and append a
tuple to a list, which is safe inside any bytecode, garbage collection or signal handler.
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
    from perfscope.agent.probe.connection import AgentLine
    from perfscope.agent.probe.guard import Guard
    from perfscope.agent.probe.patches import Patches
    from perfscope.agent.probe.process_state import OwnFile

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

# The probe's thread wakes this often, less often in a loader worker. While awake it holds the GIL,
# and each time it takes and releases it costs the training loop two thread switches. So it is never
# awake for more than MOST_SHARE of the time.
TICK_S = 0.1
WORKER_TICK_S = 0.25
LONGEST_TICK_S = 0.5
# The workers of a short epoch exit within a fraction of a second, and take with them what they have
# not sent.
YOUNG_S = 2.0
YOUNG_TICK_S = 0.05
MOST_SHARE = 0.002
SWITCHES_NS = 100_000
SEND_S = 0.5
MOST_UNSENT = 2_000
CLOCK_S = 10.0
SMOOTHING = 8
# The first wakes look up code that is new to the probe, and say nothing about later ones.
FIRST_WAKES = 3
LAST_NOTES_S = 0.02
LAST_SEND_TIMEOUT_S = 1.0
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
# Texts that parts of the probe make from what runs, such as the place of a call.
MOST_TEXTS = 500
TORCH_IMPORT_S, TORCH_CHECK_S = 60.0, 0.05
WORKER_CHECK_S = 0.001
COST_TRIALS, CALLS_PER_TRIAL = 10, 20
RECORD = struct.Struct("=12q")
MADV_WIPEONFORK = 18


class PidFlag:
    """A flag like that of `fork_flag` for kernels before 4.14: it reads the pid each time."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __getitem__(self, at: int) -> int:
        return os.getpid() == self.pid

    def __setitem__(self, at: int, value: int) -> None:
        self.pid = -1


def fork_flag() -> Any:
    """Return a page whose first byte is 1 in this process and 0 in every child forked from it.

    The kernel wipes the page on fork, so reading it costs no system call.
    """
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(MADV_WIPEONFORK)
    except (OSError, ValueError):
        return PidFlag()
    page[0] = 1
    return page


class InstalledProbe:
    """What all parts share: records, names, notes, patches, and what to undo on leaving."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.kinds: dict[str, int] = config["kinds"]
        self.pid = os.getpid()
        # Patched functions read the first byte. It is 0 in a forked child and once the probe has
        # left, so that a wrapper which could not be removed only forwards its calls.
        self.live = fork_flag()
        # A list: append, and del of a slice, are single steps of the interpreter and cheaper than
        # any queue.
        self.records: list[tuple[int, ...]] = []
        # The kernel's id of the main thread, known without a system call. The idents of other
        # threads are used again when these end, so they are not kept.
        main = getattr(sys.modules.get("threading"), "_main_thread", None)
        self.tids: dict[int, int] = {main.ident: self.pid} if main is not None else {}
        self.notes: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.codes: dict[Any, int] = {}
        self.texts = 0
        # What several parts of the probe use together, by name.
        self.shared: dict[str, Any] = {}
        self.guard: Guard = MODULES["guard"].Guard(self.notes.put)
        self.patches: Patches = MODULES["patches"].Patches()
        guarded_list = MODULES["guard"].GuardedList
        self.undo: list[Callable[[], None]] = guarded_list(self.guard, "undo")
        # Called before the patches are removed.
        self.endings: list[Callable[[], None]] = guarded_list(self.guard, "ending")
        self.ticks: list[Callable[[int], None]] = guarded_list(self.guard, "tick")
        self.forward_began: list[Callable[[], None]] = guarded_list(self.guard, "forward hook")
        # Called with the id of the optimizer.
        self.optimizer_ended: list[Callable[[int], None]] = guarded_list(
            self.guard, "optimizer hook"
        )
        # Called with a batch of the loader, and with the arguments of a top-level module.
        self.loaded: list[Callable[[Any], None]] = guarded_list(self.guard, "batch")
        self.called: list[Callable[[Any], None]] = guarded_list(self.guard, "arguments")
        # Called by wrappers and hooks that are called although the probe has left.
        self.clean_up: Callable[..., None] = self.guard.guarded(
            "wrapper called after leaving", self.remove_leftovers
        )
        # Called when the program exits.
        self.leave_at_exit: Callable[[], None] = MODULES["guard"].do_nothing
        self.compilation: Compilation = MODULES["compilation"].Compilation(self)
        self.connection: socket.socket | None = None
        self.own_socket: OwnFile | None = None
        self.line: AgentLine | None = None
        self.leaving = self.removed_in_child = False
        self.parts: list[ModuleType] = []
        self.passes = itertools.count()

    def register_name(self, key: Any, kind: str, name: str, **details: Any) -> int:
        """Return the code of a named thing (a module, a loader, ...); the agent gets it once."""
        known = self.codes.get(key)
        if known is None:
            known = self.codes[key] = len(self.codes)
            note = {"note": "name", "code": known, "kind": kind, "name": name, "details": details}
            self.notes.put(note)
        return known

    def register_text(self, kind: str, text: str) -> int:
        """Return the code of a text; -1 for an empty one, and for new ones after MOST_TEXTS."""
        key = (kind, text)
        is_new = key not in self.codes
        if not text or (is_new and self.texts >= MOST_TEXTS):
            return -1
        self.texts += is_new
        return self.register_name(key, kind, text)

    def wrap(self, original: Any, begin: Any, end: Any) -> Any:
        """Return `original` with `begin` called before and `end` after it (see `patches.wrap`)."""
        return MODULES["patches"].wrap(self, original, begin, end)

    def leave(self) -> list[str]:
        """Stop recording and undo everything; return the patches that could not be removed yet."""
        self.leaving = True
        for ending in self.endings:
            ending()
        self.live[0] = 0
        self.compilation.stop_listening()
        self.patches.remove_all()
        while self.undo:
            self.undo.pop()()
        return [str(patch) for patch in self.patches.stuck]

    def remove_leftovers(self, *_: Any) -> None:
        """Remove what is left, after a patched function was called although the probe has left.

        Either a C library forked this child, or somebody had patched over the wrapper.
        """
        self.remove_in_forked_child()
        self.patches.retry_stuck()

    def remove_in_forked_child(self) -> None:
        """Remove the copy of the probe from a forked child; do nothing in other processes.

        The connection and the files belong to the parent. A loader worker gets a probe of its own:
        the workers of a short epoch exit before they could be entered from outside.
        """
        if self.pid == os.getpid() or self.removed_in_child:
            return
        self.removed_in_child = True
        self.leave()
        if self.connection is not None and self.own_socket is not None:
            # The socket object must not close its number later: it may be the program's by then.
            self.own_socket.number = self.connection.detach()
            self.own_socket.close()
        if becomes_a_worker():
            start_new_thread(run_in_worker, (self.config, self.parts))


def becomes_a_worker() -> bool:
    """Return whether torch's data loader is forking this child, or has made it a worker."""
    loader = getattr(
        sys.modules.get("torch.utils.data.dataloader"), "_MultiProcessingDataLoaderIter", None
    )
    worker_start = getattr(vars(loader or object).get("__init__"), "__code__", None)
    frame = sys._getframe()
    while frame is not None and worker_start is not None:
        if frame.f_code is worker_start:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return MODULES["process_state"].in_worker()  # type: ignore[no-any-return]


def run_in_worker(config: dict[str, Any], parts: list[ModuleType]) -> None:
    """Run the probe in a worker that was just forked, once torch has set its worker id."""
    until = time.monotonic() + WORKER_STARTS_S
    while not MODULES["process_state"].in_worker() and time.monotonic() < until:
        time.sleep(WORKER_CHECK_S)
    if MODULES["process_state"].in_worker():
        run(config, parts)


def drain(probe: InstalledProbe, line: "AgentLine") -> None:
    """Queue for sending what the patched functions have recorded."""
    count = len(probe.records)
    rows = probe.records[:count]
    del probe.records[:count]
    notes = [probe.notes.get_nowait() for _ in range(probe.notes.qsize())]
    if notes:
        line.add_notes(notes)
    if rows:
        line.add(b"R", b"".join(itertools.starmap(RECORD.pack, rows)), len(rows))


def measure_record_cost(config: dict[str, Any], parts: list[ModuleType]) -> float:
    """Return what one record costs the thread that makes it.

    The wrappers of the parts are called around functions that do nothing; the fastest of ten short
    trials counts.
    """
    separate = InstalledProbe(config)  # patches nothing, and its records are not sent

    def fastest(call: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
        def trial() -> int:
            began = time.monotonic_ns()
            for _ in range(CALLS_PER_TRIAL):
                call(*arguments)
            return time.monotonic_ns() - began

        return min(trial() for _ in range(COST_TRIALS))

    with_trials = [part for part in parts if hasattr(part, "prepare_cost_trials")]
    costs = []
    for part in with_trials:
        for timed, original, arguments in part.prepare_cost_trials(separate):
            added_ns = fastest(timed, arguments) - fastest(original, arguments)
            costs.append(added_ns / CALLS_PER_TRIAL)
    separate.leave()  # closes the files that the wrappers of a worker read
    return sum(costs) / max(len(costs), 1)


def clock_pair() -> dict[str, int]:
    """Return CLOCK_MONOTONIC and CLOCK_REALTIME, in nanoseconds."""
    return {"mono": time.monotonic_ns(), "real": time.time_ns()}


def hello_note(probe: InstalledProbe) -> dict[str, Any]:
    """Return the first note, which shows the token and what is known about the process."""
    return {
        "note": "hello",
        "token": probe.config["token"],
        "worker": getattr(MODULES["process_state"].worker_info(), "id", None),
        "cost_ns": measure_record_cost(probe.config, probe.parts),
        "torch": MODULES["startup_shutdown"].torch_facts(),
        **clock_pair(),
    }


class WakeSchedule:
    """When the probe's thread wakes next, so that it is awake at most MOST_SHARE of the time."""

    def __init__(self, normal_s: float) -> None:
        self.normal_ns = int(normal_s * 1e9)
        self.wakes = self.busy_ns = 0
        self.mean_ns = 0.0

    def pause_after(self, awake_ns: int) -> int:
        """Return how many nanoseconds to sleep after a wake that took `awake_ns`."""
        awake_ns += SWITCHES_NS
        self.busy_ns += awake_ns
        self.wakes += 1
        if self.wakes > FIRST_WAKES:
            self.mean_ns += (awake_ns - self.mean_ns) / SMOOTHING if self.mean_ns else awake_ns
        needed_ns = max(self.normal_ns, int(self.mean_ns / MOST_SHARE))
        return min(needed_ns, int(LONGEST_TICK_S * 1e9))


def after_counting(due_ns: int, began_ns: int) -> int:
    """Return when to wake: `due_ns`, or the end of the counting block that it falls into."""
    begin, end = MODULES["counting_blocks"].next_block(due_ns, began_ns)
    return int(end if due_ns >= begin else due_ns)


def stay(probe: InstalledProbe, line: "AgentLine") -> None:
    """Call the ticks and send records, until the agent sends the probe away or is gone."""
    poller = select.poll()
    poller.register(line.connection, select.POLLIN)
    in_worker = MODULES["process_state"].in_worker()
    schedule = WakeSchedule(WORKER_TICK_S if in_worker else TICK_S)
    began_ns = time.monotonic_ns()
    grown_ns = began_ns + int(YOUNG_S * 1e9) if in_worker else 0
    due_ns = send_ns = clock_ns = began_ns
    while line.alive():
        if serve_connection(poller, line, due_ns):
            continue
        now_ns = time.monotonic_ns()
        for tick in probe.ticks:
            tick(now_ns)
        probe.patches.retry_stuck()
        if now_ns >= clock_ns:
            clock_ns = now_ns + int(CLOCK_S * 1e9)
            line.add_notes([{"note": "clock", **clock_pair()}])
        if now_ns >= send_ns or now_ns < grown_ns or len(probe.records) >= MOST_UNSENT:
            send_ns = now_ns + int(SEND_S * 1e9)
            drain(probe, line)
        line.push()
        ended_ns = time.monotonic_ns()
        due_ns = after_counting(ended_ns + schedule.pause_after(ended_ns - now_ns), began_ns)
        if ended_ns < grown_ns:
            due_ns = min(due_ns, ended_ns + int(YOUNG_TICK_S * 1e9))
    span_ns = time.monotonic_ns() - began_ns
    line.add_notes([{"note": "cost", "busy_ns": schedule.busy_ns, "span_ns": span_ns}])


def serve_connection(poller: select.poll, line: "AgentLine", due_ns: int) -> bool:
    """Wait until `due_ns` and serve the connection; return True if it woke the thread sooner."""
    poller.modify(line.connection, select.POLLIN | (select.POLLOUT if line.pending else 0))
    events = poller.poll(max(due_ns - time.monotonic_ns(), 0) / 1e6)
    for _, ready in events:
        line.push()  # what did not fit before: with many records the line would never be empty
        if ready != select.POLLOUT:
            line.receive_orders()
    return bool(events)


def send_last_records(probe: InstalledProbe, line: "AgentLine", stuck: list[str]) -> None:
    """Send the last records and the last note, for LAST_SEND_TIMEOUT_S at most."""
    time.sleep(LAST_NOTES_S)
    drain(probe, line)
    line.push()
    line.send_notes([{"note": "bye", "dropped": line.dropped, "stuck": stuck, **clock_pair()}])
    until = time.monotonic() + LAST_SEND_TIMEOUT_S
    while line.open and line.pending and time.monotonic() < until:
        time.sleep(0.01)
        line.push()


def wait_for_torch() -> None:
    """Wait while the program imports torch, for TORCH_IMPORT_S at most.

    A process can be entered as soon as torch's libraries are mapped; the parts of the probe need
    names that torch defines later.
    """
    until = time.monotonic() + TORCH_IMPORT_S
    is_being_imported = MODULES["imported_modules"].is_being_imported
    while is_being_imported(sys.modules.get("torch")) and time.monotonic() < until:
        time.sleep(TORCH_CHECK_S)


def run(config: dict[str, Any], parts: list[ModuleType]) -> None:
    """Run the probe until it leaves; called on a raw thread of the target."""
    # Signals are for the target's own threads. A fault on this thread is handled as the program
    # asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    if config.get("begun") is None:  # else it was started by the import of torch
        wait_for_torch()
    probe = InstalledProbe(config)
    probe.guard.own_thread = get_ident()
    probe.parts = parts
    try:
        connection = MODULES["connection"].connect(config)
    except OSError:
        return
    probe.connection = connection
    probe.own_socket = MODULES["process_state"].OwnFile(connection.fileno())
    probe.line = line = MODULES["connection"].AgentLine(connection)
    probes = MODULES["process_state"].probes_in_process()
    probe.guard.guarded("main loop", install_and_stay)(probe, line)
    stuck = probe.leave()
    if probe in probes:
        probes.remove(probe)
    probe.guard.guarded("goodbye", send_last_records)(probe, line, stuck)
    connection.close()
    probe.codes.clear()
    probe.ticks.clear()


def install_and_stay(probe: InstalledProbe, line: "AgentLine") -> None:
    """Introduce the probe to the agent, install the parts, and stay."""
    line.send_notes([hello_note(probe)])
    reason = MODULES["process_state"].refusal_of_second_probe(probe)
    if reason:
        line.send_notes([{"note": "refused", "reason": reason}])
        return
    MODULES["process_state"].probes_in_process().append(probe)
    probe.compilation.tick(0)
    probe.ticks.append(probe.compilation.tick)
    for part in probe.parts:
        probe.guard.guarded(f"install of {part.__name__}", part.install)(probe)
    line.send_notes([{"note": "installed", "cpu_ns": time.thread_time_ns()}])
    stay(probe, line)
