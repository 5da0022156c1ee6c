"""Blocks of time in which steps are only counted: the probe does not sample or wake, and the agent
does not read.

They are the same instants of CLOCK_MONOTONIC in the agent and in every probe, so that all ranks run
undisturbed together and nothing has to be sent. How much slower steps are outside these blocks is
the cost of recording (docs/decisions/0019).
"""

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfscope.agent.probe.core import Probe

CYCLE_NS = 750_000_000
BLOCK_NS = 250_000_000
MARGIN_NS = 160_000_000
# The block is anywhere in the middle of its cycle, so that a loop with a period of its own does not
# stay in phase with it.
JITTER_NS = CYCLE_NS - BLOCK_NS - 2 * MARGIN_NS
GOLDEN = 0.6180339887498949
OFTEN_NS = 60_000_000_000
# After the first minute only one cycle of so many has a block.
SELDOM = 4


def next_block(now_ns: int, began_ns: int) -> "tuple[int, int]":
    """Return (begin, end) of the block that contains `now_ns`, else of the next block.

    began_ns: when the recording began.
    """
    cycle = now_ns // CYCLE_NS
    while True:
        begin = cycle * CYCLE_NS + MARGIN_NS + int(JITTER_NS * (cycle * GOLDEN % 1.0))
        has_block = cycle * CYCLE_NS < began_ns + OFTEN_NS or cycle % SELDOM == 0
        if has_block and now_ns < begin + BLOCK_NS:
            return begin, begin + BLOCK_NS
        cycle += 1


def install(probe: "Probe") -> None:
    """Report the blocks from now on."""
    probe.ticks.append(CountingBlocks(probe).tick)


class CountingBlocks:
    """Reports each block in which this probe did not wake."""

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.began_ns = self.woke_ns = time.monotonic_ns()

    def tick(self, now_ns: int) -> None:
        begin, end = next_block(self.woke_ns, self.began_ns)
        if self.woke_ns <= begin and now_ns >= end:
            note = {"note": "counting-block", "begin_ns": begin, "end_ns": end}
            self.probe.notes.put(note)
        self.woke_ns = now_ns
