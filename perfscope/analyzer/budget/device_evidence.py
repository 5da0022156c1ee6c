"""What is known of the device of a process while its loop runs: by a profiling window, by the
device's own clock around waits for data, and by the driver's counters.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.span_budget import category_times, span_budget
from perfscope.analyzer.budget.thread_work import waiting_calls
from perfscope.analyzer.budget.trace_budget import traced_budget
from perfscope.analyzer.budget.untimed_calls import share_of_untimed_calls
from perfscope.analyzer.categories import (
    CATEGORIES,
    CATEGORY_IDS,
    HOST_BOUND,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.analyzer.run.accelerators.device_use import CountedIdle, counted_idle
from perfscope.analyzer.run.accelerators.device_window import device_window, window_trace
from perfscope.analyzer.run.accelerators.host_copies import device_idle_in_waits
from perfscope.analyzer.run.budget_units import Unit, first_units
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, table, uses_device
from perfscope.traces.intervals import EMPTY, Ints, Spans, covered, length_ns, merged
from perfscope.traces.trace import Trace

BUSY = tuple(category.id for category in CATEGORIES if category.on_device)
HOST_CAUSES = (SYNC_WAIT, HOST_BOUND, OTHER_IDLE)
"""Why a device is idle, besides waits for data and checkpoints, which the probe times."""


@dataclass(frozen=True)
class WindowTimes:
    """What the device did in a profiling window, by category of the time budget.

    `whole_steps`: `amounts` are nanoseconds per step; else they are shares of the time. `idle` are
    the shares of HOST_CAUSES in what is idle for one of them, which sum to 1.
    `host_waits`: how long the loop's thread is in calls that wait for the device, like `amounts`.
    `untimed_calls`: the share in which it calls operators of the time that the probe does not time,
    None where that is not known.
    """

    whole_steps: bool
    amounts: dict[str, float]
    idle: dict[str, float]
    host_waits: float
    untimed_calls: float | None = None

    def busy_in(self, dur: Ints) -> dict[str, Ints]:
        """Return the time of each category in which the device works, for steps of this length.

        The device works as long for every step. What does not fit into a step, because the host
        only launches in it and waits in the next one, is done in others.
        """
        whole = sum(self.amounts[name] for name in BUSY)
        if not whole:
            return dict.fromkeys(BUSY, np.zeros(len(dur), np.int64))
        busy = np.minimum(dur, level_in_steps(dur, whole)) if self.whole_steps else dur * whole
        busy = np.minimum(busy, dur)
        return {
            name: np.floor(busy * (self.amounts[name] / whole)).astype(np.int64) for name in BUSY
        }

    def host_waits_in(self, dur: Ints) -> Ints:
        """Return how long the host waits for the device in steps of this length, at most."""
        waits = np.full(len(dur), self.host_waits) if self.whole_steps else dur * self.host_waits
        waits_ns: Ints = np.floor(np.minimum(waits, dur)).astype(np.int64)
        return waits_ns


def level_in_steps(dur: Ints, mean: float) -> float:
    """Return the length to which steps are cut so that `mean` is left of each on average.

    It is `mean` itself where no step is shorter, and the longest step where all are too short.
    """
    ordered = np.sort(dur).astype(np.float64)
    count = len(ordered)
    shorter = np.concatenate(([0.0], np.cumsum(ordered)[:-1]))
    levels = (count * mean - shorter) / (count - np.arange(count))
    fits = np.flatnonzero(levels <= ordered)
    return float(levels[fits[0]] if len(fits) else ordered[-1])


@dataclass(frozen=True)
class DeviceEvidence:
    """What is known of the device of one process; each field is None where it is not known.

    `idle_in_waits`: the share of waits for the loader in which it was idle, by its own clock.
    """

    window: WindowTimes | None
    idle_in_waits: float | None
    counted: CountedIdle | None

    @property
    def times_waits(self) -> bool:
        """Whether it is known how much of the waits for data the device was idle."""
        return not (self.window is None and self.idle_in_waits is None and self.counted is None)

    @property
    def times_work(self) -> bool:
        """Whether it is known for how long the device works, whatever the host does."""
        return not (self.window is None and self.counted is None)


def timed_devices(trace: Trace) -> dict[int, DeviceEvidence]:
    """Return the evidence on the device of each process with steps; empty without a device."""
    if trace.is_profiler_trace or not uses_device(trace):
        return {}
    processes = np.unique(column(trace.fact(steps), "process")).tolist()
    windows = trace.fact(window_times)
    return {
        process: DeviceEvidence(
            windows.get(process),
            device_idle_in_waits(trace, process, FEWEST_SAMPLES),
            counted_idle(trace, process),
        )
        for process in processes
    }


def window_times(trace: Trace) -> dict[int, WindowTimes]:
    """Return what the device of each process did in its profiling window.

    A process with several devices is described by the first.
    """
    window = trace.fact(window_trace)
    if window is None:
        return times_without_host(trace)
    rows = window.fact(steps)
    by_step = traced_budget(window, rows) if len(rows) else rows
    spans = window.fact(span_budget)
    found = {}
    for process, unit in first_units(window).items():
        of_process = by_step[column(by_step, "process") == process]
        tids = threads_of_loop(trace, process)
        waits = device_waits(window, process, tids)
        if len(of_process):
            times = times_per_step(of_process, waits, device_times(trace, unit))
        else:
            of_unit = (column(spans, "process") == process) & (
                column(spans, "device") == unit.device
            )
            times = shares_of_window(spans[of_unit].iloc[0], unit, waits)
        untimed = share_of_untimed_calls(window, process, tids)
        found[process] = replace(times, untimed_calls=untimed)
    return found


def threads_of_loop(trace: Trace, process: int) -> Ints:
    """Return the threads of a process that run its steps."""
    recorded = trace.fact(steps)
    return np.unique(column(recorded, "tid")[column(recorded, "process") == process])


def times_without_host(trace: Trace) -> dict[int, WindowTimes]:
    """Return what the devices did for steps during which they worked on earlier ones."""
    window = trace.fact(device_window)
    if window is None or window.work is None:
        return {}
    idle = dict.fromkeys(HOST_CAUSES, 0.0)
    return {
        process: WindowTimes(True, device_times(trace, unit) | idle, idle_shares(idle), 0.0)
        for process, unit in first_units(window.work).items()
    }


def device_waits(window: Trace, process: int, tids: Ints) -> Spans:
    """Return when the threads of a process's loop are in calls that wait for a device."""
    calls = table(window, "launches")
    if calls is None:
        return EMPTY
    in_loop = (column(calls, "process") == process) & np.isin(column(calls, "tid"), tids)
    waits = waiting_calls(window, calls[in_loop])
    return merged((waits.begin, waits.end))


