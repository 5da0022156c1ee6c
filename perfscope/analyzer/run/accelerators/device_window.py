"""The profiling window of a recording on a device, as a trace of its own.

A window holds operators, launches, kernels and copies of a few steps. Cut to these steps and joined
with the probe's own records (waits for the loader, checkpoints), it is a trace like any other, and
everything that is derived from the trace of a profiler is derived from it in the same way.

A step is left out where the window does not show all of its device work: kernels that still ran
when the window ended, kernels that were lost, and kernels whose times contradict the calls that
started or awaited them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.accelerators.step_work import StepWork, step_work, work_of_launches
from perfscope.analyzer.run.budget_units import NO_DEVICE, units
from perfscope.analyzer.run.loops.steps import STEADY, no_steps, steps
from perfscope.analyzer.run.table_access import column, manifest, recording_of, table, uses_device
from perfscope.traces.intervals import Ints
from perfscope.traces.schema import TABLES
from perfscope.traces.time_slice import with_new_row_numbers
from perfscope.traces.trace import Trace
from perfscope.traces.trace_kind import TraceKind
from perfscope.traces.validation.lost_kernels import LAUNCHING, rows_with_work

ON_DEVICE: Final = ("kernels", "copies", "collectives")
UNTIMED: Final = ("processes", "threads", "devices")
"""Tables without times, which a window keeps whole."""
IN_WINDOW: Final = ("ops", "launches", "ranges", "loader", "memory", *ON_DEVICE, *UNTIMED)
SHIFTED_NS: Final = 50_000
"""Clocks of host and device agree to microseconds. A kernel that begins so long before its launch,
or ends so long after a call that waited for it, has a wrong time (pytorch #192021: milliseconds).
"""
BAD_SHARE: Final = 0.01
"""The share of a step's launches without a kernel, or of its kernels with wrong times, from which
on it is left out.
"""
LOST_SHARE: Final = 0.05
"""The same where all steps lack as much: a few launches start nothing."""
NO_KERNELS: Final = "the profiling window holds no kernels"
NO_GOOD_STEP: Final = (
    "the profiling window does not show all device work of any step: kernels are missing, or their"
    " times contradict the calls that started them"
)
NOT_TYPICAL: Final = (
    "the steps in the profiling window are not typical: other steps call modules more or less often"
)

HOST_AHEAD: Final = (
    "the host is further ahead of the device than the profiling window is long, so it shows what"
    " the device does, and not what the host does meanwhile"
)


@dataclass(frozen=True)
class DeviceWindow:
    """The windows of the processes that use a device, cut to whole steps.

    `trace` is None where it cannot be used, for the reason `why_not`. `left_out` is the number of
    steps that were left out. `work` has what the device did for these steps, which it may have done
    after them; `work_times` when it did that, by process.
    """

    trace: Trace | None
    why_not: str = ""
    left_out: int = 0
    work: Trace | None = None
    work_times: Mapping[int, StepWork] = field(default_factory=dict)


@dataclass(frozen=True)
class UsedPeriod:
    """The part of one process's window that is used; `steps` are whole steps, which fill it."""

    begin_ns: int
    end_ns: int
    steps: pd.DataFrame
    left_out: int = 0


def device_window(trace: Trace) -> DeviceWindow | None:
    """Return the device window of a recording.

    None for a profiler's trace, without a window, and for a program that uses no device.
    """
    windows = table(trace, "windows")
    if trace.is_profiler_trace or windows is None or not uses_device(trace):
        return None
    windows = windows[windows["kept"]]
    if not len(windows):
        return None
    kernels = table(trace, "kernels")
    if kernels is None or not (column(kernels, "device") >= 0).any():
        return DeviceWindow(None, why_no_kernels(trace))
    periods, ahead = {}, {}
    for process in np.unique(column(windows, "process")[column(windows, "process") >= 0]).tolist():
        newest = windows[windows["process"] == process].iloc[-1]
        begin_ns, end_ns = int(newest["begin"]), int(newest["end"])
        period = period_of_window(trace, process, begin_ns, end_ns)
        if period is not None:
            periods[process] = period
        else:
            ahead[process] = recorded_steps(trace, process, begin_ns, end_ns)
    if not periods:
        return window_of_work(trace, None, ahead)
    found = trace_of_periods(trace, periods)
    if not any(unit.device != NO_DEVICE for unit in units(found)):
        return DeviceWindow(None, why_no_kernels(trace))
    left_out = sum(period.left_out for period in periods.values())
    used = {process: period.steps for process, period in periods.items()}
    return replace(window_of_work(trace, found, used), left_out=left_out)


def window_of_work(
    trace: Trace, found: Trace | None, used: Mapping[int, pd.DataFrame]
) -> DeviceWindow:
    """Return a device window with the work of the steps that are used, by process.

    `found` is the trace of what host and device did during them; None where the device was still
    busy with what was launched before the window.
    """
    works = {process: step_work(trace, process, rows) for process, rows in used.items()}
    if any(work is None for work in works.values()):
        return DeviceWindow(None, NOT_TYPICAL)
    times = {process: work for process, work in works.items() if work is not None and len(work.end)}
    if not times:
        return DeviceWindow(found, "" if found is not None else NO_GOOD_STEP)
    periods = {
        process: UsedPeriod(int(work.begin[0]), int(work.end[-1]), used[process])
        for process, work in times.items()
    }
    why_not = "" if found is not None else HOST_AHEAD
    return DeviceWindow(found, why_not, work=trace_of_periods(trace, periods), work_times=times)


def window_trace(trace: Trace) -> Trace | None:
    """Return the trace of the device window of a recording, None where there is none to use."""
    window = trace.fact(device_window)
    return None if window is None else window.trace


def why_no_kernels(trace: Trace) -> str:
    """Return that a window has no kernels, with the reason that the agent noted."""
    reasons = [source.reason for source in manifest(trace).sources if source.name == "kernels"]
    reason = next((reason for reason in reasons if reason), None)
    return NO_KERNELS if reason is None else f"{NO_KERNELS}: {reason}"


def period_of_window(trace: Trace, process: int, begin_ns: int, end_ns: int) -> UsedPeriod | None:
    """Return the part of a window whose device work is known: the longest run of good steps.

    Without a whole step in the window it is the window, up to its last complete launch; if that is
    longer than a step, as long as whole steps. None where no step is good.
    """
    every = steps_that_count(trace, process)
    rows = steps_within(every, begin_ns, end_ns)
    if not len(rows):
        known = time_with_kernels(trace, process, begin_ns, end_ns)
        if known is None:
            return None
        step_ns = ends_of_steps(every) - column(every, "ts")
        return UsedPeriod(known[0], end_of_whole_steps(*known, step_ns), no_steps())
    first = column(rows, "ts")
    good = has_all_work(trace, process, first, ends_of_steps(rows))
    good &= first >= first_work_of_window(trace, process, begin_ns)
    used = longest_run_of_steps(rows, good)
    if not len(used):
        return None
    begin, end = int(column(used, "ts")[0]), int(ends_of_steps(used)[-1])
    return UsedPeriod(begin, end, used, len(rows) - len(used))


def recorded_steps(trace: Trace, process: int, begin_ns: int, end_ns: int) -> pd.DataFrame:
    """Return the longest run of steps of a window whose work was recorded, whenever it was done."""
    rows = steps_within(steps_that_count(trace, process), begin_ns, end_ns)
    good = has_all_work(trace, process, column(rows, "ts"), ends_of_steps(rows))
    return longest_run_of_steps(rows, good)


def steps_that_count(trace: Trace, process: int) -> pd.DataFrame:
    """Return the steady steps of a process and those of its warm-up."""
    rows = trace.fact(steps)
    return rows[(rows["process"] == process) & rows["phase"].isin((*STEADY, "warmup"))]


def steps_within(rows: pd.DataFrame, begin_ns: int, end_ns: int) -> pd.DataFrame:
    """Return the steps that are wholly in a window."""
    return rows[(column(rows, "ts") >= begin_ns) & (ends_of_steps(rows) <= end_ns)]


def ends_of_steps(rows: pd.DataFrame) -> Ints:
    """Return the instants at which steps end."""
    return column(rows, "ts") + column(rows, "dur") + column(rows, "cut")


def longest_run_of_steps(rows: pd.DataFrame, good: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the longest run of good steps, as steps that count; none where no step is good."""
    begin, end = longest_good_run(good)
    used = rows.iloc[begin:end]
    return used.assign(distorted=False, phase=used["phase"].replace("warmup", "train"))


def end_of_whole_steps(begin_ns: int, end_ns: int, step_ns: Ints) -> int:
    """Return the end of as many mean steps as fit; `end_ns` where none does.

    What repeats is divided alike in any interval that is as long as whole repetitions.
    """
    mean_ns = float(step_ns.mean()) if len(step_ns) else 0.0
    count = (end_ns - begin_ns) // mean_ns if mean_ns else 0.0
    return begin_ns + round(count * mean_ns) if count else end_ns


def first_work_of_window(trace: Trace, process: int, begin_ns: int) -> int:
    """Return the instant, in ns, at which the first kernel of a window began.

    Before that the device worked on what was launched before the window, which is not recorded.
    """
    kernels = table(trace, "kernels")
    ts = column(kernels, "ts")
    ts = ts[(column(kernels, "process") == process) & (ts >= begin_ns)]
    return int(ts.min()) if len(ts) else np.iinfo(np.int64).max


def longest_good_run(good: NDArray[np.bool_]) -> tuple[int, int]:
    """Return (begin, end) positions of the longest run of True; equal where there is none."""
    change = np.flatnonzero(np.diff(good.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    if not len(change):
        return 0, 0
    begin, end = change[int(np.argmax(change[:, 1] - change[:, 0]))]
    return int(begin), int(end)


def has_all_work(trace: Trace, process: int, first: Ints, last: Ints) -> NDArray[np.bool_]:
    """Return which steps have a kernel for each launch, with times that fit the host's calls."""
    ts, lost, shifted = launch_faults(trace, process)
    begin, end = np.searchsorted(ts, first), np.searchsorted(ts, last)
    launches = np.maximum(end - begin, 1)
    count_lost = np.concatenate(([0], np.cumsum(lost)))
    lost_share = (count_lost[end] - count_lost[begin]) / launches
    count_shifted = np.concatenate(([0], np.cumsum(shifted)))
    shifted_share = (count_shifted[end] - count_shifted[begin]) / launches
    usual = float(lost_share.min(initial=0.0))
    good: NDArray[np.bool_] = (
        (end > begin)
        & (lost_share - usual <= BAD_SHARE)
        & (lost_share <= LOST_SHARE)
        & (shifted_share <= BAD_SHARE)
    )
    return good


def launch_faults(trace: Trace, process: int) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_]]:
    """Return when kernels were launched, in order, which launches have no kernel, and which have
    one at an impossible time.
    """
    launches, kernels = table(trace, "launches"), table(trace, "kernels")
    if launches is None or kernels is None:
        none = np.zeros(0, bool)
        return np.zeros(0, np.int64), none, none
    names = ("kernels", "copies")
    tables = {name: frame for name in names if (frame := table(trace, name)) is not None}
    has_work = rows_with_work(tables, len(launches))
    begin, end = work_of_launches(kernels, len(launches))
    ts = column(launches, "ts")
    known = end > 0
    shifted = known & (begin < ts - SHIFTED_NS)
    of_process = column(launches, "process") == process
    shifted |= outlasts_wait(launches, of_process, begin, end)
    is_launch = launches["kind"].isin(list(LAUNCHING)).to_numpy(bool) & of_process
    rows = np.flatnonzero(is_launch)
    rows = rows[np.argsort(ts[rows], kind="stable")]
    return ts[rows], ~has_work[rows], shifted[rows]


