"""Verdicts on profiler traces without a costly finding: nothing to recover, start-up only, or idle
for reasons that the trace does not contain.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.categories import CATEGORIES, COMPUTE_OR_HOST, DEVICE_COMPUTE, OTHER_IDLE
from perfscope.analyzer.compute.short_kernel_names import short_kernel_name
from perfscope.analyzer.diagnosis import BudgetEntry, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.accelerators.other_devices import busy_elsewhere
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.verdict.confidence import VerdictConfidence
from perfscope.traces.intervals import covered
from perfscope.traces.trace import Trace

BUSY: Final = tuple(category.id for category in CATEGORIES if category.on_device)
START_UP: Final = ("driver", "allocating")
"""What the host does in gaps while it starts up."""
LONGEST_KERNEL_NAME: Final = 60
NS_PER_S: Final = 1e9


@dataclass(frozen=True)
class UnexplainedIdle:
    """Idle time of one device that no finding explains, as shares of its span.

    `start_up`: the driver initializes, loads code or allocates. `before_first`: before its first
    work, which was launched already. `held`: later, with the next work launched; `in_graphs`: the
    part of it whose next work belongs to a CUDA or HIP graph. `longest_ns` is the longest of these,
    `next_kernel` the kernel that ended it, "" unknown.
    """

    start_up: float
    before_first: float = 0.0
    held: float = 0.0
    in_graphs: float = 0.0
    longest_ns: int = 0
    next_kernel: str = ""


def unexplained_idle(trace: Trace, unit: Unit, limits: Limits) -> UnexplainedIdle | None:
    """Return the idle time of a device that no finding explains, None without a device."""
    if unit.device == NO_DEVICE:
        return None
    span_ns = max(observed_time(trace, unit).total_ns, 1)
    gaps = trace.fact(host_gaps, unit.process, unit.device)
    start_up_ns = int(column(gaps[gaps["doing"].isin(START_UP)], "dur").sum())
    pieces = rows_of_unit(trace.fact(segments), unit)
    is_launched = pieces["launch"] >= 0
    idle = pieces[(pieces["category"] == OTHER_IDLE) & is_launched]
    idle = idle[~waits_for_other_device(trace, unit, idle)]
    if not len(idle):
        return UnexplainedIdle(start_up_ns / span_ns)
    worst = idle.iloc[int(np.argmax(column(idle, "dur")))]
    is_before_first = column(idle, "ts") < first_work_ns(pieces, limits)
    before_first_ns = int(column(idle, "dur")[is_before_first].sum())
    held = idle[~is_before_first]
    held_ns = column(held, "dur")
    in_graphs_ns = int(held_ns[is_launched_as_graph(trace, held)].sum())
    return UnexplainedIdle(
        start_up=start_up_ns / span_ns,
        before_first=before_first_ns / span_ns,
        held=int(held_ns.sum()) / span_ns,
        in_graphs=in_graphs_ns / span_ns,
        longest_ns=int(worst["dur"]),
        next_kernel=next_kernel_name(trace, unit, int(worst["ts"])),
    )


def rows_of_unit(frame: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Return the rows of one process and device."""
    of_process = column(frame, "process") == unit.process
    rows: pd.DataFrame = frame[of_process & (column(frame, "device") == unit.device)]
    return rows


def waits_for_other_device(
    trace: Trace, unit: Unit, pieces: pd.DataFrame
) -> "np.typing.NDArray[np.bool_]":
    """Return in which pieces another device of the process is busy, for most of each."""
    ts, dur = column(pieces, "ts"), column(pieces, "dur")
    return 2 * covered(busy_elsewhere(trace, unit), ts, ts + dur) > dur


def is_launched_as_graph(trace: Trace, pieces: pd.DataFrame) -> "np.typing.NDArray[np.bool_]":
    """Return which pieces are followed by work that was launched as a graph."""
    calls = table(trace, "launches")
    if calls is None:
        return np.zeros(len(pieces), bool)
    return (calls["kind"] == "graph").to_numpy(bool)[column(pieces, "launch")]


def first_work_ns(pieces: pd.DataFrame, limits: Limits) -> int:
    """Return when the device began its work.

    Before that it may have run what was launched before the recording.
    """
    busy = pieces[pieces["category"].isin(BUSY)]
    if not len(busy):
        return 0
    done_ns = np.cumsum(column(busy, "dur"))
    first = np.searchsorted(done_ns, limits.device_began * done_ns[-1])
    return int(column(busy, "ts")[first])


def next_kernel_name(trace: Trace, unit: Unit, instant_ns: int) -> str:
    """Return the name of the first kernel at or after an instant, "" where there is none."""
    kernels = rows_on(trace, "kernels", unit)
    if kernels is None:
        return ""
    later = kernels[column(kernels, "ts") >= instant_ns]
    if not len(later):
        return ""
    first = later.iloc[int(np.argmin(column(later, "ts")))]
    return short_kernel_name(str(first["name"]))[:LONGEST_KERNEL_NAME]


def start_up_verdict(idle: UnexplainedIdle) -> Verdict:
    """Return the verdict on a trace of a start, which does not show the rest of the run."""
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"This trace mostly covers start-up: {percent(idle.start_up)} of its time",
        explanation="The driver initializes, loads code, or allocates memory for the first time.",
        caveat=(
            "Record some steps after a warm-up: `schedule=torch.profiler.schedule(wait=5, warmup=2,"
            " active=5)`."
        ),
        confidence=0.0,
    )


