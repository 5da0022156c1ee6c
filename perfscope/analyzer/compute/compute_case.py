"""The work of the rank that is told of, as the findings of rooflines see it: calls, their share of
the step, places.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import critical_rank, rank_of_process, severity_of
from perfscope.analyzer.budget.rank_budgets import budgets
from perfscope.analyzer.budget.trace_case import ceiling, largest
from perfscope.analyzer.categories import CATEGORIES
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.roofline import roofed_calls
from perfscope.analyzer.compute.work_limits import WorkLimits, work_limits
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.run.launch_origin import forward_ops
from perfscope.analyzer.run.range_table import innermost, modules
from perfscope.analyzer.run.table_access import of_category, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

NO_WORK = (
    "no operator was recorded: attach with `--depth kernels`, or record a trace with"
    " `record_shapes=True`"
)
NO_COSTS = "no operator has FLOPs and bytes: record with `record_shapes=True`"
NO_SHARE = "the window of the profiler has no steps to compare with"
COMPUTING = tuple(category.id for category in CATEGORIES if category.resource == "compute")
PHASES = ("forward", "backward", "optimizer")
MOST_NAMES = 3


@dataclass(frozen=True)
class WorkCase:
    """One device's calls with a cost (`roofed_calls`), what limits its work, its peaks or why there
    are none, and of the step (of a recorded trace: of the whole) the share that it computes and the
    seconds that shares are of.
    """

    trace: Trace
    unit: Unit
    calls: pd.DataFrame
    limits: WorkLimits
    peaks: Peaks | str
    busy_share: float
    seconds: float

    def share(self, ns: float) -> float:
        """What this much of the work is of the step."""
        return self.busy_share * ns / self.limits.whole if self.limits.whole else 0.0

    def ceiling(self, ns: float, limits: Limits) -> Speedup:
        """The most that it gives when this much of the work goes: on a CPU the rest has the caches
        for itself then.
        """
        share = self.share(ns)
        return ceiling(
            share if self.unit.device != NO_DEVICE else share + limits.calmer * (1.0 - share)
        )

    def finding(
        self,
        id: str,
        lost_ns: float,
        limits: Limits,
        *,
        message: Message,
        evidence: list[Evidence],
        actions: list[Action],
        speedup: Speedup | None = None,
        cause: str | None = None,
    ) -> Finding:
        """A finding that costs `lost_ns` of the work; unless said otherwise only the ceiling of the
        gain is known.
        """
        share = self.share(lost_ns)
        return Finding(
            id=id,
            cause=cause,
            severity=severity_of(share, limits),
            rank=self.unit.rank,
            lost_s=round(share * self.seconds, 6),
            share=round(share, 4),
            speedup=speedup or ceiling(share),
            headline=message.headline,
            explanation=message.explanation,
            caveat=message.caveat,
            evidence=evidence,
            actions=actions,
        )

    def place(self, text: str, row: "pd.Series[int] | None" = None, *, ns: float) -> Evidence:
        """Evidence in ms; with a row that has ts and span_ns (or dur), the place on the
        timeline.
        """
        begin = None if row is None else int(row["ts"])
        wide = 0 if row is None else int(row["span_ns"] if "span_ns" in row else row["dur"])
        return Evidence(
            text=text,
            value=round(ns / 1e6, 4),
            unit="ms",
            start_ns=begin,
            end_ns=None if begin is None else begin + wide,
            rank=self.unit.rank,
            process=self.unit.process,
            lane="device" if self.unit.device >= 0 else "host",
            device=self.unit.device,
        )

    def top(self, calls: pd.DataFrame) -> str:
        """The operators that take most of these calls' time."""
        whole = float(calls["work_ns"].sum()) or 1.0
        sums = largest(
            [str(one) for one in calls["name"]], calls["work_ns"].to_numpy(np.int64), MOST_NAMES
        )
        return ", ".join(
            f"`{name.removeprefix('aten::')}` {percent(ns / whole)}" for name, ns in sums
        )

    def blamed(self, calls: pd.DataFrame) -> list[Evidence]:
        """Operators and modules that take most of these calls' time."""
        if not len(calls):
            return []
        longest = calls.iloc[int(np.argmax(calls["work_ns"].to_numpy()))]
        total = int(calls["work_ns"].sum())
        text = (
            f"operators: {self.top(calls)} of it; the longest call takes"
            f" {ms(int(longest['work_ns']))}"
        )
        found = [self.place(text, longest, ns=total)]
        names = places_of(self.trace, calls["op"].to_numpy(np.int64))
        most = largest(names, calls["work_ns"].to_numpy(np.int64), MOST_NAMES)
        if most:
            text = ", ".join(f"{name} {percent(ns / total)}" for name, ns in most)
            found.append(self.place(f"called in {text} of it", ns=most[0][1]))
        return found


def no_work(trace: Trace) -> str | None:
    """Why nothing can be said of FLOPs and bytes, None when it can."""
    if not work_units(trace):
        return NO_WORK
    return NO_COSTS if not len(trace.fact(roofed_calls)) else None


def work_case(trace: Trace, limits: Limits) -> WorkCase | None:
    """Of the critical rank; of the first that was seen at work where that was not. None where its
    budget is not known.
    """
    rank = rank_of_process(trace, critical_rank(trace, limits))
    seen = work_units(trace)
    unit = next((one for one in seen if one.rank == rank), seen[0])
    key = unit.process, unit.device
    limited = trace.fact(work_limits).get(key)
    budget = next((one.time_budget for one in budgets(trace) if one.rank == unit.rank), [])
    if limited is None or not budget:
        return None
    calls = trace.fact(roofed_calls)
    mine = calls[(calls["process"] == unit.process) & (calls["device"] == unit.device)]
    busy = sum(entry.share for entry in budget if entry.category in COMPUTING)
    seconds = sum(entry.seconds for entry in budget)
    return WorkCase(trace, unit, mine, limited, trace.fact(roofs).get(key, ""), busy, seconds)


def places_of(trace: Trace, op: Ints) -> list[str]:
    """For each of these rows of `ops` where it was called: the module (of a backward operator the
    module of its forward) where Python stacks were recorded, else the phase of the step; ""
    unknown.
    """
    ranges, ops = table(trace, "ranges"), table(trace, "ops")
    found = [""] * len(op)
    if ranges is None or ops is None or not len(op):
        return found
    named: pd.DataFrame | None = modules(ranges)
    at = op
    if named is not None and len(named):
        forward = trace.fact(forward_ops)[op]
        at = np.where(forward >= 0, forward, op)
    else:
        named = of_category(ranges, *PHASES)
    if named is None or not len(named):
        return found
    rows, where = np.unique(at, return_inverse=True)
    inside = innermost(named, ops.iloc[rows])[where.ravel()]
    names = (
        named["name"].to_numpy(object)
        if named["category"].iloc[0] == "python"
        else named["category"].to_numpy(object)
    )
    return [str(names[row]) if row >= 0 else "" for row in inside]
