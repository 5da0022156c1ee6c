"""What recording cost the run: the share of its time that it lost, with an interval, and what that
is made of.

Where there are steps, blocks in which they were only counted alternate with blocks of full
instrumentation, and the difference is the cost of everything that can be switched off
(docs/decisions/0019). What cannot is measured and added.
"""

from dataclasses import dataclass, field
from math import hypot

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.critical_rank import critical_rank
from perfscope.analyzer.diagnosis import Overhead, OverheadPart
from perfscope.analyzer.limits import LIMITS
from perfscope.analyzer.overhead.block_contrast import Contrast, block_contrast, capped
from perfscope.analyzer.run.host_load import host_load
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.table_access import column, manifest, rows_of
from perfscope.traces.intervals import Ints, Spans, covered, merged
from perfscope.traces.run.cells import LARGEST_NS
from perfscope.traces.run.manifest import ProbeCost
from perfscope.traces.trace import Trace

LOOP_PHASES = ("train", "inference")
LEAST_HALF_WIDTH = 0.01
"""What outlasts a block (a warm cache, a filled queue) does not show in the difference between
blocks.
"""
FULL_CORES_IDLE = 0.05
NS_PER_S = 1e9


def overhead(trace: Trace) -> Overhead | None:
    """Return the overhead of the process that holds the others up; None for traces that other tools
    recorded.
    """
    return None if trace.has_profiled_work else trace.fact(measured_overhead)


def measured_overhead(trace: Trace) -> Overhead | None:
    """As `overhead`, for a recording of our own; None where nothing about its cost was recorded."""
    process = process_with_steps(trace)
    if process is not None:
        loop = Loop.of(trace, process)
        contrast = block_contrast(loop.begin[loop.clean], loop.dur[loop.clean], loop.counting)
        if contrast is not None:
            return from_blocks(loop, contrast, cost_of(trace, process), cpu_taken(trace))
    return from_parts(trace, process)


def process_with_steps(trace: Trace) -> int | None:
    """Return the process that the diagnosis is about, else the one with most steps, None without
    any.
    """
    process = critical_rank(trace, LIMITS)
    if process is not None:
        return process
    processes, counts = np.unique(column(trace.fact(steps), "process"), return_counts=True)
    return int(processes[counts.argmax()]) if len(processes) else None


def cost_of(trace: Trace, process: int | None) -> ProbeCost | None:
    """Return what the probe in `process` measured; in the process whose probe cost most where it is
    None.
    """
    costs = manifest(trace).costs if len(trace.manifests) == 1 else []
    costs = [
        one for one in costs if (process is None or one.process == process) and is_plausible(one)
    ]
    return max(costs, key=lambda one: one.records_ns + one.sampling_ns, default=None)


def is_plausible(cost: ProbeCost) -> bool:
    """Return whether these can be durations of a recording: a manifest is a file that anybody may
    have written.
    """
    return all(0 <= value < LARGEST_NS for value in msgspec.structs.astuple(cost))


@dataclass(frozen=True)
class Loop:
    """The steps of one process (ns): when they began, how long they took, which were in no
    profiling window, counting blocks.
    """

    begin: Ints
    dur: Ints
    clean: NDArray[np.bool_]
    counting: Spans
    exposure: NDArray[np.float64] = field(repr=False)

    @classmethod
    def of(cls, trace: Trace, process: int) -> "Loop":
        rows: pd.DataFrame = trace.fact(steps)
        rows = rows[
            (rows["process"] == process) & rows["phase"].isin(LOOP_PHASES) & (rows["dur"] > 0)
        ].sort_values("ts")
        blocks = rows_of(trace, "counting_blocks", process)
        counting = merged((column(blocks, "ts"), column(blocks, "ts") + column(blocks, "dur")))
        begin, dur = column(rows, "ts"), column(rows, "dur")
        exposure = 1.0 - covered(counting, begin, begin + dur) / np.maximum(dur, 1)
        return cls(begin, dur, ~rows["distorted"].to_numpy(bool), counting, exposure)

    @property
    def span_ns(self) -> float:
        """From the begin of the first step to the end of the last."""
        return float(self.begin[-1] + self.dur[-1] - self.begin[0])

    def window_ns(self) -> tuple[float, float]:
        """(time that steps in and next to windows took beyond the usual, its standard
        deviation).
        """
        inside, usual = self.dur[~self.clean].astype(float), capped(self.dur[self.clean])
        if not len(inside):
            return 0.0, 0.0
        return float(inside.sum() - usual.mean() * len(inside)), float(
            usual.std() * np.sqrt(len(inside))
        )

    def counted_rate(self, *, first_half: bool) -> float | None:
        """Return steps per second in the counting blocks of one half; None with too few steps
        there.
        """
        middle = self.begin[0] + self.span_ns / 2
        picked = self.clean & (self.exposure < 0.5) & ((self.begin < middle) == first_half)
        return (
            float(NS_PER_S / self.dur[picked].mean())
            if picked.sum() >= LIMITS.fewest_steps
            else None
        )