def device_times(trace: Trace, unit: Unit) -> dict[str, float]:
    """Return the mean time of each category in which the device works for a step of the window.

    Empty where it is not known which work belongs to which step. Its work may be done after the
    steps: then it is more than what the device does during them.
    """
    window = trace.fact(device_window)
    times = None if window is None else window.work_times.get(unit.process)
    if window is None or window.work is None or times is None:
        return {}
    amounts = category_times(window.work, unit, times.begin, times.end)
    return {name: float(np.average(amounts[name], weights=times.weights)) for name in BUSY}


def times_per_step(rows: pd.DataFrame, waits: Spans, work: dict[str, float]) -> WindowTimes:
    """Return the mean times of the steps of a window; `work` are those of the device's work."""
    amounts = {name: float(column(rows, name).mean()) for name in (*BUSY, *HOST_CAUSES)} | work
    begin = column(rows, "ts")
    in_steps = covered(waits, begin, begin + column(rows, "dur"))
    return WindowTimes(True, amounts, idle_shares(amounts), float(np.mean(in_steps)))


def shares_of_window(span: "pd.Series[int]", unit: Unit, waits: Spans) -> WindowTimes:
    """Return the shares of the categories in a window without whole steps."""
    whole_ns = max(sum(int(span[name]) for name in CATEGORY_IDS), 1)
    amounts = {name: int(span[name]) / whole_ns for name in (*BUSY, *HOST_CAUSES)}
    lasted_ns = max(unit.end_ns - unit.begin_ns, 1)
    return WindowTimes(False, amounts, idle_shares(amounts), length_ns(waits) / lasted_ns)


def idle_shares(amounts: dict[str, float]) -> dict[str, float]:
    """Return the share of each of HOST_CAUSES in their sum; without any it is not known why."""
    whole = sum(amounts[name] for name in HOST_CAUSES)
    if not whole:
        return dict.fromkeys(HOST_CAUSES, 0.0) | {OTHER_IDLE: 1.0}
    return {name: amounts[name] / whole for name in HOST_CAUSES}