def verdict_without_findings(
    budget: list[BudgetEntry], unit: Unit | None, confidence: VerdictConfidence, limits: Limits
) -> Verdict:
    """Return the verdict on a trace in which nothing recoverable is above its limit.

    Where the trace does not show what the device did, the verdict is unknown.
    """
    shares = {entry.category: entry.share for entry in budget}
    if shares.get(COMPUTE_OR_HOST, 0.0) > 0.0:
        return kernels_missing_verdict()
    computing = shares.get(DEVICE_COMPUTE, 0.0)
    if unit is not None and unit.device == NO_DEVICE:
        return cpu_trace_verdict(computing)
    headline = f"the device computes {percent(computing)} of the time"
    if computing >= limits.most_of_trace:
        return Verdict(
            id="healthy",
            cause=None,
            headline=f"Healthy: {headline}",
            explanation="No finding costs a noticeable share of the time.",
            caveat=None,
            confidence=confidence.value,
        )
    return Verdict(
        id="unknown",
        cause=None,
        headline=headline.capitalize(),
        explanation="No cause of the rest that the trace shows is large enough.",
        caveat=None,
        confidence=0.0,
    )


def mostly_unseen_verdict(trace: Trace, budget: list[BudgetEntry]) -> Verdict:
    """Return the verdict where no loss was found, but most of the trace shows no device's work."""
    begin_ns, end_ns = trace.span_ns
    shown_ns = sum(entry.seconds for entry in budget) * NS_PER_S
    computing = sum(entry.share for entry in budget if entry.category == DEVICE_COMPUTE)
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"{ms(shown_ns)} of the {ms(end_ns - begin_ns)} show what the device did",
        explanation=(
            f"In them it computes {percent(computing)} of the time. The rest is before the first or"
            " after the last kernel in the trace, or its kernels were lost."
        ),
        caveat="Record several steps, after a warm-up:"
        " `schedule=torch.profiler.schedule(wait=5, warmup=2, active=5)`.",
        confidence=0.0,
    )


def lost_kernels_verdict(trace: Trace, unit: Unit, budget: list[BudgetEntry]) -> Verdict:
    """Return the verdict on a trace that lost the kernels of most launches.

    Where a profiler lost so many, it may have lost more in the time that seems known.
    """
    lost = observed_time(trace, unit).lost_share
    shares = {entry.category: entry.share for entry in budget}
    computing = percent(shares.get(DEVICE_COMPUTE, 0.0))
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"The kernels of {percent(lost)} of the launches are not in the recording",
        explanation=f"In the rest of the time the device computes {computing}.",
        caveat="Record again, with a warm-up: `schedule=torch.profiler.schedule(wait=5, warmup=2,"
        " active=5)`.",
        confidence=0.0,
    )


def kernels_missing_verdict() -> Verdict:
    """Return the verdict on a trace with launches and without kernels."""
    return Verdict(
        id="unknown",
        cause=None,
        headline="No kernels in the trace, although kernels were launched",
        explanation="What the device did is not known.",
        caveat=(
            "Record again with `ProfilerActivity.CUDA` and with permission to read the device's"
            " counters."
        ),
        confidence=0.0,
    )


def cpu_trace_verdict(computing: float) -> Verdict:
    """Return the verdict on a trace without an accelerator."""
    share = percent(computing)
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"No accelerator in the trace; operators compute on the CPU {share} of the time",
        explanation="The rest is calling operators, and Python.",
        caveat="To see what the rest is, sample the thread: `perfscope attach PID`.",
        confidence=0.0,
    )


def with_unexplained_idle(
    verdict: Verdict, idle: UnexplainedIdle | None, limits: Limits
) -> Verdict:
    """Return the verdict with the idle time that it does not explain, where that is much.

    The more is unexplained, the lower its confidence.
    """
    if idle is None:
        return verdict
    unexplained = [
        *unexplained_before_first(idle, limits),
        *unexplained_while_held(idle, limits),
    ]
    if not unexplained:
        return verdict
    explained = max(1.0 - idle.before_first - idle.held, 0.0)
    return msgspec.structs.replace(
        verdict,
        caveat=" ".join(filter(None, [*unexplained, verdict.caveat])),
        confidence=round(verdict.confidence * explained, 3),
    )


def unexplained_before_first(idle: UnexplainedIdle, limits: Limits) -> list[str]:
    """Return a sentence on the time before the device's first work, where it is much."""
    if idle.before_first < limits.unexplained_idle:
        return []
    return [
        f"{percent(idle.before_first)} of the time is before the device's first work, which was"
        " launched already: it presumably ran what was launched before the recording."
    ]


def unexplained_while_held(idle: UnexplainedIdle, limits: Limits) -> list[str]:
    """Return a sentence on the idle time with launched work, where it is much."""
    if idle.held < limits.unexplained_idle:
        return []
    before = f" before `{idle.next_kernel}`" if idle.next_kernel else ""
    reason = (
        "It waits for another stream or a peer, or runs what was not recorded, such as parts of a"
        " graph."
    )
    if idle.in_graphs >= limits.most_of_trace * idle.held:
        reason = (
            f"For {percent(idle.in_graphs / idle.held)} of that, the next work is part of a CUDA"
            " graph, most of whose kernels are not in the trace: the device presumably ran them. To"
            " see them, record one window without graphs."
        )
    return [
        f"The device is idle {percent(idle.held)} of the time although its next work is launched"
        f" (longest: {ms(idle.longest_ns)}{before}). {reason}"
    ]