def outlasts_wait(
    launches: pd.DataFrame, of_process: NDArray[np.bool_], begin: Ints, end: Ints
) -> NDArray[np.bool_]:
    """Return which rows of `launches` have a kernel that ends after a call that waited for it.

    Only calls that wait for the whole device count.
    """
    late = np.zeros(len(launches), bool)
    waits_for_all = launches["name"].astype(str).str.contains("DeviceSynchronize").to_numpy(bool)
    ts, dur = column(launches, "ts"), column(launches, "dur")
    rows = np.flatnonzero(of_process & (end > 0))
    for call in np.flatnonzero(of_process & waits_for_all):
        earlier = rows[(ts[rows] + dur[rows]) <= ts[call]]
        late[earlier] |= end[earlier] > ts[call] + dur[call] + SHIFTED_NS
    return late


def time_with_kernels(
    trace: Trace, process: int, begin_ns: int, end_ns: int
) -> tuple[int, int] | None:
    """Return (begin, end) of a window up to the first launch at its end that has no kernel.

    None where nothing was launched, or much of it is missing or at a wrong time.
    """
    ts, lost, shifted = launch_faults(trace, process)
    within = (ts >= begin_ns) & (ts < end_ns)
    ts, lost, shifted = ts[within], lost[within], shifted[within]
    whole = np.flatnonzero(~lost)
    if not len(whole):
        return None
    kept = slice(0, int(whole[-1]) + 1)
    if lost[kept].mean() > LOST_SHARE or shifted[kept].mean() > BAD_SHARE:
        return None
    end = end_ns if whole[-1] == len(ts) - 1 else int(ts[whole[-1] + 1])
    begin = max(first_work_of_window(trace, process, begin_ns), begin_ns)
    return (begin, end) if begin < end else None


