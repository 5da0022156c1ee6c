"""Verdicts of recorded traces beside those of findings: nothing to recover, a start only, idle for
reasons not recorded.
"""

from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.categories import CATEGORIES, COMPUTE_OR_HOST, DEVICE_COMPUTE, OTHER_IDLE
from perfscope.analyzer.diagnosis import ProcessBudget, Verdict
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit
from perfscope.analyzer.verdict.confidence import Standing
from perfscope.traces.trace import Trace

# A trace is of its start when the start is more of it than everything else together.
MOSTLY = 0.5
# From this share on it is said that the device stood idle for reasons that the trace does not hold.
WORTH_SAYING = 0.10
BUSY = tuple(category.id for category in CATEGORIES if category.on_device)
# The device has begun when it has done this share of all its work: a lone small kernel or copy is
# no beginning.
EARLY = 0.001


@dataclass(frozen=True)
class Apart:
    """Idle time of one device that no finding explains, as shares of its span."""

    start_up: float  # the driver initialises, loads code or allocates
    ahead: float  # before its first work, which had been launched
    held: float  # later, with the next work launched
    in_graphs: float  # of that, where the next work belongs to a CUDA or HIP graph
    longest_ns: int
    after: str  # what ran after the longest of these, "" unknown


def told_apart(trace: Trace, unit: Unit) -> Apart | None:
    """What of a device's idle time is start-up, and what it waited for something that is not in the
    trace.
    """
    if unit.device == NO_DEVICE:
        return None
    span = max(unit.end_ns - unit.begin_ns, 1)
    gaps, pieces = trace.fact(host_gaps), trace.fact(segments)
    gaps = gaps[(column(gaps, "process") == unit.process) & (column(gaps, "device") == unit.device)]
    once = int(column(gaps[gaps["doing"].isin(("driver", "allocating"))], "dur").sum())
    own = pieces[
        (column(pieces, "process") == unit.process) & (column(pieces, "device") == unit.device)
    ]
    idle = own[(own["category"] == OTHER_IDLE) & (own["launch"] >= 0)]
    if not len(idle):
        return Apart(once / span, 0.0, 0.0, 0.0, 0, "")
    worst = idle.iloc[int(np.argmax(column(idle, "dur")))]
    ahead = _ahead(own)
    mine = column(idle, "ts") < ahead
    first, held = int(column(idle[mine], "dur").sum()), idle[~mine]
    later = int(column(held, "dur").sum())
    graphs = int(column(held, "dur")[_of_graphs(trace, held)].sum())
    after = _next_kernel(trace, unit, int(worst["ts"]))
    return Apart(once / span, first / span, later / span, graphs / span, int(worst["dur"]), after)


def _of_graphs(trace: Trace, pieces: pd.DataFrame) -> "np.typing.NDArray[np.bool_]":
    """Was what ended each piece launched as a graph?"""
    calls = table(trace, "launches")
    if calls is None:
        return np.zeros(len(pieces), bool)
    return (calls["kind"] == "graph").to_numpy(bool)[column(pieces, "launch")]


def _ahead(pieces: pd.DataFrame) -> int:
    """When the device began its work: before that it can only have worked off what was launched
    before the recording.
    """
    busy = pieces[pieces["category"].isin(BUSY)]
    amount = np.cumsum(column(busy, "dur"))
    return int(column(busy, "ts")[np.searchsorted(amount, EARLY * amount[-1])]) if len(busy) else 0


def _next_kernel(trace: Trace, unit: Unit, instant: int) -> str:
    kernels = rows_on(trace, "kernels", unit)
    later = None if kernels is None else kernels[column(kernels, "ts") >= instant]
    return (
        ""
        if later is None or not len(later)
        else str(later.iloc[int(np.argmin(column(later, "ts")))]["name"])[:60]
    )


def of_start(seen: Apart) -> Verdict:
    """Most of the recorded time is start-up, which says nothing about the rest of the run."""
    headline = f"This trace mostly covers start-up: {percent(seen.start_up)} of its time"
    explanation = "The driver initializes, loads code, or allocates memory for the first time."
    caveat = (
        "Record some steps after a warm-up: `schedule=torch.profiler.schedule(wait=5, warmup=2,"
        " active=5)`."
    )
    return Verdict("unknown", None, headline, explanation, caveat, 0.0)


def of_quiet_trace(ranks: list[ProcessBudget], unit: Unit | None, standing: Standing) -> Verdict:
    """A recorded trace in which nothing recoverable is above its limit, or from which that cannot
    be told.
    """
    shares = {
        e.category: e.share
        for one in ranks
        if unit is not None and one.rank == unit.rank
        for e in one.time_budget
    }
    if shares.get(COMPUTE_OR_HOST, 0.0) > 0.0:
        headline = "No kernels in the trace, although kernels were launched"
        caveat = (
            "Record again with `ProfilerActivity.CUDA` and with permission to read the device's"
            " counters."
        )
        return Verdict("unknown", None, headline, "What the device did is not known.", caveat, 0.0)
    computing = shares.get(DEVICE_COMPUTE, 0.0)
    if unit is not None and unit.device == NO_DEVICE:
        headline = (
            f"No accelerator in the trace; operators compute on the CPU {percent(computing)} of the"
            " time"
        )
        caveat = "To see what the rest is, sample the thread: `perfscope attach PID`."
        return Verdict(
            "unknown", None, headline, "The rest is calling operators, and Python.", caveat, 0.0
        )
    headline = f"the device computes {percent(computing)} of the time"
    if computing >= MOSTLY:
        explanation = "Nothing recoverable is above its limit."
        return Verdict(
            "healthy", None, f"Healthy: {headline}", explanation, None, standing.confidence
        )
    explanation = "No cause of the rest that the trace shows is large enough."
    return Verdict("unknown", None, headline.capitalize(), explanation, None, 0.0)


def with_unexplained(verdict: Verdict, seen: Apart | None) -> Verdict:
    """The verdict with what it leaves unexplained, where that is much of the time; it is only as
    sure as the rest is large.
    """
    if seen is None:
        return verdict
    said = ""
    if seen.ahead >= WORTH_SAYING:
        said += (
            f" {percent(seen.ahead)} of the time lies before the device's first work, which was"
            " launched already: it presumably ran what was launched before the recording."
        )
    if seen.held >= WORTH_SAYING:
        before = f" before {seen.after}" if seen.after else ""
        said += (
            f" {percent(seen.held)} of the time it is idle although its next work is launched"
            f" (longest {ms(seen.longest_ns)}{before}): {_why_held(seen)}"
        )
    if not said:
        return verdict
    explained = max(1.0 - seen.ahead - seen.held, 0.0)
    caveat = f"{verdict.caveat or ''}{said}".strip()
    return msgspec.structs.replace(
        verdict, caveat=caveat, confidence=round(verdict.confidence * explained, 3)
    )


def _why_held(seen: Apart) -> str:
    """What the device does while its next work is launched and does not begin."""
    if seen.in_graphs < MOSTLY * seen.held:
        return (
            "it waits for another stream or a peer, or runs what was not recorded, such as parts of"
            " a graph."
        )
    return (
        f"for {percent(seen.in_graphs / seen.held)} of that the next work is part of a CUDA graph,"
        " most of whose kernels are then not in the trace: the device presumably ran them. To see"
        " them record one window without graphs."
    )
