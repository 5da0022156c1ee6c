"""Kernels are too small to fill the device.

What it means
    A kernel's blocks are spread over the device's multiprocessors. One with fewer blocks than there
    are multiprocessors leaves some of them without any work while it runs, however well it is
    written.

How it is detected
    From the grid of each kernel and the number of multiprocessors (both in the trace): the share of
    multiprocessors that get no block, times the kernel's time, in sum at least 3 % of the span.
    Kernels shorter than 5 us are left out: their time is launch and latency. Beside it the
    occupancy that the profiler estimates. The gain is a ceiling. While attached: SM activity below
    a half (GPM, Hopper and newer) while kernels run for at least 80 % of the time, and neither
    memory nor arithmetic is near its ceiling. "GPU utilisation" is that time with any kernel,
    however small: one block makes 100 %.

What to do
    Give each kernel more to do: a larger batch, longer sequences together, several small products
    as one batched one; or fill the gaps from another stream. `torch.compile` chooses grids by size;
    for skinny products split-K kernels exist.

When it is wrong
    Persistent kernels start one block a multiprocessor and loop inside; they are not reported.
    Kernels that run side by side on other streams may use what one leaves free. SM activity is a
    mean: a device that is full half of the time and empty the other half looks the same; and it is
    everybody's on the device.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    largest,
    module_names,
    no_device,
    op_names,
)
from perfscope.analyzer.compute import low_occupancy_by_counters as busy_but_empty
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

ID = "low-occupancy"
NO_GRIDS = (
    "the trace does not tell the grids of kernels, or how many multiprocessors the device has"
)
SHORT_NS = 5_000


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs grids and the number of multiprocessors, or GPM."""
    if not trace.has_profiled_work:
        return busy_but_empty.why_not(trace)
    reason = no_device(trace)
    if reason is not None:
        return reason
    case = case_of(trace, limits)
    kernels = rows_on(trace, "kernels", case.unit)
    blocks = column(kernels, "blocks")
    return NO_GRIDS if multiprocessors(case) <= 0 or not (blocks > 0).any() else None


def multiprocessors(case: Case) -> int:
    devices = table(case.trace, "devices")
    rows = None if devices is None else devices[devices["device"] == case.unit.device]
    return -1 if rows is None or not len(rows) else int(rows["multiprocessors"].iloc[0])


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The time that multiprocessors stand without a block, when it is enough."""
    if not trace.has_profiled_work:
        return busy_but_empty.detect(trace, ID, limits)
    case = case_of(trace, limits)
    kernels = rows_on(trace, "kernels", case.unit)
    if kernels is None:
        return None
    units = multiprocessors(case)
    kernels = kernels[underfilled(kernels, units)]
    dur = column(kernels, "dur")
    lost = int((dur * (1.0 - column(kernels, "blocks") / units)).sum())
    if lost / case.span_ns < limits.worth_share:
        return None
    blocks = float(np.average(column(kernels, "blocks"), weights=dur))
    message = Message(
        f"Low occupancy: {percent(float(dur.sum()) / case.span_ns)} of the time runs kernels too"
        " small for the device",
        f"They have {digits(blocks)} blocks on average for {units} multiprocessors, which leaves "
        f"{percent(lost / case.span_ns)} of the device's time unused.",
    )
    return case.finding(
        ID, lost, limits, message=message, evidence=evidence(case, kernels, units), actions=ACTIONS
    )


def underfilled(kernels: pd.DataFrame, units: int) -> NDArray[np.bool_]:
    """Kernels that compute, long enough to count, with fewer blocks than multiprocessors."""
    blocks = column(kernels, "blocks")
    fits = (blocks > 0) & (blocks < units) & (column(kernels, "dur") >= SHORT_NS)
    found: NDArray[np.bool_] = fits & (kernels["kind"] == "compute").to_numpy()
    return found


def evidence(case: Case, kernels: pd.DataFrame, units: int) -> list[Evidence]:
    dur, launch = column(kernels, "dur"), column(kernels, "launch")
    worst = kernels.iloc[int(np.argmax(dur))]
    text = (
        f"the longest: {ms(int(worst['dur']))} with {int(worst['blocks'])} blocks,"
        f" `{str(worst['name'])[:80]}`"
    )
    found = [case.place(text, worst, value_ns=int(worst["dur"]), lane="device")]
    for names, what in (
        (op_names(case.trace, launch, outermost=False), "operator"),
        (module_names(case.trace, launch), "module"),
    ):
        top = largest(names, dur)
        if top:
            said = ", ".join(f"{name} {percent(ns / float(dur.sum()))}" for name, ns in top)
            found.append(
                case.place(f"launched by {what}: {said} of it", value_ns=top[0][1], lane="device")
            )
    occupancy = column(kernels, "occupancy_percent")
    if (occupancy >= 0).any():
        mean = float(np.average(occupancy[occupancy >= 0], weights=dur[occupancy >= 0]))
        found.append(
            Evidence(
                f"occupancy that the profiler estimates for them: {digits(mean)} %",
                round(mean, 1),
                "%",
            )
        )
    return found


ACTIONS = [
    Action(
        "give each kernel more to do: a larger batch, or several small pieces as one batched"
        " operator"
    ),
    Action(
        "let kernels of independent branches run side by side", "with torch.cuda.stream(other): ..."
    ),
    Action("let the compiler choose grids by size", 'torch.compile(model, mode="max-autotune")'),
]


RULE = Rule(ID, not_applicable, detect)
