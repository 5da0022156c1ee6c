"""When a device does the work that the steps of a window launch: it may be steps behind the host.

A window is cut where the host's steps begin and end. What the device does in that time is what was
launched before, so it says little of a step where the host runs ahead.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.accelerators.typical_steps import weights_of_steps
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

NO_TIMES: Ints = np.empty(0, np.int64)


@dataclass(frozen=True)
class StepWork:
    """When the device worked for each of some steps, ns, and how much each step counts."""

    begin: Ints
    end: Ints
    weights: NDArray[np.float64]


def step_work(trace: Trace, process: int, used: pd.DataFrame) -> StepWork | None:
    """Return when the device did what these steps launched; it may be steps behind the host.

    A step's work lasts until the next one's begins. Empty where a step launched nothing, None where
    the steps are not typical.
    """
    weights = weights_of_steps(trace, process, used)
    launches = table(trace, "launches")
    if weights is None:
        return None
    if launches is None or not len(used):
        return StepWork(NO_TIMES, NO_TIMES, weights)
    first = column(used, "ts")
    last = first + column(used, "dur") + column(used, "cut")
    begin, end = work_of_launches(launched_work(trace), len(launches))
    ts = column(launches, "ts")
    of_process = (column(launches, "process") == process) & (end > 0)
    begins, ends = np.zeros(len(used), np.int64), np.zeros(len(used), np.int64)
    for number, (from_ns, to_ns) in enumerate(zip(first, last, strict=True)):
        launched = of_process & (ts >= from_ns) & (ts < to_ns)
        if not launched.any():
            return StepWork(NO_TIMES, NO_TIMES, weights)
        begins[number], ends[number] = begin[launched].min(), end[launched].max()
    begins = np.maximum.accumulate(begins)
    return StepWork(begins, np.append(begins[1:], max(ends.max(), begins[-1])), weights)


def launched_work(trace: Trace) -> pd.DataFrame:
    """Return launch, begin and duration of all work of devices."""
    frames = [frame for name in ("kernels", "copies") if (frame := table(trace, name)) is not None]
    return pd.concat([frame[["launch", "ts", "dur"]] for frame in frames], ignore_index=True)


def work_of_launches(kernels: pd.DataFrame, count: int) -> tuple[Ints, Ints]:
    """Return when (ns) the kernels of each row of `launches` begin and end; 0 without any."""
    row, ts = column(kernels, "launch"), column(kernels, "ts")
    known = row >= 0
    begin = np.full(count, np.iinfo(np.int64).max)
    end = np.zeros(count, np.int64)
    np.minimum.at(begin, row[known], ts[known])
    np.maximum.at(end, row[known], (ts + column(kernels, "dur"))[known])
    return np.where(end > 0, begin, 0), end
