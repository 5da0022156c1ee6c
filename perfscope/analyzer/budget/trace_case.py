"""The device of a recorded trace as the findings see it: its time by category, names of places,
evidence that can be shown.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import critical_rank, rank_of_process, severity_of
from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.range_table import innermost, modules
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit, units
from perfscope.traces.trace import Trace

WANTS_TRACE = (
    "needs the device's own times: a trace by torch.profiler or Nsight Systems, `perfscope analyze"
    " TRACE`"
)
NO_ACCELERATOR = (
    "no accelerator is in the trace: on a CPU operators compute on the thread that calls them"
)
NO_KERNELS = "kernels were launched but none is in the trace, so what the device did is not known"


@dataclass(frozen=True)
class Case:
    """The rank that the answer is told of: its unit, its pieces of `segments`, and its steps (0:
    none known).
    """

    trace: Trace
    unit: Unit
    pieces: pd.DataFrame
    steps: int

    @property
    def span_ns(self) -> int:
        """From the first to the last event of the rank; shares of findings are shares of this."""
        return max(self.unit.end_ns - self.unit.begin_ns, 1)

    def of(self, *categories: str) -> pd.DataFrame:
        """The pieces of these categories."""
        return self.pieces[self.pieces["category"].isin(categories)]

    def place(
        self, text: str, row: "pd.Series[int] | None" = None, *, value_ns: float, lane: str
    ) -> Evidence:
        """Evidence in ms; with a row that has ts and dur, the place on the timeline."""
        begin = None if row is None else int(row["ts"])
        return Evidence(
            text=text,
            value=round(value_ns / 1e6, 4),
            unit="ms",
            start_ns=begin,
            end_ns=None if row is None or begin is None else begin + int(row["dur"]),
            rank=self.unit.rank,
            process=self.unit.process,
            lane=lane,
            device=self.unit.device,
        )

    def finding(
        self,
        id: str,
        lost_ns: int,
        limits: Limits,
        *,
        message: Message,
        evidence: list[Evidence],
        actions: list[Action],
        cause: str | None = None,
    ) -> Finding:
        """A finding of this rank that costs `lost_ns` of its span; of the gain only the ceiling is
        known.
        """
        share = lost_ns / self.span_ns
        return Finding(
            id=id,
            cause=cause,
            severity=severity_of(share, limits),
            rank=self.unit.rank,
            lost_s=round(lost_ns / 1e9, 6),
            share=round(share, 4),
            speedup=ceiling(share),
            headline=message.headline,
            explanation=message.explanation,
            caveat=message.caveat,
            evidence=evidence,
            actions=actions,
        )


def no_device(trace: Trace) -> str | None:
    """Why nothing can be said of a device, None when its kernels or copies are there."""
    if not trace.has_profiled_work:
        return WANTS_TRACE
    if any(unit.device != NO_DEVICE for unit in units(trace)):
        return None
    calls = table(trace, "launches")
    return (
        NO_KERNELS
        if calls is not None and bool((calls["kind"] == "kernel").any())
        else NO_ACCELERATOR
    )


def case_of(trace: Trace, limits: Limits) -> Case:
    """The case of the rank whose budget is told; a recorded trace has one."""
    rank = rank_of_process(trace, critical_rank(trace, limits))
    mine = units(trace)
    return case_of_unit(trace, next((unit for unit in mine if unit.rank == rank), mine[0]))


def case_of_unit(trace: Trace, unit: Unit) -> Case:
    """The case of one device."""
    own = trace.fact(pieces_by_unit)[unit.process, unit.device]
    rows = trace.fact(steady_budget)
    return Case(
        trace, unit, own, int((column(rows, "process") == unit.process).sum()) if len(rows) else 0
    )


def pieces_by_unit(trace: Trace) -> dict[tuple[int, int], pd.DataFrame]:
    """The `segments` of each process and device."""
    pieces, found = trace.fact(segments), units(trace)
    if len(found) == 1:
        return {(found[0].process, found[0].device): pieces}
    process, device = column(pieces, "process"), column(pieces, "device")
    return {
        (one.process, one.device): pieces[(process == one.process) & (device == one.device)]
        for one in found
    }


def ceiling(share: float) -> Speedup:
    """Only the most that removing this share of the time can give: what then stands in its place is
    not known.
    """
    return Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3))


def total(pieces: pd.DataFrame) -> int:
    """Nanoseconds of these pieces."""
    return int(column(pieces, "dur").sum())


def a_step(case: Case, ns: float) -> float:
    """That time for each step; all of it where no steps are known."""
    return ns / case.steps if case.steps else ns


def op_names(
    trace: Trace, launches: "np.ndarray[tuple[int], np.dtype[np.int64]]", *, outermost: bool
) -> list[str]:
    """The operator around each of these launches (rows, -1 none), "" for none: the innermost, or
    the one around them all.
    """
    ops, calls = table(trace, "ops"), table(trace, "launches")
    if ops is None or calls is None or not len(ops):
        return [""] * len(launches)
    at = np.where(launches >= 0, column(calls, "op")[launches], -1)
    parent = column(ops, "parent")
    while outermost and bool((parent[at[at >= 0]] >= 0).any()):
        up = np.where(at >= 0, parent[at], -1)
        at = np.where(up >= 0, up, at)
    return spelled(ops["name"], at)


def module_names(trace: Trace, launches: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> list[str]:
    """The module in whose call each of these launches was made, "" for none or where Python stacks
    were not recorded.
    """
    ranges, calls = table(trace, "ranges"), table(trace, "launches")
    found = [""] * len(launches)
    if ranges is None or calls is None:
        return found
    called = modules(ranges)
    known = np.flatnonzero(launches >= 0)
    if not len(called) or not len(known):
        return found
    told = np.full(len(launches), -1, np.int64)
    told[known] = innermost(called, calls[["process", "tid", "ts"]].iloc[launches[known]])
    return spelled(called["name"], told)


def spelled(names: "pd.Series[str]", at: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> list[str]:
    """The names (categories) at these rows, "" for row -1."""
    codes = np.append(names.cat.codes.to_numpy(), -1)
    texts = np.append(names.cat.categories.to_numpy(object), "")
    found: list[str] = texts[codes[at]].tolist()
    return found


def largest(
    names: list[str], dur: "np.ndarray[tuple[int], np.dtype[np.int64]]", most: int = 3
) -> list[tuple[str, int]]:
    """The names with most time in sum, with it; what has no name is left out."""
    sums = pd.Series(dur).groupby(np.array(names, object)).sum().sort_values(ascending=False)
    return [(str(name), int(ns)) for name, ns in sums.items() if name][:most]
