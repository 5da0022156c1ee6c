"""Steps wait for the driver to allocate or free device memory.

What it means
    PyTorch keeps the memory that it has allocated, and normally makes no driver calls for memory
    after the first steps. When memory runs short it frees cached blocks (`cudaFree`, which waits
    for the device) and allocates again (`cudaMalloc`): milliseconds each.

How it is detected
    Calls of the driver's allocator (`cudaMalloc`, `cudaFree`, `hipMalloc`, `hipFree`) inside steady
    steps. The device's idle time while they run, and after those that wait until the device has
    finished all its work, is at least 3 % of the steps.

What to do
    Leave memory free: smaller batch, activation checkpointing. Where sizes change from step to
    step, let segments grow: `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`. Never call
    `torch.cuda.empty_cache()` in the loop: it has the same effect.

When it is wrong
    Sizes that occur for the first time (the longest sequence so far) allocate once and never again.
"""

import re

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps, steps_of
from perfscope.analyzer.budget.trace_case import Case, case_of, missing_device
from perfscope.analyzer.categories import HOST_BOUND, OTHER_IDLE, SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column, longest_row, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import inside, intersected, merged
from perfscope.traces.trace import Trace

ID = "allocator-retries"
RUNTIME_CALLS = r"(cuda|hip)(Malloc(Async|Managed)?|Free(Async)?)"
DRIVER_CALLS = r"(cu|hip)Mem(Create|Unmap|Release|Alloc(_v2)?|Free(_v2)?)"
ALLOCATOR_CALLS = re.compile(f"^({RUNTIME_CALLS}|{DRIVER_CALLS})$")
FIXED_SEGMENT_CALLS = re.compile(r"^(cuda|hip)(Malloc|Free)")
IDLE = (HOST_BOUND, SYNC_WAIT, OTHER_IDLE)
GROW_SEGMENTS = Advice(
    id="use-expandable-segments",
    text="let segments of memory grow in place",
    precondition="segments-are-fixed",
    holds_when="Steady steps call cudaMalloc or cudaFree, which expandable segments do not use.",
)
NEED_LESS_MEMORY = Advice(
    id="need-less-memory",
    text=(
        "need less device memory (a smaller batch, activation checkpointing), and do not call"
        " torch.cuda.empty_cache() in the loop"
    ),
    precondition="allocates-in-steady-steps",
    holds_when="Steady steps call the driver's allocator.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked.

    It needs a device and steps: every program allocates before its first steps.
    """
    return missing_device(trace) or missing_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the allocator calls in steady steps, when the device is idle for them long enough."""
    case = case_of(trace, limits)
    calls, steps = allocator_calls(case), steps_of(trace, case.unit.process)
    if not len(calls):
        return None
    idle = case.of(*IDLE)
    follows_call = np.isin(column(idle, "call"), calls.index.to_numpy(np.int64))
    cost = merged(intersected(spans_of(calls), spans_of(idle)), spans_of(idle[follows_call]))
    lost_ns = int((cost[1] - cost[0]).sum())
    if lost_ns < limits.worth_share * int(column(steps, "dur").sum()):
        return None
    share = percent(lost_ns / case.span_ns)
    counts = calls["name"].astype(str).value_counts().head(2)
    counted = " and ".join(f"{count} {name}" for name, count in counts.items())
    return case.finding(
        ID,
        lost_ns,
        limits,
        message=Message(
            f"Allocator retries: allocating device memory leaves the device idle {share} of the"
            " time",
            f"There are {counted} in {plural(case.steps, 'step')}. PyTorch asks the driver for"
            " memory because it ran short or was released.",
            "Emptying the cache more often would make it worse.",
        ),
        evidence=allocator_evidence(case, calls, lost_ns),
        actions=fewer_allocations(case, calls),
    )


def allocator_calls(case: Case) -> pd.DataFrame:
    """Return the calls of the driver's allocator in steady steps of the case's process."""
    calls, steps = table(case.trace, "launches"), steps_of(case.trace, case.unit.process)
    if calls is None or not len(steps):
        return pd.DataFrame()
    of_process = column(calls, "process") == case.unit.process
    rows = calls[of_process & (calls["kind"] == "memory").to_numpy(bool)]
    is_allocator = rows["name"].astype(str).str.match(ALLOCATOR_CALLS)
    found: pd.DataFrame = rows[is_allocator & inside(spans_of(steps), column(rows, "ts"))]
    return found


def allocator_evidence(case: Case, calls: pd.DataFrame, lost_ns: int) -> list[Evidence]:
    """Return the longest call, and the loss per step."""
    worst, step_ns = longest_row(calls), lost_ns / case.steps
    worst_ns = int(worst["dur"])
    text = f"longest: {worst['name']}, {ms(worst_ns)}"
    return [
        case.timed_evidence(text, worst, value_ns=worst_ns, lane="host"),
        case.timed_evidence(f"{ms(step_ns)} per step", value_ns=step_ns, lane="device"),
    ]


def fewer_allocations(case: Case, calls: pd.DataFrame) -> list[Action]:
    """Return the changes that avoid these calls."""
    fixed = int(calls["name"].astype(str).str.match(FIXED_SEGMENT_CALLS).sum())
    steps = plural(case.steps, "step")
    return [
        *GROW_SEGMENTS.given(
            fixed > 0,
            f"{plural(float(fixed), 'call')} of cudaMalloc or cudaFree in {steps}",
            snippet="PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
        ),
        *NEED_LESS_MEMORY.given(
            len(calls) > 0, f"{plural(float(len(calls)), 'allocator call')} in {steps}"
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    in_windows=True,
    advice=(GROW_SEGMENTS, NEED_LESS_MEMORY),
    color="host-bound",
)
