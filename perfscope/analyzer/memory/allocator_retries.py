"""Steps wait for the driver to give or take back device memory.

What it means
    PyTorch keeps what it has allocated and normally asks the driver for nothing once the first
    steps are over. When memory runs short it gives cached blocks back (`cudaFree`, which waits for
    the device) and asks again (`cudaMalloc`): milliseconds each.

How it is detected
    Calls of the driver's allocator (`cudaMalloc`, `cudaFree`, `hipMalloc`, `hipFree`) inside steady
    steps: the device's idle time while they run and behind those that drain it, at least 3 % of the
    steps.

What to do
    Leave memory free: smaller batch, activation checkpointing. Where sizes change from step to
    step, let segments grow: `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`. Never call
    `torch.cuda.empty_cache()` in the loop: it causes just this.

When it is wrong
    Sizes that come for the first time (the longest sequence so far) allocate once and never again.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.critical_rank import few_steps, steps_of
from perfscope.analyzer.budget.trace_case import Case, case_of, no_device
from perfscope.analyzer.categories import HOST_BOUND, OTHER_IDLE, SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import column, longest, table
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import inside, intersected, merged
from perfscope.traces.trace import Trace

ID = "allocator-retries"
DRIVERS = r"^(cuda|hip|cu)(Malloc(Async|Managed)?|Free(Async)?|MemCreate|MemUnmap|MemRelease|MemAlloc(_v2)?|MemFree(_v2)?)$"  # noqa: E501
IDLE = (HOST_BOUND, SYNC_WAIT, OTHER_IDLE)


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device and steps: before the first steps everyone allocates."""
    missing = no_device(trace)
    return missing if missing is not None else few_steps(trace, limits)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Allocator calls in steady steps, when the device is idle for them long enough."""
    case = case_of(trace, limits)
    calls, steps = table(trace, "launches"), steps_of(trace, case.unit.process)
    if calls is None or not len(steps):
        return None
    mine = calls[
        (column(calls, "process") == case.unit.process) & (calls["kind"] == "memory").to_numpy()
    ]
    mine = mine[
        mine["name"].astype(str).str.match(DRIVERS) & inside(spans_of(steps), column(mine, "ts"))
    ]
    if not len(mine):
        return None
    idle = case.of(*IDLE)
    behind = idle[np.isin(column(idle, "call"), mine.index.to_numpy(np.int64))]
    cost = merged(intersected(spans_of(mine), spans_of(idle)), spans_of(behind))
    lost = int((cost[1] - cost[0]).sum())
    share = lost / case.span_ns
    if lost < limits.worth_share * int(column(steps, "dur").sum()):
        return None
    return _found(case, mine, lost, share, limits)


def _found(case: Case, calls: pd.DataFrame, lost: int, share: float, limits: Limits) -> Finding:
    worst = longest(calls)
    names = calls["name"].astype(str).value_counts()
    said = " and ".join(f"{count} {name}" for name, count in names.head(2).items())
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Allocator retries: allocating device memory leaves the device idle {percent(share)}"
            " of the time",
            f"There are {said} in {plural(case.steps, 'step')}. PyTorch asks the driver for memory"
            " because it ran short or was released.",
            "Emptying the cache more often would make it worse.",
        ),
        evidence=[
            case.place(
                f"longest: {worst['name']}, {ms(int(worst['dur']))}",
                worst,
                value_ns=int(worst["dur"]),
                lane="host",
            ),
            case.place(
                f"{ms(lost / case.steps)} a step", value_ns=lost / case.steps, lane="device"
            ),
        ],
        actions=[
            Action(
                "let segments of memory grow in place",
                "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
            ),
            Action(
                "or need less: a smaller batch, activation checkpointing; and no"
                " torch.cuda.empty_cache() in the loop"
            ),
        ],
    )


RULE = Rule(ID, not_applicable, detect)
