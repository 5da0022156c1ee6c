"""What is known of the device of a process while its loop runs: by a profiling window, by the
device's own clock around waits for data, and by the driver's counters.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.budget.span_budget import span_budget
from perfscope.analyzer.budget.trace_budget import traced_budget
from perfscope.analyzer.categories import (
    CATEGORIES,
    CATEGORY_IDS,
    HOST_BOUND,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.analyzer.run.accelerators.device_use import CountedIdle, counted_idle
from perfscope.analyzer.run.accelerators.device_window import window_trace
from perfscope.analyzer.run.accelerators.host_copies import device_idle_in_waits
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, uses_device
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

BUSY = tuple(category.id for category in CATEGORIES if category.on_device)
HOST_CAUSES = (SYNC_WAIT, HOST_BOUND, OTHER_IDLE)
"""Why a device is idle, besides waits for data and checkpoints, which the probe times."""


@dataclass(frozen=True)
class WindowTimes:
    """What the device did in a profiling window, by category of the time budget.

    `whole_steps`: `amounts` are nanoseconds per step; else they are shares of the time. `idle` are
    the shares of HOST_CAUSES in what is idle for one of them, which sum to 1 (or are all 0).
    """

    whole_steps: bool
    amounts: dict[str, float]
    idle: dict[str, float]

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
    """Return what the device of each process did in its profiling window."""
    window = trace.fact(window_trace)
    if window is None:
        return {}
    rows = window.fact(steps)
    by_step = traced_budget(window, rows) if len(rows) else rows
    found = {}
    for span in window.fact(span_budget).to_dict("records"):
        process = int(span["process"])
        if process in found:
            continue  # a process with several devices is described by the first
        of_process = by_step[column(by_step, "process") == process]
        if len(of_process):
            names = (*BUSY, *HOST_CAUSES)
            amounts = {name: float(column(of_process, name).mean()) for name in names}
        else:
            whole = max(sum(int(span[name]) for name in CATEGORY_IDS), 1)
            amounts = {name: int(span[name]) / whole for name in (*BUSY, *HOST_CAUSES)}
        found[process] = WindowTimes(bool(len(of_process)), amounts, idle_shares(amounts))
    return found


def idle_shares(amounts: dict[str, float]) -> dict[str, float]:
    """Return the share of each of HOST_CAUSES in their sum, all 0 without any."""
    whole = sum(amounts[name] for name in HOST_CAUSES)
    return {name: amounts[name] / whole if whole else 0.0 for name in HOST_CAUSES}