@dataclass(frozen=True)
class CpuTaken:
    """CPU time of ours on full cores (ns): the run lost `most_ns` of it where all its threads
    waited for the one that made room, and `least_ns` where each went on by itself.
    """

    least_ns: float
    most_ns: float


def cpu_taken(trace: Trace) -> CpuTaken | None:
    """Return the CPU time that the agent and all probes used; None where a core was idle for them,
    or it was not measured.
    """
    agent_ns, cores = manifest(trace).agent_cpu_ns, manifest(trace).usable_cores
    if (
        len(trace.manifests) != 1
        or agent_ns is None
        or not 0 <= agent_ns < LARGEST_NS
        or cores is None
    ):
        return None
    if not trace.fact(host_load).full(FULL_CORES_IDLE):
        return None
    costs = [one for one in manifest(trace).costs if is_plausible(one)]
    inside_ns = sum(one.install_ns + one.records_ns + one.sampling_ns for one in costs)
    return CpuTaken((agent_ns + inside_ns) / max(cores.cores, 1.0), float(agent_ns + inside_ns))


def from_blocks(
    loop: Loop, contrast: Contrast, cost: ProbeCost | None, taken: CpuTaken | None
) -> Overhead:
    """Return the overhead from the difference between blocks, and what was measured directly.

    The difference does not hold what goes on in both kinds of blocks: the agent's own start, or one
    that delays the next block, too. On full cores the CPU time that was `taken` bounds that.
    """
    window_ns, window_deviation_ns = loop.window_ns()
    counted_ns = float(covered(loop.counting, loop.begin[:1], loop.begin[-1:] + loop.dur[-1:])[0])
    full_ns = max(loop.span_ns - counted_ns - float(loop.dur[~loop.clean].sum()), 0.0)
    entry_ns = 0.0 if cost is None else float(cost.stopped_ns + cost.install_ns)
    records_ns = 0.0 if cost is None else float(cost.records_ns)
    span_ns = max(loop.span_ns + entry_ns, 1.0)

    def sampling_ns(share: float) -> float:
        return share / (1.0 + share) * full_ns

    parts = {
        "entry": entry_ns,
        "records": records_ns,
        "window": window_ns,
        "samples and readings": sampling_ns(contrast.share),
    }
    seen_ns = sum(parts.values())
    below = sampling_ns(contrast.share) - sampling_ns(contrast.low)
    above = sampling_ns(contrast.high) - sampling_ns(contrast.share)
    spread = 1.96 * window_deviation_ns
    low = seen_ns / span_ns - max(hypot(below, spread) / span_ns, LEAST_HALF_WIDTH)
    high = seen_ns / span_ns + max(hypot(above, spread) / span_ns, LEAST_HALF_WIDTH)
    if taken is not None:
        parts["agent"] = max((taken.least_ns + taken.most_ns) / 2 - seen_ns, 0.0)
        low = max(low, taken.least_ns / span_ns - LEAST_HALF_WIDTH)
        high = max(high, taken.most_ns / span_ns + LEAST_HALF_WIDTH)
    return Overhead(
        share=sum(parts.values()) / span_ns,
        low=low,
        high=high,
        before=loop.counted_rate(first_half=True),
        during=len(loop.dur) / loop.span_ns * NS_PER_S,
        after=loop.counted_rate(first_half=False),
        parts=[OverheadPart(name, round(ns / NS_PER_S, 6)) for name, ns in parts.items()],
    )


def from_parts(trace: Trace, process: int | None) -> Overhead | None:
    """Return the sum of the measured parts, for recordings without enough steps.

    What the agent used counts where the job's cores were full; else it ran on cores that nobody
    wanted.
    """
    cost, agent_ns = cost_of(trace, process), manifest(trace).agent_cpu_ns
    if cost is None and agent_ns is None:
        return None
    span_ns = float(max(trace.span_ns[1] - trace.span_ns[0], 1))
    agent_ns = agent_ns if agent_ns is not None and 0 <= agent_ns < LARGEST_NS else 0
    parts = (
        {}
        if cost is None
        else {
            "entry": float(cost.stopped_ns + cost.install_ns),
            "records": float(cost.records_ns),
            "samples": float(cost.sampling_ns),
        }
    )
    inside = sum(parts.values())
    parts["agent"] = float(agent_ns) if trace.fact(host_load).full(FULL_CORES_IDLE) else 0.0
    return Overhead(
        share=sum(parts.values()) / span_ns,
        low=0.5 * inside / span_ns,
        high=(2.0 * inside + agent_ns) / span_ns,
        before=None,
        during=None,
        after=None,
        parts=[OverheadPart(name, round(ns / NS_PER_S, 6)) for name, ns in parts.items()],
    )
