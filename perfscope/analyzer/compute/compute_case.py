"""The work of the critical rank's device, for the findings of the roofline: its calls, what limits
them, their share of the time budget, and where they were called.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import critical_rank, rank_of_process, severity_of
from perfscope.analyzer.budget.rank_budgets import budget_over, budgets
from perfscope.analyzer.budget.trace_case import ceiling, names_with_most_time
from perfscope.analyzer.categories import CATEGORIES, DEVICE_COMPUTE
from perfscope.analyzer.compute.device_peaks import roofs
from perfscope.analyzer.compute.roofline import roofed_calls
from perfscope.analyzer.compute.work_limits import WorkLimits, work_limits
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.diagnosis import Action, BudgetEntry, Evidence, Finding, Message, Speedup
from perfscope.analyzer.hardware.peaks import Peaks
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_window import device_window
from perfscope.analyzer.run.accelerators.launch_origin import forward_ops
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit
from perfscope.analyzer.run.range_table import innermost, modules
from perfscope.analyzer.run.table_access import rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

NO_OPERATORS: Final = Unmet(
    "no-kernels",
    "no operator was recorded: attach with `--depth kernels`, or record a trace with"
    " `record_shapes=True`",
)
NO_COSTS: Final = Unmet(
    "no-kernels", "no operator has FLOPs and bytes: record with `record_shapes=True`"
)
NO_SHARE: Final = Unmet(
    "too-short", "no steps were recorded around the profiling window to compare it with"
)
COMPUTING: Final = tuple(category.id for category in CATEGORIES if category.resource == "compute")
PHASES: Final = ("forward", "backward", "optimizer")
MOST_NAMES: Final = 3


@dataclass(frozen=True)
class WorkCase:
    """The work of one device.

    `calls` are its calls with a cost (`roofed_calls`), `limits` what limits its work, `peaks` its
    peaks or why they are unknown. `busy_share` is the share of the time budget in which it
    computes, `seconds` the length of that budget.
    """

    trace: Trace
    unit: Unit
    calls: pd.DataFrame
    limits: WorkLimits
    peaks: Peaks | str
    busy_share: float
    seconds: float

    @property
    def is_cpu(self) -> bool:
        """Whether the work runs on the CPU."""
        return self.unit.device == NO_DEVICE

    def share(self, work_ns: float) -> float:
        """Return the share of the time budget that this much work takes."""
        return self.busy_share * work_ns / self.limits.whole if self.limits.whole else 0.0

    def ceiling(self, work_ns: float, limits: Limits) -> Speedup:
        """Return the largest speedup from saving this much work.

        On a CPU the remaining work runs faster too, because it has the caches for itself.
        """
        share = self.share(work_ns)
        if self.is_cpu:
            share += limits.most_free_cache_saving * (1.0 - share)
        return ceiling(share)

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
        """Return a finding that costs `lost_ns` of the work.

        Without `speedup`, it is the upper bound: the speedup if the whole loss were removed.
        """
        share = self.share(lost_ns)
        return Finding(
            id=id,
            cause=cause,
            severity=severity_of(share, limits),
            lost_s=round(share * self.seconds, 6),
            share=round(share, 4),
            speedup=speedup or ceiling(share),
            headline=message.headline,
            explanation=message.explanation,
            caveat=message.caveat,
            evidence=evidence,
            actions=actions,
            processes=[self.unit.process],
            devices=[] if self.is_cpu else [self.unit.device],
            scope="steps" if budget_over(self.trace) == "steps" else "run",
        )

    def timed_evidence(
        self, text: str, row: "pd.Series[int] | None" = None, *, ns: float
    ) -> Evidence:
        """Return evidence in ms; a row with ts and span_ns (or dur) gives its interval."""
        begin_ns = end_ns = None
        if row is not None:
            begin_ns = int(row["ts"])
            end_ns = begin_ns + int(row["span_ns"] if "span_ns" in row else row["dur"])
        return Evidence(
            text=text,
            value=round(ns / 1e6, 4),
            unit="ms",
            start_ns=begin_ns,
            end_ns=end_ns,
            process=self.unit.process,
            lane="host" if self.is_cpu else "device",
            device=self.unit.device,
        )

    def top_operators(self, calls: pd.DataFrame) -> str:
        """Return the operators that take most of the time of these calls, with their shares."""
        whole_ns = float(calls["work_ns"].sum()) or 1.0
        names = [str(name) for name in calls["name"]]
        sums = names_with_most_time(names, calls["work_ns"].to_numpy(np.int64), MOST_NAMES)
        return ", ".join(
            f"`{name.removeprefix('aten::')}` {percent(ns / whole_ns)}" for name, ns in sums
        )

    def origin_evidence(self, calls: pd.DataFrame) -> list[Evidence]:
        """Return the operators and the modules that take most of the time of these calls."""
        if not len(calls):
            return []
        work_ns = calls["work_ns"].to_numpy(np.int64)
        longest = calls.iloc[int(np.argmax(work_ns))]
        total_ns = int(work_ns.sum())
        text = (
            f"operators: {self.top_operators(calls)}; the longest call takes"
            f" {ms(int(longest['work_ns']))}"
        )
        found = [self.timed_evidence(text, longest, ns=total_ns)]
        modules_called = call_sites(self.trace, calls["op"].to_numpy(np.int64))
        most = names_with_most_time(modules_called, work_ns, MOST_NAMES)
        if most:
            text = ", ".join(f"{name} {percent(ns / total_ns)}" for name, ns in most)
            found.append(self.timed_evidence(f"called in {text}", ns=most[0][1]))
        return found


def no_costed_work(trace: Trace) -> Unmet | None:
    """Return why FLOPs and bytes of the work are unknown, None when they are known."""
    if not work_units(trace):
        window = trace.fact(device_window)
        return NO_OPERATORS if window is None else Unmet("no-kernels", window.why_not)
    return NO_COSTS if not len(trace.fact(roofed_calls)) else None


def no_work_case(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why there is no `work_case`, None when there is one."""
    unmet = no_costed_work(trace)
    if unmet is not None:
        return unmet
    return NO_SHARE if work_case(trace, limits) is None else None


