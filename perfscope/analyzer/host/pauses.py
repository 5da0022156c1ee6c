"""Pauses of a training thread and of its peers: garbage collections and checkpoints."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import predict_step_time
from perfscope.analyzer.budget.critical_rank import critical_rank, severity_of, steps_of
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION, PEER_WAIT
from perfscope.analyzer.closed_forms import After, left_alone, speedup
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms
from perfscope.analyzer.run.ranks_in_step import peers_in_step
from perfscope.analyzer.run.table_access import column, longest, of_category, rows_of, uses_device
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import Ints, exclusive, merged
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Pauses:
    """The pauses of one rank of one category of its time budget, ns of each step.

    `own` are its own pauses, `of_peers` its waits for peers that pause.
    """

    process: int
    rows: pd.DataFrame
    own: "pd.Series[int]"
    of_peers: Ints
    on_device: bool

    @property
    def step_ns(self) -> float:
        """The mean step."""
        return float(self.rows["dur"].mean())

    @property
    def own_ns(self) -> float:
        """The rank's own pauses per step."""
        return float(self.own.mean())

    @property
    def cost_ns(self) -> float:
        """The rank's own pauses and its waits for pausing peers, per step."""
        return self.own_ns + float(self.of_peers.mean())

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

        Pessimistically the share `stays` of the rank's own pauses remains; optimistically the loop
        has the caches to itself.
        """
        likely = self.step_ns - self.cost_ns
        slow = self.step_ns - (1.0 - stays) * self.own_ns
        quiet = left_alone(self.share, limits.most_interrupted, on_device=self.on_device)
        after = After(slow, likely, likely * quiet)
        return speedup(self.step_ns, after, self.own + self.of_peers, self.rows["dur"])

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
        worst = longest(ranges)
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
        """Return the rank's own pauses per step."""
        return Evidence(text, round(self.own_ns / 1e6, 3), "ms/step", process=self.process)

    def peer_evidence(self, activity: str) -> list[Evidence]:
        """Return the waits for peers that pause for `activity`, nothing without any."""
        waits_ns = float(self.of_peers.mean())
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
    of_peers = pauses_of_peers(trace, process, category)
    pauses = Pauses(process, rows, rows[category], of_peers, uses_device(trace))
    costly = pauses.own_ns > 0.0 and pauses.share >= limits.worth_share
    return pauses if costly else None


def pauses_of_peers(trace: Trace, process: int, category: str) -> Ints:
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
    own = spans_of(of_category(rows_of(trace, "ranges", process), category))
    of_peers = merged(
        *(spans_of(of_category(rows_of(trace, "ranges", peer), category)) for peer in peers)
    )
    paused = exclusive([own, of_peers], begin, end)[1]
    waited: Ints = column(rows, EXPOSED_COMMUNICATION) + column(rows, PEER_WAIT)
    return np.minimum(paused, waited)
