"""The blocks of time in which steps are only counted: no sample, no waking of ours, no reading by
the agent.

They are the same instants of CLOCK_MONOTONIC in the agent and in every probe, so that ranks are
left alone together and nothing has to be sent. What steps lose outside of them is what recording
costs (docs/decisions/0019).
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

CYCLE_NS = 750_000_000
BLOCK_NS = 250_000_000
MARGIN_NS = 160_000_000
JITTER_NS = CYCLE_NS - BLOCK_NS - 2 * MARGIN_NS
"""The block lies anywhere in the middle of its cycle: a loop with a period of its own does not keep
step with it.
"""
GOLDEN = 0.6180339887498949
OFTEN_NS = 60_000_000_000
SELDOM = 4
"""After the first minute only one cycle of so many has a block."""


def next_block(now_ns: int, began_ns: int) -> "tuple[int, int]":
    """Return (begin, end) of the block that `now_ns` is in, else of the next one; `began_ns`: when
    the recording began.
    """
    cycle = now_ns // CYCLE_NS
    while True:
        begin = cycle * CYCLE_NS + MARGIN_NS + int(JITTER_NS * (cycle * GOLDEN % 1.0))
        if now_ns < begin + BLOCK_NS and (
            cycle * CYCLE_NS < began_ns + OFTEN_NS or cycle % SELDOM == 0
        ):
            return begin, begin + BLOCK_NS
        cycle += 1


def install(probe: "Probe") -> None:
    probe.ticks.append(CountingBlocks(probe).tick)


class CountingBlocks:
    """Reports each block in which this probe has not woken."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.began_ns = self.woke_ns = time.monotonic_ns()

    def tick(self, now_ns: int) -> None:
        begin, end = next_block(self.woke_ns, self.began_ns)
        if self.woke_ns <= begin and now_ns >= end:
            self.probe.notes.put({"counting": begin, "until": end})
        self.woke_ns = now_ns
