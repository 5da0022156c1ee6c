"""Counts steps during the recording, for the progress line and to know when there are enough.

The analyzer finds the exact steps later.
"""

import array

from perfscope.agent.profiler_windows.agreed_step import RankUpdates
from perfscope.traces.run_folder import events

STEP_ENDS = {events.OPTIMIZER, events.SCALER}


REQUEST_SOURCE = 10
"""Where a record of kind REQUEST has the source of the request."""
BY_GENERATE = 2


class StepCounter:
    """The steps of one process, and the requests that it has answered.

    Batches that follow an optimizer step count as steps; without any, optimizer steps do; without
    any, module calls do.
    """

    def __init__(self) -> None:
        self.by_batch = 0
        self.by_optimizer = 0
        self.by_call = 0
        self.requests = 0
        self.stepped = False
        self.first_ns = 0
        self.last_ns = 0
        self.updates = RankUpdates()

    def count(self, records: "array.array[int]") -> None:
        """Count the steps in records, flat rows of events.WIDTH values."""
        width = events.WIDTH
        for row, kind in enumerate(records[::width]):
            if kind in STEP_ENDS:
                self.by_optimizer += kind == events.OPTIMIZER
                self.stepped = True
                if kind == events.OPTIMIZER:
                    self.updates.add(records[row * width + 2] + records[row * width + 3])
            elif kind == events.NEXT and self.stepped:
                self.by_batch += 1
                self.stepped = False
            elif kind == events.FORWARD:
                self.by_call += 1
            elif kind == events.REQUEST:
                self.requests += records[row * width + REQUEST_SOURCE] != BY_GENERATE
                continue
            else:
                continue
            self.last_ns = records[row * width + 2]
            self.first_ns = self.first_ns or self.last_ns

    @property
    def steps(self) -> int:
        """Complete steps so far."""
        return max(0, (self.by_batch or self.by_optimizer or self.by_call) - 1)

    @property
    def mean_ms(self) -> float | None:
        """Mean time per step, None before there is a complete one."""
        if not self.steps:
            return None
        return (self.last_ns - self.first_ns) / 1e6 / self.steps