def trace_of_periods(trace: Trace, periods: Mapping[int, UsedPeriod]) -> Trace:
    """Return the tables of a recording in these periods of its processes, as a profiler's trace."""
    whole = {name: frame for name in IN_WINDOW if (frame := table(trace, name)) is not None}
    kept = {name: rows_in_periods(name, frame, periods) for name, frame in whole.items()}
    tables = {}
    for name, frame in whole.items():
        part = with_new_row_numbers(name, frame.iloc[kept[name]], whole, kept)
        part = cut_to_periods(part, periods) if name in ON_DEVICE else part
        if len(part):
            tables[name] = part
    absent = {name: "not in the profiling window" for name in TABLES if name not in tables}
    rows = pd.concat([period.steps for period in periods.values()], ignore_index=True)
    begin_ns = min(period.begin_ns for period in periods.values())
    return Trace(
        tables,
        absent,
        trace.manifests,
        kind=TraceKind.PROFILER,
        span_ns=(begin_ns, max(period.end_ns for period in periods.values())),
        clock_residual_ns=trace.clock_residual_ns,
        path=trace.path,
        facts={steps: rows if len(rows) else no_steps(), recording_of: trace},
    )


def rows_in_periods(name: str, frame: pd.DataFrame, periods: Mapping[int, UsedPeriod]) -> Ints:
    """Return the positions of the rows of a table in the periods of their processes.

    Work of the device counts where it runs, everything else where it begins.
    """
    if name in UNTIMED:
        return np.arange(len(frame))
    process, ts = column(frame, "process"), column(frame, "ts")
    end = ts + column(frame, "dur") if name in ON_DEVICE else ts + 1
    within = np.zeros(len(frame), bool)
    for code, period in periods.items():
        within |= (process == code) & (ts < period.end_ns) & (end > period.begin_ns)
    if name == "copies":
        within &= column(frame, "device") >= 0
    return np.flatnonzero(within)


def cut_to_periods(part: pd.DataFrame, periods: Mapping[int, UsedPeriod]) -> pd.DataFrame:
    """Return work of the device without what is outside of the periods."""
    process, ts = column(part, "process"), column(part, "ts")
    end = ts + column(part, "dur")
    for code, period in periods.items():
        of_process = process == code
        ts = np.where(of_process, np.maximum(ts, period.begin_ns), ts)
        end = np.where(of_process, np.minimum(end, period.end_ns), end)
    return part.assign(ts=ts, dur=end - ts)
