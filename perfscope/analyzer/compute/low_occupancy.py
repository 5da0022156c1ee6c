"""Kernels are too small to fill the device.

What it means
    A kernel's blocks are distributed over the device's multiprocessors. A kernel with fewer blocks
    than multiprocessors leaves some of them without work while it runs, however well it is
    written.

How it is detected
    From the grid of each kernel and the number of multiprocessors (both in the trace): the share of
    multiprocessors that get no block, times the kernel's time, is at least 3 % of the span in
    total. Kernels shorter than 5 us are not counted: their time is launch and latency. The
    occupancy that the profiler estimates is listed as evidence. The speedup is a ceiling. While
    attached: SM activity is below one half (GPM, Hopper and newer) while kernels run at least 80 %
    of the time, and neither memory nor arithmetic is near its ceiling. "GPU utilization" is the
    time with any kernel, however small: a single block gives 100 %.

What to do
    Give each kernel more work: a larger batch, longer sequences together, several small matrix
    multiplications as one batched one; or run work on another stream at the same time.
    `torch.compile` chooses grids by size, and split-K kernels exist for narrow matrices.

When it is wrong
    Persistent kernels start one block per multiprocessor and loop inside; they are not reported.
    Kernels on other streams may use the multiprocessors that one kernel leaves free. SM activity is
    a mean: a device that is full half of the time and empty the other half gives the same value. It
    includes all processes on the device.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    missing_device,
    module_names,
    names_with_most_time,
    op_names,
)
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.compute.low_occupancy_by_counters import (
    FUSE_SMALL_KERNELS,
    MORE_WORK_PER_LAUNCH,
    low_occupancy_by_counters,
    no_activity_counters,
)
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

ID = "low-occupancy"
NO_GRIDS = Unmet(
    "not-in-this-format",
    "the trace does not contain the grids of kernels, or the number of multiprocessors of the"
    " device",
)
SHORT_NS = 5_000
"""Kernels shorter than this are not counted: their time is launch and latency."""
LONGEST_KERNEL_NAME = 80
LARGER_KERNELS = Advice(
    id="give-kernels-more-work",
    text=(
        "give each kernel more work: a larger batch, or several small calls as one batched operator"
    ),
    precondition="fewer-blocks-than-multiprocessors",
    holds_when="Kernels have fewer blocks than the device has multiprocessors.",
)
OTHER_STREAMS = Advice(
    id="run-branches-on-streams",
    text="run kernels of independent branches at the same time",
    precondition="one-compute-stream",
    holds_when="All of these kernels run on one stream.",
)
TUNE_GRIDS = Advice(
    id="autotune-grids",
    text="let the compiler choose grids by size",
    precondition="not-compiled",
    holds_when="Operators were recorded, and none of them is code that torch.compile compiled.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs grids and the SM count, or SM activity."""
    if not trace.has_profiled_work:
        return no_activity_counters(trace)
    unmet = missing_device(trace)
    if unmet is not None:
        return unmet
    case = case_of(trace, limits)
    blocks = column(rows_on(trace, "kernels", case.unit), "blocks")
    has_grids = multiprocessors(case) > 0 and bool((blocks > 0).any())
    return None if has_grids else NO_GRIDS


