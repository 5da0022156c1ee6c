"""The device stands idle because the host has not launched anything yet.

What it means
    Each operator costs the host some microseconds (Python, dispatch, the launch call). When kernels
    take less than that, or the host does something else between them, the queue of launched kernels
    is empty and the device waits. The cause says what the host does meanwhile: `short-kernels` (it
    launches, and each kernel is over before the next is ready), `dispatch` (it is inside
    operators), `python` (it is outside of them, in Python code).

How it is detected
    Idle time of the device that the thread launching the next work spent on anything but waiting
    for the device or the loader, at least 3 % of the span (XProf's limit for kernel launch).
    Runtime calls of a millisecond or more are left out: they load code and initialise, once. So is
    what allocating memory takes. The gain is a ceiling. On a CPU the same thread dispatches and
    computes: there it is the share of a step in which it does neither operators' own work nor wait,
    told from a window of the profiler, from 35 % on.

What to do
    Few, larger pieces of work: CUDA graphs (`torch.compile(mode="reduce-overhead")`), fused kernels
    (`torch.compile`, `fused=True` optimizers, foreach), larger batches. Python between operators:
    take logging, conversions and checks out of the loop. A faster GPU would only wait longer.

When it is wrong
    A profiler slows the host: recording Python stacks can double its time, so the share without it
    is smaller. A trace that begins or ends far from the steps has idle ends.
"""

import re

import pandas as pd

from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.budget.trace_case import (
    Case,
    a_step,
    case_of,
    largest,
    module_names,
    no_device,
    op_names,
    total,
)
from perfscope.analyzer.categories import HOST_BOUND
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.host.launch_bound_on_cpu import of_cpu_dispatch, on_a_cpu_with_steps
from perfscope.analyzer.host.launch_queue import QueueSummary, queue_summaries
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, longest, of_category, table
from perfscope.traces.trace import Trace

