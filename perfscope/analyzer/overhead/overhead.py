"""The overhead of recording: the share of time that the run lost, with an interval and its parts.

Where there are steps, blocks in which they were only counted alternate with blocks of full
instrumentation, and the difference is the cost of everything that can be switched off
(docs/decisions/0019). The rest is measured and added.
"""

from dataclasses import dataclass, field
from math import hypot

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.critical_rank import critical_rank
from perfscope.analyzer.diagnosis import Overhead, OverheadPart
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.overhead.block_contrast import Contrast, block_contrast, cap_durations
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.run.table_access import column, manifest, rows_of
from perfscope.traces.intervals import Ints, Spans, covered, merged
from perfscope.traces.run_folder.cell_types import LARGEST_NS
from perfscope.traces.run_folder.manifest import ProbeCost
from perfscope.traces.trace import Trace

LOOP_PHASES = ("train", "inference")
LEAST_HALF_WIDTH = 0.01
"""Effects that outlast a block (a warm cache, a filled queue) do not show in the difference."""
CPU_TIME_ERROR = 0.005
"""CPU times of short processes are counted in ticks of the kernel's clock."""
FULL_CORES_IDLE = 0.05
NS_PER_S = 1e9
SHORTEST_NS = 1e9


def overhead(trace: Trace, limits: Limits) -> Overhead | None:
    """Return the overhead in the process that delays the others.

    None for traces of other tools, and where nothing about the cost was recorded.
    """
    if trace.has_profiled_work:
        return None
    process = process_with_steps(trace, limits)
    if process is not None:
        loop = MeasuredLoop.of(trace, process)
        contrast = block_contrast(loop.begin[loop.clean], loop.dur[loop.clean], loop.counting)
        if contrast is not None:
            costs = RecordingCost(probe_cost(trace, process), cpu_taken(trace))
            return overhead_from_blocks(loop, contrast, costs, limits)
    return overhead_from_parts(trace, process)


def process_with_steps(trace: Trace, limits: Limits) -> int | None:
    """Return the process that the diagnosis describes, else the one with most steps, else None."""
    process = critical_rank(trace, limits)
    if process is not None:
        return process
    processes, counts = np.unique(column(trace.fact(steps), "process"), return_counts=True)
    return int(processes[counts.argmax()]) if len(processes) else None


def probe_cost(trace: Trace, process: int | None) -> ProbeCost | None:
    """Return what the probe in `process` measured of itself.

    Without a process, the cost of the most expensive probe.
    """
    costs = manifest(trace).costs if len(trace.manifests) == 1 else []
    known = [cost for cost in costs if process is None or cost.process == process]
    plausible = [cost for cost in known if is_plausible_cost(cost)]
    return max(plausible, key=lambda cost: cost.records_ns + cost.sampling_ns, default=None)


def is_plausible_cost(cost: ProbeCost) -> bool:
    """Return whether these can be durations of a recording: anyone may have written a manifest."""
    return all(0 <= value < LARGEST_NS for value in msgspec.structs.astuple(cost))


@dataclass(frozen=True)
class MeasuredLoop:
    """The steps of one process, ns, and the blocks in which they were only counted."""

    begin: Ints
    dur: Ints
    clean: NDArray[np.bool_]
    """Which steps were in no profiling window."""
    counting: Spans
    exposure: NDArray[np.float64] = field(repr=False)
    """The share of each step outside of counting blocks."""

    @classmethod
    def of(cls, trace: Trace, process: int) -> "MeasuredLoop":
        """Return the loop of a process."""
        rows: pd.DataFrame = trace.fact(steps)
        in_loop = rows["phase"].isin(LOOP_PHASES) & (rows["dur"] > 0)
        rows = rows[(rows["process"] == process) & in_loop].sort_values("ts")
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
        """Return the extra time of steps in and next to windows, and its standard deviation."""
        inside, usual = self.dur[~self.clean].astype(float), cap_durations(self.dur[self.clean])
        if not len(inside):
            return 0.0, 0.0
        extra = float(inside.sum() - usual.mean() * len(inside))
        return extra, float(usual.std() * np.sqrt(len(inside)))

    def counted_rate(self, limits: Limits, *, first_half: bool) -> float | None:
        """Return steps per second in the counting blocks of one half, None with too few steps."""
        middle = self.begin[0] + self.span_ns / 2
        picked = self.clean & (self.exposure < 0.5) & ((self.begin < middle) == first_half)
        if picked.sum() < limits.fewest_steps:
            return None
        return float(NS_PER_S / self.dur[picked].mean())


@dataclass(frozen=True)
class CpuTaken:
    """CPU time of the recording on full cores (ns), and what the run lost of it.

    It lost `most_ns` where all its threads waited for the one that gave up its core, and `least_ns`
    where the others continued.
    """

    least_ns: float
    most_ns: float


@dataclass(frozen=True)
class RecordingCost:
    """What was measured of the recording itself; None where that is unknown."""

    probe: ProbeCost | None
    cpu: CpuTaken | None


def cpu_taken(trace: Trace) -> CpuTaken | None:
    """Return the CPU time that the agent and all probes used.

    None where a core was idle for them, or it was not measured.
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
    costs = [cost for cost in manifest(trace).costs if is_plausible_cost(cost)]
    probes_ns = sum(cost.install_ns + cost.records_ns + cost.sampling_ns for cost in costs)
    return CpuTaken((agent_ns + probes_ns) / max(cores.cores, 1.0), float(agent_ns + probes_ns))


def overhead_from_blocks(
    loop: MeasuredLoop, contrast: Contrast, costs: RecordingCost, limits: Limits
) -> Overhead:
    """Return the overhead from the difference between blocks, and what was measured directly.

    The difference does not contain what happens in both kinds of blocks, such as the agent's own
    start. On full cores the CPU time of the recording bounds that.
    """
    cost, taken = costs.probe, costs.cpu
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
        low = max(low, taken.least_ns / span_ns - CPU_TIME_ERROR)
        high = max(high, taken.most_ns / span_ns + CPU_TIME_ERROR)
    return Overhead(
        share=sum(parts.values()) / span_ns,
        low=low,
        high=high,
        before=loop.counted_rate(limits, first_half=True),
        during=len(loop.dur) / loop.span_ns * NS_PER_S,
        after=loop.counted_rate(limits, first_half=False),
        parts=[OverheadPart(name, round(ns / NS_PER_S, 6)) for name, ns in parts.items()],
    )


def overhead_from_parts(trace: Trace, process: int | None) -> Overhead | None:
    """Return the sum of the measured parts, for recordings without enough steps.

    The agent's CPU time counts where the job's cores were full; else it ran on idle cores. None
    where no part was measured, and for less than SHORTEST_NS, whose share says nothing.
    """
    cost, agent_ns = probe_cost(trace, process), manifest(trace).agent_cpu_ns
    span_ns = float(trace.span_ns[1] - trace.span_ns[0])
    if (cost is None and agent_ns is None) or span_ns < SHORTEST_NS:
        return None
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
