"""A training thread that stands still now and then (garbage collections, checkpoints), alone or
while its peers do.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import critical_rank, rank_of, steps_of
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION, PEER_WAIT
from perfscope.analyzer.closed_forms import After, left_alone, speedup
from perfscope.analyzer.diagnosis import Evidence, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms
from perfscope.analyzer.run.ranks_in_step import peers_in_step
from perfscope.analyzer.run.table_access import column, of_category, rows_of, uses_device
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, exclusive, merged
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Pause:
    """One rank's pauses of a category of its time budget; `own`, and `theirs` (waits for peers that
    pause): ns of each step.
    """

    process: int
    rank: int
    rows: pd.DataFrame
    own: "pd.Series[int]"
    theirs: Ints
    on_device: bool

    @property
    def step_ns(self) -> float:
        """The mean step."""
        return float(self.rows["dur"].mean())

    @property
    def own_ns(self) -> float:
        """What the rank stands still itself, a step."""
        return float(self.own.mean())

    @property
    def cost_ns(self) -> float:
        """The same with the waits for its peers."""
        return self.own_ns + float(self.theirs.mean())

    @property
    def share(self) -> float:
        """The cost as a share of the step."""
        return self.cost_ns / self.step_ns

    @property
    def lost_s(self) -> float:
        """The cost of all steps, seconds."""
        return self.cost_ns * len(self.rows) / 1e9

    def gain(self, stays: float, limits: Limits) -> Speedup:
        """Without them; pessimistically this share of its own stays, optimistically the loop has
        the caches for itself.
        """
        left = self.step_ns - self.cost_ns
        quiet = left_alone(self.share, limits.most_interrupted, on_device=self.on_device)
        after = After(self.step_ns - (1.0 - stays) * self.own_ns, left, left * quiet)
        return speedup(self.step_ns, after, self.own + self.theirs, self.rows["dur"])

    def evidence(
        self, worst: "pd.Series[int]", longest: str, mean: str, doing: str
    ) -> list[Evidence]:
        """The longest one with its place, what they cost a step, and the waits for peers that are
        `doing` the same.
        """
        begin, dur = int(worst["ts"]), int(worst["dur"])
        ms_of = round(dur / 1e6, 3)
        found = [
            Evidence(longest, ms_of, "ms", begin, begin + dur, self.rank, self.process, "main"),
            Evidence(
                mean, round(self.own_ns / 1e6, 3), "ms/step", rank=self.rank, process=self.process
            ),
        ]
        waits_ns = float(self.theirs.mean())
        if waits_ns > 0.0:
            text = f"{ms(waits_ns)} of each step it waits for other ranks while they {doing}"
            found.append(
                Evidence(
                    text,
                    round(waits_ns / 1e6, 3),
                    "ms/step",
                    rank=self.rank,
                    process=self.process,
                    lane="main",
                )
            )
        return found


def pause_of(trace: Trace, category: str, limits: Limits) -> Pause | None:
    """The pauses of the rank that is told of, when it pauses itself and that costs enough."""
    process = critical_rank(trace, limits)
    if process is None:
        return None
    rows = steps_of(trace, process)
    theirs = pauses_of_peers(trace, process, category)
    found = Pause(process, rank_of(rows), rows, rows[category], theirs, uses_device(trace))
    return found if found.own_ns > 0.0 and found.share >= limits.worth_share else None


def pauses_of_peers(trace: Trace, process: int, category: str) -> Ints:
    """Per steady step of this rank, ns in which another one stands still for `category` (gc,
    checkpoint) and this one does not: no more than it waits for others in that step.
    """
    budget = trace.fact(steady_budget)
    own = budget[budget["process"] == process]
    begin = column(own, "ts")
    end = begin + column(own, "dur") + column(own, "cut")
    mine = spans_of(of_category(rows_of(trace, "ranges", process), category))
    paused = [
        spans_of(of_category(rows_of(trace, "ranges", other), category))
        for other in peers_in_step(trace, process)
    ]
    theirs = (
        exclusive([mine, merged(*paused)], begin, end)[1]
        if paused
        else np.zeros(len(own), np.int64)
    )
    waited: Ints = column(own, EXPOSED_COMMUNICATION) + column(own, PEER_WAIT)
    return np.minimum(theirs, waited)
