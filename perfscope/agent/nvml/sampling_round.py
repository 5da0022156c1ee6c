"""One kind of reading of the devices, repeated at a rate that keeps to a share of a core."""

import time
from collections.abc import Callable
from typing import Final

from perfscope.agent.overhead.sampling_pace import SamplingPace

FIRST_PERIOD_NS: Final = 30_000_000


class SamplingRound:
    """A function that reads devices, and when it is due again.

    `read` gets the time and returns how many devices it has read. The first `quick_runs` runs
    follow each other quickly; the next one then waits until their cost is within `share` again.
    """

    def __init__(self, period_ns: int, share: float, read: Callable[[int], int]) -> None:
        self.pace, self.read, self.due_ns = SamplingPace(period_ns, share), read, 0
        self.runs, self.devices, self.quick_runs = 0, 0, 0
        self.began_ns = self.pace.began_ns

    def begin(self) -> None:
        """Begin now: the rate and the cost are measured from here on."""
        self.began_ns = self.pace.begin()

    def run(self, now_ns: int) -> None:
        """Read, and set when the next run is due."""
        started_ns = self.pace.start()
        self.devices += self.read(now_ns)
        self.runs += 1
        period_ns = self.pace.end(started_ns)
        if self.runs < self.quick_runs:
            self.due_ns = now_ns + FIRST_PERIOD_NS
        elif self.runs == self.quick_runs:
            self.due_ns = self.began_ns + int(self.pace.busy_ns / self.pace.most_share)
        else:
            self.due_ns = now_ns + period_ns

    @property
    def hz(self) -> float:
        """Runs per second so far."""
        return self.runs / max((time.monotonic_ns() - self.began_ns) / 1e9, 1e-9)

    @property
    def device_us(self) -> float:
        """CPU time per device and run, in microseconds."""
        return self.pace.busy_ns / max(self.devices, 1) / 1e3
