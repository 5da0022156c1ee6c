"""Counts steps while they happen, for the progress line and for knowing when there are enough; the
analyzer judges.
"""

import array

from perfscope.agent.profiler_windows.agreed_step import RankUpdates
from perfscope.traces.run import events

PERIOD = {events.OPTIMIZER, events.SCALER}


class StepCounter:
    """Outer iterations of one process: batches that follow an optimizer step, else optimizer steps,
    else module calls.
    """

    def __init__(self) -> None:
        self.by_batch = 0
        self.by_optimizer = 0
        self.by_call = 0
        self.stepped = False
        self.first_ns = 0
        self.last_ns = 0
        self.updates = RankUpdates()

    def see(self, records: "array.array[int]") -> None:
        """Take in rows of events.WIDTH."""
        width = events.WIDTH
        for row, kind in enumerate(records[::width]):
            if kind in PERIOD:
                self.by_optimizer += kind == events.OPTIMIZER
                self.stepped = True
                if kind == events.OPTIMIZER:
                    self.updates.add(records[row * width + 2] + records[row * width + 3])
            elif kind == events.NEXT and self.stepped:
                self.by_batch += 1
                self.stepped = False
            elif kind == events.FORWARD:
                self.by_call += 1
            else:
                continue
            self.last_ns = records[row * width + 2]
            self.first_ns = self.first_ns or self.last_ns

    @property
    def steps(self) -> int:
        """Steps seen so far, by the best sign there is."""
        return max(0, (self.by_batch or self.by_optimizer or self.by_call) - 1)

    @property
    def mean_ms(self) -> float | None:
        """Mean time of a step, None before there are two."""
        return (self.last_ns - self.first_ns) / 1e6 / self.steps if self.steps else None
