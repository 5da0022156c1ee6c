"""Times calls of the host on the device as well: how much of a wait the device was really idle, and
how long a copy took.

A device works through its queue behind the host. A host that waits for data does not show whether
the device is idle, and a copy that returns late may have waited for earlier work. So before and
after some of these calls an event is recorded on the current stream. The time between the two, on
the device, is the time in which it was idle (a wait for the loader launches nothing) or copied: the
first event is reached when all earlier work is done.

At most one call of a kind in EVERY_NS is timed, and of copies one of each order of size: where a
large and a small one alternate, the same one of them would always be timed. The events are read
later, by the thread that recorded them (see `accelerator`), at its next timed call. While graphs
are captured nothing is recorded or read.
"""

import sys
from _thread import get_ident
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

LOADER_WAIT, COPY = 1, 2
EVERY_NS = 50_000_000
# A device that is this many timed calls behind is not asked any more until it has caught up.
MOST_PENDING = 4


def install(probe: "InstalledProbe") -> None:
    """Time calls once the program uses a device, which may begin later."""
    torch = sys.modules.get("torch")
    if torch is None or MODULES["process_state"].in_worker():
        return
    timer, accelerator = timer_of(probe), MODULES["accelerator"].Accelerator(torch)

    def tick(now_ns: int) -> None:
        if timer.pool is None and accelerator.kind():
            timer.begin_timing(accelerator)

    tick(0)
    probe.ticks.append(tick)


def timer_of(probe: "InstalledProbe") -> "DeviceTimer":
    """Return the timer of a probe; all parts share one."""
    timer = probe.shared.get("device_times")
    if timer is None:
        timer = probe.shared["device_times"] = DeviceTimer(probe)
    return timer


class DeviceTimer:
    """Records events around calls, and the time between them once the device has reached both.

    `pool` is None while the program uses no device.
    """

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.captures = MODULES["graph_captures"].captures_of(probe)
        self.pool: Any = None
        # By what is timed and its order of size: when the next call may be.
        self.next_ns: dict[tuple[int, int], int] = {}
        # (thread, what, tid and times of the call, first and second event)
        self.pending: list[tuple[int, int, tuple[int, int, int], Any, Any]] = []

    def begin_timing(self, accelerator: Any) -> None:
        """Make events from now on."""
        self.captures.watch(self.probe)
        self.pool = MODULES["accelerator"].EventPool(accelerator)
        self.probe.undo.append(self.pool.release)

    def begin(self, what: int, now_ns: int, size: int = 0) -> Any:
        """Record the event before a call; return what `end` needs, None for a call not timed."""
        kind = what, size.bit_length()
        if self.pool is None or now_ns < self.next_ns.get(kind, 0) or self.captures.count:
            return None
        self.next_ns[kind] = now_ns + EVERY_NS
        first = self.pool.take()
        if first is None:
            return None
        self.read_pending()
        if len(self.pending) < MOST_PENDING:
            return first
        self.pool.give_back(first)
        return None

    def end(self, what: int, begun: Any, tid: int, first_ns: int, took_ns: int) -> None:
        """Record the event after a call that `begin` has begun to time."""
        second = None if self.captures.count else self.pool.take()
        if second is None or second.stream != begun.stream:
            self.pool.give_back(begun, second)
            return
        self.pending.append((get_ident(), what, (tid, first_ns, took_ns), begun, second))

    def drop(self, begun: Any) -> None:
        """Forget a call that `begin` has begun to time."""
        if begun is not None:
            self.pool.give_back(begun)

    def read_pending(self) -> None:
        """Write records of the calls whose events the device has reached, of this thread only."""
        thread = get_ident()
        for entry in [entry for entry in self.pending if entry[0] == thread]:
            _, what, call, first, second = entry
            elapsed_ns = self.pool.elapsed_ns(first, second)
            if elapsed_ns is None:
                return
            self.pending.remove(entry)
            self.pool.give_back(first, second)
            kind = self.probe.kinds["DEVICE_TIME"]
            row = (kind, *call, what, elapsed_ns, -1, -1, -1, -1, -1, -1)
            self.probe.records.append(row)
