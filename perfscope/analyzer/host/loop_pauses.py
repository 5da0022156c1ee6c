"""Pauses of a training thread and of its peers: garbage collections and checkpoints."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import predict_step_time
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of, steps_of
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION, PEER_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms
from perfscope.analyzer.run.ranks.ranks_in_step import peers_in_step
from perfscope.analyzer.run.table_access import (
    column,
    longest_row,
    rows_of,
    rows_of_category,
    uses_device,
)
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.analyzer.step_time_models import After, speedup, undisturbed_factor
from perfscope.traces.intervals import Ints, Spans, exclusive, merged
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Pauses:
    """The pauses of one rank, of one category of its time budget.

    Nanoseconds of each step: `pause_ns` in which the rank pauses, `peer_wait_ns` in which it waits
    for peers that pause.
    """

    process: int
    rows: pd.DataFrame
    pause_ns: "pd.Series[int]"
    peer_wait_ns: Ints
    on_device: bool

    @property
    def step_ns(self) -> float:
        """The mean step."""
        return float(self.rows["dur"].mean())

    @property
    def mean_pause_ns(self) -> float:
        """The pauses of the rank per step."""
        return float(self.pause_ns.mean())

    @property
    def cost_ns(self) -> float:
        """The pauses of the rank and its waits for pausing peers, per step."""
        return self.mean_pause_ns + float(self.peer_wait_ns.mean())

    @property
    def share(self) -> float:
        """The cost as a share of the step."""
        return self.cost_ns / self.step_ns

    @property
    def lost_s(self) -> float:
        """The cost of all steps, in seconds."""
        return self.cost_ns * len(self.rows) / 1e9

    @property
    def span(self) -> tuple[int, int]:
        """The begin of the first steady step and the end of the last, ns."""
        ends = self.rows["ts"] + self.rows["dur"] + self.rows["cut"]
        return int(self.rows["ts"].min()), int(ends.max())

    def gain(self, stays: float, limits: Limits) -> Speedup:
        """Return the speedup without the pauses.

        Pessimistically, the share `stays` of the rank's pauses remains. Optimistically, nothing
        else evicts the caches of the loop.
        """
        likely = self.step_ns - self.cost_ns
        slow = self.step_ns - (1.0 - stays) * self.mean_pause_ns
        quiet = undisturbed_factor(
            self.share, limits.most_kept_core_saving, on_device=self.on_device
        )
        after = After(slow, likely, likely * quiet)
        return speedup(self.step_ns, after, self.pause_ns + self.peer_wait_ns, self.rows["dur"])

    def finding(
        self,
        id: str,
        limits: Limits,
        *,
        stays: float,
        message: Message,
        evidence: list[Evidence],
        actions: list[Action],
    ) -> Finding:
        """Return the finding of these pauses, with the speedup without them (see `gain`)."""
        gain = self.gain(stays, limits)
        return Finding(
            id=id,
            cause=None,
            severity=severity_of(self.share, limits),
            processes=[self.process],
            lost_s=round(self.lost_s, 4),
            share=round(self.share, 4),
            speedup=gain,
            headline=message.headline,
            explanation=message.explanation,
            caveat=message.caveat,
            evidence=evidence,
            actions=predict_step_time(actions, self.step_ns, gain),
        )

    def longest_evidence(self, ranges: pd.DataFrame, text: str) -> Evidence:
        """Return the longest of these pauses with its place on the timeline."""
        worst = longest_row(ranges)
        begin, dur = int(worst["ts"]), int(worst["dur"])
        return Evidence(
            text,
            round(dur / 1e6, 3),
            "ms",
            start_ns=begin,
            end_ns=begin + dur,
            process=self.process,
            lane="main",
        )

    def mean_evidence(self, text: str) -> Evidence:
        """Return the pauses of the rank per step."""
        return Evidence(text, round(self.mean_pause_ns / 1e6, 3), "ms/step", process=self.process)

    def peer_evidence(self, activity: str) -> list[Evidence]:
        """Return the waits for peers that pause for `activity`, nothing without any."""
        waits_ns = float(self.peer_wait_ns.mean())
        if waits_ns <= 0.0:
            return []
        return [
            Evidence(
                f"{ms(waits_ns)} of each step it waits for other ranks while they {activity}",
                round(waits_ns / 1e6, 3),
                "ms/step",
                process=self.process,
                lane="main",
            )
        ]


def pauses_of(trace: Trace, category: str, limits: Limits) -> Pauses | None:
    """Return the pauses of the critical rank, None where they cost too little.

    None also where only its peers pause.
    """
    process = critical_rank(trace, limits)
    if process is None:
        return None
    rows = steps_of(trace, process)
    peer_wait_ns = waits_for_pausing_peers(trace, process, category)
    pauses = Pauses(process, rows, rows[category], peer_wait_ns, uses_device(trace))
    costly = pauses.mean_pause_ns > 0.0 and pauses.share >= limits.worth_share
    return pauses if costly else None


def waits_for_pausing_peers(trace: Trace, process: int, category: str) -> Ints:
    """Return, per steady step of a rank, the ns in which a peer pauses and the rank does not.

    It is at most what the rank waits for others in that step. `category` is gc or checkpoint.
    """
    budget = trace.fact(steady_budget)
    rows = budget[budget["process"] == process]
    peers = peers_in_step(trace, process)
    if not peers:
        return np.zeros(len(rows), np.int64)
    begin = column(rows, "ts")
    end = begin + column(rows, "dur") + column(rows, "cut")
    rank_pauses = pause_spans(trace, process, category)
    peer_pauses = merged(*(pause_spans(trace, peer, category) for peer in peers))
    paused = exclusive([rank_pauses, peer_pauses], begin, end)[1]
    waited: Ints = column(rows, EXPOSED_COMMUNICATION) + column(rows, PEER_WAIT)
    return np.minimum(paused, waited)


def pause_spans(trace: Trace, process: int, category: str) -> Spans:
    """Return when a rank pauses."""
    return spans_of(rows_of_category(rows_of(trace, "ranges", process), category))
