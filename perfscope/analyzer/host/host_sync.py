"""The host waits for the device in the middle of a step, and the device is idle afterwards.

What it means
    `.item()`, `.cpu()`, boolean masks and `synchronize()` wait until the device has finished all
    queued work; until the host has queued new work, the device is idle.

How it is detected
    Only with device timing: the device's idle time inside synchronizing calls (and copies whose
    call returns only when they are done) and after them, up to the first new work; at least 3 % of
    the span. A wait after which nothing more was launched is the end of the recording and is left
    out. Host timers alone cannot show it, because the device works during the wait.

What to do
    Read losses every n-th step, keep counters and conditions on the device, copy with
    `non_blocking=True` into pinned memory and read later. The finding names the operator, and the
    Python function where stacks were recorded.

When it is wrong
    A server that waits for its next request inside a synchronizing call looks the same, if its
    device has nothing to do. Without the wait the host may still launch work too slowly: the
    speedup is a ceiling.
"""

import re

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.lines.finding_lines import line_waiting_for_device
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    mean_per_step,
    missing_device,
    module_names,
    names_at,
    names_with_most_time,
    op_names,
    total,
)
from perfscope.analyzer.categories import SYNC_WAIT
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.host.python_call_sites import innermost_functions
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import column, longest_row, table
from perfscope.traces.trace import Trace

ID = "host-sync"

KEEP_ON_DEVICE = Advice(
    "keep-numbers-on-device",
    "keep the tensor on the device instead of turning it into a Python number (`.item()`,"
    " `float()`, `if tensor:`), or read it every n-th step",
    "sync-by-reading-a-number",
    "Most of the idle time follows an operator that turns a tensor into a Python number.",
)
FIXED_SIZE = Advice(
    "use-fixed-sizes",
    "use a result of fixed size instead of a size that depends on values (boolean mask, `nonzero`,"
    " `unique`)",
    "sync-by-data-dependent-size",
    "Most of the idle time follows an operator whose result's size depends on values.",
)
COPY_LATER = Advice(
    "copy-without-waiting",
    "copy from or to pinned memory without waiting, and read results later",
    "sync-by-copy",
    "Most of the idle time follows a copy between host and device.",
)
REMOVE_SYNCHRONIZE = Advice(
    "remove-synchronize",
    "remove the call of synchronize() from the loop, and measure time with events instead",
    "sync-by-synchronize",
    "Most of the idle time follows a call of synchronize().",
)
CALL_LESS_OFTEN = Advice(
    "synchronize-less-often",
    "take the call out of the loop, or make it every n-th step",
    "sync-by-another-call",
    "Most of the idle time follows another call that waits for the device.",
)
KINDS_OF_SYNC = (
    (
        r"aten::(item|_local_scalar_dense|is_nonzero|equal)",
        KEEP_ON_DEVICE,
        "total += loss.detach()  # and total.item() once in a hundred steps",
    ),
    (
        r"aten::(nonzero|masked_select|unique|_unique|index)",
        FIXED_SIZE,
        "torch.where(mask, x, 0)  # in place of x[mask]",
    ),
    (
        r"aten::(copy_|_copy_from|_to_copy|to|cpu)|[Mm]emcpy",
        COPY_LATER,
        "host = x.to('cpu', non_blocking=True); event.record()  # event.synchronize() when it is"
        " needed",
    ),
    (
        r"Synchronize|synchronize",
        REMOVE_SYNCHRONIZE,
        "start = torch.cuda.Event(enable_timing=True)  # in place of torch.cuda.synchronize()",
    ),
    ("", CALL_LESS_OFTEN, None),
)
"""The first pattern that fits the operator or the call decides the advice."""


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why synchronization cannot be checked: no device in the recording."""
    return missing_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where idle time in and after synchronizing calls is long enough."""
    case = case_of(trace, limits, SYNC_WAIT)
    waits = case.of(SYNC_WAIT)
    waits = waits[(column(waits, "call") >= 0) & (column(waits, "launch") >= 0)]
    lost = total(waits)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    names = call_names(trace, waits)
    top = names_with_most_time(names, column(waits, "dur"))
    name, idle_ns = top[0]
    times = times_text(len(np.unique(column(waits, "call"))), case.steps)
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Host sync: synchronizing calls leave the device idle {percent(share)} of the time",
            f"The host waits for the device {times}, mostly in {name}, and launches no work"
            " meanwhile.",
            "The call is slow because it waits for everything queued before it; the fix is not to"
            " wait at all.",
        ),
        evidence=sync_evidence(case, waits, top),
        actions=sync_actions(name, f"{percent(idle_ns / lost)} of the idle time is after {name}"),
    )


def call_names(trace: Trace, waits: pd.DataFrame) -> list[str]:
    """Return the call of each wait with the innermost operator around it."""
    calls = table(trace, "launches")
    assert calls is not None
    rows = column(waits, "call")
    names = names_at(calls["name"], rows).astype(object)
    operators = op_names(trace, rows, outermost=False).astype(object)
    return [
        f"{operator} ({name})" if isinstance(operator, str) and operator else str(name)
        for operator, name in zip(operators, names, strict=True)
    ]


def sync_actions(name: str, evidence: str) -> list[Action]:
    """Return the action for the operator or call in which the host waits most."""
    for pattern, advice, snippet in KINDS_OF_SYNC:
        actions = advice.given(re.search(pattern, name) is not None, evidence, snippet=snippet)
        if actions:
            return actions
    return []


def times_text(count: int, steps: int) -> str:
    """Return `once per step`, `3.5 times per step`, or `12 times` where no steps are known."""
    if not steps:
        return plural(count, "time")
    return "once per step" if count == steps else f"{digits(count / steps)} times per step"


def sync_evidence(case: Case, waits: pd.DataFrame, top: list[tuple[str, int]]) -> list[Evidence]:
    """Return the longest idle time, the calls that cause most of it, and where they are made."""
    worst, lost = longest_row(waits), total(waits)
    scope = " of each step" if case.steps else ""
    by_name = ", ".join(f"{name} {percent(ns / lost)}" for name, ns in top)
    evidence = [
        case.timed_evidence(
            f"longest idle time at such a call: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="device",
        ),
        case.timed_evidence(
            f"{ms(mean_per_step(case, lost))}{scope}: {by_name}",
            value_ns=mean_per_step(case, lost),
            lane="host",
        ),
    ]
    calls, dur = column(waits, "call"), column(waits, "dur")
    places = (
        ("called from", innermost_functions(case.trace, calls)),
        ("in module", module_names(case.trace, calls)),
    )
    for text, names in places:
        most = names_with_most_time(names, dur, 2)
        if most:
            named = ", ".join(name for name, _ in most)
            evidence.append(
                case.timed_evidence(f"{text} {named}", value_ns=most[0][1], lane="host")
            )
    return evidence


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=SYNC_WAIT,
    where=line_waiting_for_device,
    in_windows=True,
    advice=tuple(advice for _, advice, _ in KINDS_OF_SYNC),
)