def work_case(trace: Trace, limits: Limits) -> WorkCase | None:
    """Return the work of the critical rank, else of the first rank whose work was recorded.

    None where the time budget of that rank is unknown.
    """
    rank = rank_of_process(trace, critical_rank(trace, limits))
    recorded = work_units(trace)
    unit = next((unit for unit in recorded if unit.rank == rank), recorded[0])
    key = unit.process, unit.device
    limited = trace.fact(work_limits).get(key)
    budget = next((entry.time_budget for entry in budgets(trace) if entry.rank == unit.rank), [])
    if limited is None or not budget:
        return None
    calls = trace.fact(roofed_calls)
    of_unit = (calls["process"] == unit.process) & (calls["device"] == unit.device)
    return WorkCase(
        trace=trace,
        unit=unit,
        calls=calls[of_unit],
        limits=limited,
        peaks=trace.fact(roofs).get(key, ""),
        busy_share=busy_share(unit, budget),
        seconds=sum(entry.seconds for entry in budget),
    )


def busy_share(unit: Unit, budget: list[BudgetEntry]) -> float:
    """Return the share of a time budget in which the unit computes.

    What the host computes, or may compute, is not the work of a device.
    """
    computing = COMPUTING if unit.device == NO_DEVICE else (DEVICE_COMPUTE,)
    return sum(entry.share for entry in budget if entry.category in computing)


def call_sites(trace: Trace, op: Ints) -> list[str]:
    """Return where each of these rows of `ops` was called, "" where that is unknown.

    With Python stacks it is the module; for a backward operator, the module of its forward.
    Otherwise it is the phase of the step.
    """
    ranges, ops = table(trace, "ranges"), table(trace, "ops")
    unknown = [""] * len(op)
    if ranges is None or ops is None or not len(op):
        return unknown
    regions: pd.DataFrame | None = modules(ranges)
    located_op = op
    if regions is not None and len(regions):
        forward = trace.fact(forward_ops)[op]
        located_op = np.where(forward >= 0, forward, op)
    else:
        regions = rows_of_category(ranges, *PHASES)
    if regions is None or not len(regions):
        return unknown
    rows, position = np.unique(located_op, return_inverse=True)
    region_of_op = innermost(regions, ops.iloc[rows])[position.ravel()]
    has_modules = regions["category"].iloc[0] == "python"
    names = regions["name" if has_modules else "category"].to_numpy(object)
    return [str(names[region]) if region >= 0 else "" for region in region_of_op]