def multiprocessors(case: Case) -> int:
    """Return the number of multiprocessors of the device, -1 where it is unknown."""
    devices = table(case.trace, "devices")
    rows = None if devices is None else devices[devices["device"] == case.unit.device]
    return -1 if rows is None or not len(rows) else int(rows["multiprocessors"].iloc[0])


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the time in which multiprocessors have no block, when it is enough."""
    if not trace.has_profiled_work:
        return low_occupancy_by_counters(trace, ID, limits)
    case = case_of(trace, limits)
    kernels = rows_on(trace, "kernels", case.unit)
    if kernels is None:
        return None
    processors = multiprocessors(case)
    kernels = kernels[is_underfilled(kernels, processors)]
    duration_ns, blocks = column(kernels, "dur"), column(kernels, "blocks")
    lost_ns = int((duration_ns * (1.0 - blocks / processors)).sum())
    if lost_ns / case.span_ns < limits.worth_share:
        return None
    mean_blocks = float(np.average(blocks, weights=duration_ns))
    taken = percent(float(duration_ns.sum()) / case.span_ns)
    message = Message(
        f"Low occupancy: {taken} of the time runs kernels too small for the device",
        f"They have {digits(mean_blocks)} blocks on average for {processors} multiprocessors, which"
        f" leaves {percent(lost_ns / case.span_ns)} of the device's time unused.",
    )
    return case.finding(
        ID,
        lost_ns,
        limits,
        message=message,
        evidence=small_kernel_evidence(case, kernels),
        actions=fuller_kernels(case, kernels, mean_blocks, processors),
    )


def is_underfilled(kernels: pd.DataFrame, processors: int) -> NDArray[np.bool_]:
    """Return which kernels compute, are long enough, and have fewer blocks than multiprocessors."""
    blocks = column(kernels, "blocks")
    few_blocks = (blocks > 0) & (blocks < processors)
    computes = (kernels["kind"] == "compute").to_numpy(bool)
    underfilled: NDArray[np.bool_] = few_blocks & computes & (column(kernels, "dur") >= SHORT_NS)
    return underfilled


def small_kernel_evidence(case: Case, kernels: pd.DataFrame) -> list[Evidence]:
    """Return the longest of these kernels, what launched them, and their estimated occupancy."""
    duration_ns, launch = column(kernels, "dur"), column(kernels, "launch")
    worst = kernels.iloc[int(np.argmax(duration_ns))]
    text = (
        f"the longest: {ms(int(worst['dur']))} with {int(worst['blocks'])} blocks,"
        f" `{str(worst['name'])[:LONGEST_KERNEL_NAME]}`"
    )
    found = [case.timed_evidence(text, worst, value_ns=int(worst["dur"]), lane="device")]
    launchers = {
        "operator": op_names(case.trace, launch, outermost=False),
        "module": module_names(case.trace, launch),
    }
    for kind, names in launchers.items():
        top = names_with_most_time(names, duration_ns)
        if top:
            whole_ns = float(duration_ns.sum())
            parts = ", ".join(f"{name} {percent(ns / whole_ns)}" for name, ns in top)
            text = f"launched by {kind}: {parts}"
            found.append(case.timed_evidence(text, value_ns=top[0][1], lane="device"))
    return [*found, *occupancy_evidence(kernels)]


def occupancy_evidence(kernels: pd.DataFrame) -> list[Evidence]:
    """Return the mean occupancy that the profiler estimates, where it was recorded."""
    occupancy = column(kernels, "occupancy_percent")
    known = occupancy >= 0
    if not known.any():
        return []
    mean = float(np.average(occupancy[known], weights=column(kernels, "dur")[known]))
    text = f"occupancy that the profiler estimates for them: {digits(mean)} %"
    return [Evidence(text, round(mean, 1), "%")]


def fuller_kernels(
    case: Case, kernels: pd.DataFrame, mean_blocks: float, processors: int
) -> list[Action]:
    """Return the changes that fill the device and fit these kernels."""
    streams = len(np.unique(column(kernels, "stream")))
    compiled = compiled_code(case.trace, case.unit.process)
    return [
        *LARGER_KERNELS.given(
            mean_blocks < processors,
            f"{digits(mean_blocks)} blocks on average for {processors} multiprocessors",
        ),
        *OTHER_STREAMS.given(
            streams == 1,
            f"they run on {plural(float(streams), 'stream')}",
            snippet="with torch.cuda.stream(other): ...",
        ),
        *TUNE_GRIDS.given(
            compiled.is_eager,
            compiled.text,
            snippet='model = torch.compile(model, mode="max-autotune")',
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    advice=(
        LARGER_KERNELS,
        OTHER_STREAMS,
        TUNE_GRIDS,
        MORE_WORK_PER_LAUNCH,
        FUSE_SMALL_KERNELS,
    ),
    color="device-compute",
)
