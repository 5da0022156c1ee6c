"""The device of a profiler's trace: its time by category, the names of places, and evidence."""

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import (
    critical_rank,
    rank_of_process,
    severity_of,
    steps_of,
)
from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORIES
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.accelerators.device_use import counted_idle
from perfscope.analyzer.run.accelerators.device_window import device_window
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.nested_rows import outermost_rows
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.range_table import innermost, modules
from perfscope.analyzer.run.table_access import column, recording_of, rows_with_name, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Names: TypeAlias = "pd.Categorical[Any]"
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
    """The unit of the rank that the diagnosis describes, its pieces of `segments`, and its steps.

    `steps` is 0 where none are known; they fill the share `filled` of the span. In the profiling
    window of a recording `part` is how large the losses of one category are without a profiler (see
    `window_part`), and `seconds` the length of the steps that they are shares of; None in the trace
    of a profiler.
    """

    trace: Trace
    unit: Unit
    pieces: pd.DataFrame
    steps: int
    filled: float
    part: float = 1.0
    seconds: float | None = None

    @property
    def span_ns(self) -> int:
        """The time in which the device's work is known; shares of findings are shares of this.

        In a profiling window it is scaled, so that these shares are those of the steady steps.
        """
        known = max(observed_time(self.trace, self.unit).total_ns, 1)
        return max(int(known / max(self.part, 1e-6)), 1)

    def of(self, *categories: str) -> pd.DataFrame:
        """Return the pieces of these categories."""
        return rows_with_name(self.pieces, "category", *categories)

    def timed_evidence(
        self, text: str, row: "pd.Series[int] | None" = None, *, value_ns: float, lane: str
    ) -> Evidence:
        """Return evidence in ms; with a row that has ts and dur, at its place on the timeline."""
        begin = end = None
        if row is not None:
            begin = int(row["ts"])
            end = begin + int(row["dur"])
        return Evidence(
            text=text,
            value=round(value_ns / 1e6, 4),
            unit="ms",
            start_ns=begin,
            end_ns=end,
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
        """Return a finding that costs `lost_ns` of the span; its speedup is only a ceiling."""
        share = lost_ns / self.span_ns
        in_run = self.seconds is None
        lost_s = lost_ns / 1e9 if self.seconds is None else share * self.seconds
        return Finding(
            id=id,
            cause=cause,
            severity=severity_of(share, limits),
            processes=[self.unit.process],
            scope="run" if in_run else "steps",
            lost_s=round(lost_s, 6),
            share=round(share, 4),
            speedup=ceiling(share),
            headline=message.headline,
            explanation=message.explanation,
            caveat=message.caveat,
            evidence=evidence,
            actions=actions,
        )


def missing_device(trace: Trace) -> Unmet | None:
    """Return why a device cannot be analyzed, None when its kernels or copies are in the trace."""
    if not trace.has_profiled_work:
        window = trace.fact(device_window)
        reason = WANTS_TRACE if window is None else window.why_not
        return Unmet("no-kernels", reason)
    if any(unit.device != NO_DEVICE for unit in units(trace)):
        return None
    calls = table(trace, "launches")
    if calls is not None and bool((calls["kind"] == "kernel").any()):
        return Unmet("no-kernels", NO_KERNELS)
    return Unmet("no-device", NO_ACCELERATOR)


def case_of(trace: Trace, limits: Limits, category: str | None = None) -> Case:
    """Return the case of the rank whose budget is shown; a profiler's trace has one.

    In the profiling window of a recording losses of a `category` are as large as without the
    profiler.
    """
    recording = trace.fact(recording_of)
    shown = trace if recording is None else recording
    rank = rank_of_process(shown, critical_rank(shown, limits))
    known = units(trace)
    case = case_of_unit(trace, next((unit for unit in known if unit.rank == rank), known[0]))
    if recording is None:
        return case
    rows = steps_of(recording, case.unit.process)
    if not len(rows):
        return replace(case, part=counted_part(case, recording, category))
    return case_in_recording(case, rows, category)


def counted_part(case: Case, recording: Trace, category: str | None) -> float:
    """Return how large the losses of a category are without a profiler, without steady steps.

    By the driver's counters the device is idle for so long, in units of its idle time in the
    window; 1 where that is not known, and for what the device does.
    """
    counted = counted_idle(recording, case.unit.process)
    idle = [other.id for other in CATEGORIES if not other.on_device]
    in_window = total(case.of(*idle)) / max(observed_time(case.trace, case.unit).total_ns, 1)
    if counted is None or category not in idle or not in_window:
        return 1.0
    return min((counted.share + counted.error) / in_window, 1.0)


def case_in_recording(case: Case, rows: pd.DataFrame, category: str | None) -> Case:
    """Return the case of a profiling window, with what its losses are in steady steps, `rows`."""
    whole_s = float(column(rows, "dur").sum()) / 1e9
    part = 1.0 if category is None else window_part(case, rows, category)
    return replace(case, part=part, seconds=whole_s)


def window_part(case: Case, rows: pd.DataFrame, category: str) -> float:
    """Return the share of a category in the steady steps, in units of its share in the window.

    A profiler slows the host, and with it what the device waits for.
    """
    in_window = total(case.of(category)) / max(observed_time(case.trace, case.unit).total_ns, 1)
    in_steps = float(column(rows, category).sum()) / max(float(column(rows, "dur").sum()), 1.0)
    return in_steps / in_window if in_window > 0.0 else 1.0


def case_of_unit(trace: Trace, unit: Unit) -> Case:
    """Return the case of one device."""
    pieces = trace.fact(pieces_by_unit)[unit.process, unit.device]
    steps = fact_rows(trace, steady_budget, unit.process)
    span_ns = max(observed_time(trace, unit).total_ns, 1)
    filled = min(float(column(steps, "dur").sum()) / span_ns, 1.0)
    return Case(trace, unit, pieces, len(steps), filled)


def pieces_by_unit(trace: Trace) -> dict[tuple[int, int], pd.DataFrame]:
    """Return the `segments` of each process and device."""
    return {
        (unit.process, unit.device): rows_on_device(
            fact_rows(trace, segments, unit.process), unit.device
        )
        for unit in units(trace)
    }


def ceiling(share: float) -> Speedup:
    """Return the speedup of removing this share of the time, of which only the ceiling is known.

    What would take its place is not known.
    """
    return Speedup(None, None, round(1.0 / max(1.0 - share, 0.01), 3))


def total(pieces: pd.DataFrame) -> int:
    """Return the nanoseconds of these pieces."""
    return int(column(pieces, "dur").sum())


def mean_per_step(case: Case, ns: float) -> float:
    """Return what a step has of a time in the whole span; all of it where no steps are known.

    What happens outside of steps is not divided among them: it is as large a share of a step as of
    the span.
    """
    return ns * case.filled / case.steps if case.steps else ns


def number_per_step(case: Case, count: float) -> float:
    """Return a number of things or bytes per step; all where no steps are known."""
    return count / case.steps if case.steps else count


def op_names(trace: Trace, launches: Ints, *, outermost: bool) -> Names:
    """Return the operator around each of these launches (rows, -1 none).

    That is the innermost operator, or the outermost.
    """
    ops, calls = table(trace, "ops"), table(trace, "launches")
    if ops is None or calls is None or not len(ops):
        return no_names(len(launches))
    row = np.where(launches >= 0, column(calls, "op")[launches], -1)
    if outermost:
        row = np.where(row >= 0, outermost_rows(column(ops, "parent"))[row], -1)
    return names_at(ops["name"], row)


def module_names(trace: Trace, launches: Ints) -> Names:
    """Return the module in whose call each of these launches was made.

    It is unknown where Python stacks were not recorded.
    """
    ranges, calls = table(trace, "ranges"), table(trace, "launches")
    if ranges is None or calls is None:
        return no_names(len(launches))
    called = modules(ranges)
    known = np.flatnonzero(launches >= 0)
    if not len(called) or not len(known):
        return no_names(len(launches))
    row = np.full(len(launches), -1, np.int64)
    row[known] = innermost(called, calls[["process", "tid", "ts"]].iloc[launches[known]])
    return names_at(called["name"], row)


def no_names(count: int) -> Names:
    """Return so many missing names."""
    return pd.Categorical.from_codes(
        np.full(count, -1, np.int64), categories=pd.Index([], dtype=str)
    )


def names_at(names: "pd.Series[str]", rows: Ints) -> Names:
    """Return the names (a column of categories) at these rows, none for row -1."""
    codes = np.append(names.cat.codes.to_numpy(), -1)
    found: Names = pd.Categorical.from_codes(codes[rows], categories=names.cat.categories)
    return found


def names_with_most_time(
    names: "Names | list[str]", dur: Ints, most: int = 3
) -> list[tuple[str, int]]:
    """Return the names with the most time in sum, with that time; missing and empty ones are left
    out.
    """
    coded = names if isinstance(names, pd.Categorical) else pd.Categorical(names)
    known = coded.codes >= 0
    codes, texts = coded.codes[known], coded.categories.tolist()
    sum_ns = np.bincount(codes, weights=dur[known], minlength=len(texts))
    occurs = np.bincount(codes, minlength=len(texts)) > 0
    ordered = np.argsort(-sum_ns, kind="stable")
    return [(texts[code], int(sum_ns[code])) for code in ordered[occurs[ordered]] if texts[code]][
        :most
    ]
