"""Times the device's side of each step with pairs of the target's own CUDA events: first forward to the optimizer's end.

Only where CUDA is in use, never while a stream is captured; events are read later, without waiting, from our own thread.
Not run on a GPU yet.
"""

import sys
import time
from _queue import SimpleQueue
from _thread import get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

MOST_OPEN = 256


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    return None


def install(probe: "Probe") -> None:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    found: list[Pairs] = []

    def tick(now_ns: int) -> None:
        """A program that we came with begins to use the device later."""
        if found:
            found[0].read(now_ns)
        elif torch.cuda.is_initialized():
            found.append(Pairs(probe, torch.cuda))
            probe.forward_began.append(found[0].begin)
            probe.optimizer_ended.append(found[0].end)

    tick(0)
    probe.ticks.append(tick)


class Pairs:
    """Pairs of events: the open one, and those whose end the device has not reached yet."""

    def __init__(self, probe: "Probe", cuda: Any) -> None:
        self.probe, self.cuda = probe, cuda
        self.opened: tuple[int, int, Any] | None = None
        self.closed: SimpleQueue[tuple[int, int, Any, Any]] = SimpleQueue()
        self.oldest: tuple[int, int, Any, Any] | None = None

    def event(self) -> Any:
        event = self.cuda.Event(enable_timing=True)
        event.record()
        return event

    def begin(self) -> None:
        if self.opened is None and not self.cuda.is_current_stream_capturing():
            self.opened = (time.monotonic_ns(), get_native_id(), self.event())

    def end(self) -> None:
        opened = self.opened
        if opened is None or self.cuda.is_current_stream_capturing():
            return
        self.opened = None
        if self.closed.qsize() < MOST_OPEN:
            self.closed.put((*opened, self.event()))

    def read(self, now_ns: int) -> None:
        """Take the pairs that the device has finished."""
        while self.oldest is not None or not self.closed.empty():
            self.oldest = self.oldest or self.closed.get_nowait()
            began_ns, tid, first, last = self.oldest
            if not last.query():
                return
            self.oldest = None
            took_ns = int(first.elapsed_time(last) * 1e6)
            self.probe.records.append((self.probe.kinds["STEP_DEVICE"], tid, began_ns, took_ns, *(-1,) * 8))
