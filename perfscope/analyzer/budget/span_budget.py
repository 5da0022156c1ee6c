"""The time of each rank of a profiler's trace by category, in all or in given intervals."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.device_segments import CODES, segments, whole_segments
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.accelerators.device_activity import rows_on_device
from perfscope.analyzer.run.budget_units import Unit, first_units
from perfscope.analyzer.run.process_rows import RowsByCode, fact_rows
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Instants:
    """Instants, each in the time of one unit, and where they are in a table of pieces."""

    at: Ints
    row: Ints
    """The row after the last piece of the unit that began by then."""
    in_unit: NDArray[np.bool_]
    """Whether a piece of the unit began by then."""


def span_budget(trace: Trace) -> pd.DataFrame:
    """Return the time of each rank by category, where the work of its device is known.

    One row per rank: process, device, rank, then nanoseconds (int64) of each category, which sum to
    its `observed_time`.
    """
    pieces = trace.fact(segments)
    keys = ["rank", "process", "device"]
    sums = pieces.groupby([*keys, "category"], observed=True)["dur"].sum().unstack(fill_value=0)
    sums.columns = pd.Index([str(name) for name in sums.columns])
    return sums.reindex(columns=list(CATEGORY_IDS), fill_value=0).astype("int64").reset_index()


def category_times(trace: Trace, unit: Unit, begin: Ints, end: Ints) -> dict[str, Ints]:
    """Return the ns of each category in each interval [begin, end) of one unit.

    They are zero outside its span.
    """
    pieces = fact_rows(trace, whole_segments, unit.process)
    return amounts_in(rows_on_device(pieces, unit.device), begin, end)


def category_times_of_rows(trace: Trace, rows: pd.DataFrame) -> dict[str, Ints]:
    """Return the ns of each category in each row (`process`, `ts`, `dur`) of any process.

    A process with several devices is described by the first of them.
    """
    pieces = trace.fact(whole_segments)
    piece_ts = column(pieces, "ts")
    by_process = RowsByCode(rows.reset_index(drop=True))
    begin = column(rows, "ts")
    end = begin + np.maximum(column(rows, "dur"), 0)
    ends = [Instants(at, *(np.zeros(len(at), kind) for kind in (int, bool))) for at in (begin, end)]
    for unit in first_units(trace).values():
        at = by_process.rows(unit.process).index.to_numpy()
        of_unit = rows_on_device(fact_rows(trace, whole_segments, unit.process), unit.device)
        if not len(at) or not len(of_unit):
            continue
        first = int(of_unit.index[0])
        ts = piece_ts[first : first + len(of_unit)]
        for instants in ends:
            begun = np.searchsorted(ts, instants.at[at], side="right")
            instants.row[at], instants.in_unit[at] = first + begun, begun > 0
    return amounts_between(pieces, *ends)


def amounts_in(pieces: pd.DataFrame, begin: Ints, end: Ints) -> dict[str, Ints]:
    """Return the ns that the pieces of each category of one unit have in each interval."""
    ts = column(pieces, "ts")
    ends = []
    for at in (begin, np.maximum(begin, end)):
        begun = np.searchsorted(ts, at, side="right")
        ends.append(Instants(at, begun, begun > 0))
    return amounts_between(pieces, *ends)


def amounts_between(pieces: pd.DataFrame, begin: Instants, end: Instants) -> dict[str, Ints]:
    """Return the ns of each category between two instants of the same unit.

    The pieces of a unit do not overlap and are together, in order of time.
    """
    dur, code = column(pieces, "dur"), pieces["category"].cat.codes.to_numpy()
    piece_end = column(pieces, "ts") + dur
    amounts = {}
    for name in CATEGORY_IDS:
        is_category = code == CODES[name]
        total = np.concatenate(([0], np.cumsum(np.where(is_category, dur, 0))))
        before = []
        for instants in (begin, end):
            last = np.where(instants.in_unit, instants.row - 1, 0)
            is_open = instants.in_unit & np.append(is_category, False)[last]
            left = np.maximum(np.append(piece_end, 0)[last] - instants.at, 0)
            before.append(total[instants.row] - np.where(is_open, left, 0))
        amounts[name] = np.asarray(before[1] - before[0], np.int64)
    return amounts