ID = "launch-bound"
ONCE = ("driver", "allocating")
SAYS = {
    "short-kernels": "kernels are over before the host has launched the next",
    "dispatch": "the host is inside operators, on its way to the next launch",
    "python": "the host is outside of operators, in Python",
}


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device, or a window of the profiler on a CPU."""
    return None if on_a_cpu_with_steps(trace, limits) else no_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """The idle time that the host causes by being late, when it is enough."""
    if on_a_cpu_with_steps(trace, limits):
        return of_cpu_dispatch(trace, limits, ID)
    case = case_of(trace, limits)
    gaps = trace.fact(host_gaps)
    mine = (column(gaps, "process") == case.unit.process) & (
        column(gaps, "device") == case.unit.device
    )
    gaps = gaps[mine & ~gaps["doing"].isin(ONCE).to_numpy() & (column(gaps, "launch") >= 0)]
    lost = total(gaps)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    fed = next((one for one in trace.fact(queue_summaries) if one.rank == case.unit.rank), None)
    cause = _cause(gaps, fed, limits)
    return case.finding(
        ID,
        lost,
        limits,
        cause=cause,
        message=_message(share, cause, fed),
        evidence=_evidence(case, gaps, fed),
        actions=_actions(case, cause),
    )


def _cause(gaps: pd.DataFrame, fed: QueueSummary | None, limits: Limits) -> str:
    sums = gaps.groupby("doing", observed=True)["dur"].sum()
    outside = int(sums.get("python", 0)) + int(sums.get("unrecorded", 0))
    if outside >= limits.explains * int(sums.sum()):
        return "python"
    short = fed is not None and (
        fed.shorter_share >= limits.explains or fed.kernel_ns < fed.call_ns
    )
    return "short-kernels" if short else "dispatch"


def _message(share: float, cause: str, fed: QueueSummary | None) -> Message:
    text = f"The CPU launches work too slowly: {SAYS[cause]}."
    if fed is not None:
        text += (
            f" A kernel takes {ms(fed.kernel_ns)} on average and its launch {ms(fed.call_ns)}; the"
            f" launch queue is empty {percent(fed.empty_share)} of the time."
        )
    headline = f"Launch-bound: the device is idle {percent(share)} of the time"
    return Message(headline, text, "A faster device would only wait longer.")


def _whole(gaps: pd.DataFrame) -> pd.DataFrame:
    """One row for each launch that the device waited for: the stretch before it, and its idle
    time.
    """
    ends = (
        gaps.assign(end=gaps["ts"] + gaps["dur"])
        .groupby("launch")
        .agg(ts=("ts", "min"), end=("end", "max"))
    )
    return ends.assign(dur=ends["end"] - ends["ts"])


def _evidence(case: Case, gaps: pd.DataFrame, fed: QueueSummary | None) -> list[Evidence]:
    lost = total(gaps)
    worst = longest(_whole(gaps))
    doing = gaps.groupby("doing", observed=True)["dur"].sum().sort_values(ascending=False)
    said = ", ".join(
        f"{NAMES[str(name)]} {ms(a_step(case, float(ns)))}"
        for name, ns in doing.items()
        if ns >= 0.02 * lost
    )
    each = " a step" if case.steps else ""
    found = [
        case.place(
            f"longest single wait for the host: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="device",
        ),
        case.place(f"the host meanwhile{each}: {said}", value_ns=a_step(case, lost), lane="host"),
    ]
    dur, launch = column(gaps, "dur"), column(gaps, "launch")
    for names, what in (
        (module_names(case.trace, launch), "before launches of module"),
        (op_names(case.trace, launch, outermost=True), "before launches of operator"),
    ):
        top = largest(names, dur)
        if top:
            text = ", ".join(f"{name} {percent(ns / lost)}" for name, ns in top)
            found.append(case.place(f"{what}: {text} of it", value_ns=top[0][1], lane="host"))
    if fed is not None:
        text = f"{fed.kernels} kernels, {digits(fed.mean_depth)} waiting on average"
        text += f", {percent(fed.shorter_share)} shorter than their launch"
        found.append(case.place(text, value_ns=fed.kernel_ns, lane="device"))
    stacks = of_category(table(case.trace, "ranges"), "python")
    if stacks is not None and len(stacks):
        found.append(
            Evidence(
                "Python stacks were recorded, which slows the host: without the profiler the share"
                " is smaller"
            )
        )
    return found


COMPILED = re.compile(r"^CompiledFunction|Torch-Compiled Region|^## Call CompiledFxGraph")
NAMES = {
    "launching": "in launch calls",
    "operators": "in operators",
    "python": "in Python between operators",
    "unrecorded": "in code that is not recorded, between operators",
}


def _actions(case: Case, cause: str) -> list[Action]:
    """What to do, not what is done already: a compiled step is not to be compiled, a graph not to
    be captured.
    """
    kernels, ops = rows_on(case.trace, "kernels", case.unit), table(case.trace, "ops")
    if kernels is not None and bool(kernels["graph"].any()):
        rest = (
            "some of it is replayed as graphs already: put what is launched between them into"
            " graphs too"
        )
        return [
            Action(rest),
            Action("or give each launch more to do: a larger batch, fewer micro-batches"),
        ]
    names = [] if ops is None else list(ops["name"].cat.categories)
    compiled = any(COMPILED.search(name) for name in names)
    graphs = Action(
        "replay the step as a CUDA graph, which launches it at once",
        'torch.compile(model, mode="reduce-overhead")',
    )
    fuse = Action(
        "fuse small kernels, and update all parameters in one",
        "torch.compile(model); torch.optim.AdamW(..., fused=True)",
    )
    if compiled:
        fuse = Action("update all parameters in one kernel", "torch.optim.AdamW(..., fused=True)")
    larger = Action("or give each launch more to do: a larger batch, fewer micro-batches")
    if cause == "python":
        outside = Action(
            "take Python work out of the loop between operators (logging, conversions, checks of"
            " values)"
        )
        return [outside, graphs, larger]
    return [graphs, fuse, larger]


RULE = Rule(ID, not_applicable, detect, category=HOST_BOUND)
