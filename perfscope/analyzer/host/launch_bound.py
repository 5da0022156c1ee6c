"""The device is idle because the host launches work too slowly.

What it means
    Each operator costs the host some microseconds (Python, dispatch, the launch call). When kernels
    take less than that, or the host does something else between them, the queue of launched kernels
    is empty and the device waits. The cause says what the host does meanwhile: `short-kernels` (it
    launches, and each kernel ends before the next is ready), `dispatch` (it is inside operators),
    `python` (it is outside of them, in Python code).

How it is detected
    While the device is idle, the thread that launches its next work does something other than
    waiting for the device or the loader. This idle time is at least 3 % of the span (XProf's limit
    for kernel launch). Runtime calls of a millisecond or more are left out, because they load code
    and initialize, once. Allocating memory is left out too. The speedup is a ceiling: it assumes
    that this time disappears, and that each kernel is shorter by the time that the shortest kernel
    takes. On a CPU the same thread dispatches and computes. There a profiling window shows the
    share of a step in which the thread neither waits nor does the operators' own work; it is at
    least 35 %.

What to do
    Fewer, larger pieces of work: CUDA graphs (`torch.compile(mode="reduce-overhead")`), fused
    kernels (`torch.compile`, `fused=True` optimizers, foreach), larger batches. Python between
    operators: take logging, conversions and checks out of the loop. A faster GPU would only wait
    longer.

When it is wrong
    A profiler slows the host: recording Python stacks can double its time, so the share without it
    is smaller. A trace that begins long before the steps or ends long after them contains idle time
    that is not theirs.
"""

import msgspec
import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.host_gaps import host_gaps
from perfscope.analyzer.budget.lines.finding_lines import line_in_loop, line_outside_torch_calls
from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    ceiling,
    mean_per_step,
    missing_device,
    module_names,
    names_with_most_time,
    op_names,
    total,
)
from perfscope.analyzer.categories import DEVICE_COMPUTE, HOST_BOUND
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence, Finding, Message
from perfscope.analyzer.host import launch_bound_on_cpu
from perfscope.analyzer.host.launch_bound_on_cpu import cpu_dispatch_finding, is_windowed_cpu_run
from perfscope.analyzer.host.launch_queue import QueueSummary, queue_summaries
from perfscope.analyzer.host.optimizer_calls import FUSE_OPTIMIZER, optimizer_calls
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.table_access import column, longest_row, rows_of_category, table
from perfscope.traces.trace import Trace

ID = "launch-bound"
ONE_TIME_WORK = ("driver", "allocating")
EMPTY_KERNEL_NS = 3_000
"""The shortest kernels in traces of a V100, H100, MI250 and MI300X take 1.5 to 2.3 microseconds."""
SHORTEST = 0.05
"""The quantile of the lengths of kernels that is taken for the shortest possible one."""
SHOWN_PART = 0.02
"""An activity of the host below this share is not listed in the evidence."""
CAUSE_TEXTS = {
    "short-kernels": "kernels end before the host has launched the next",
    "dispatch": "the host spends its time in operators, before each launch",
    "python": "the host is outside of operators, in Python",
}
ACTIVITY_TEXTS = {
    "launching": "in launch calls",
    "operators": "in operators",
    "python": "in Python between operators",
    "unrecorded": "in code that is not recorded, between operators",
}

USE_GRAPHS = Advice(
    "replay-cuda-graph",
    "replay the step as a CUDA graph, with a single launch",
    "no-graph-is-replayed",
    "Kernels were recorded, and none of them was launched by a graph.",
)
EXTEND_GRAPHS = Advice(
    "extend-cuda-graphs",
    "put the kernels that are launched between CUDA graphs into graphs too",
    "graphs-are-replayed",
    "Some of the recorded kernels were launched by a graph.",
)
FUSE_KERNELS = Advice(
    "compile-to-fuse-kernels",
    "fuse small kernels",
    "operators-are-eager",
    "Operators were recorded, and none of them is compiled code.",
)
LARGER_LAUNCHES = Advice(
    "launch-larger-work",
    "give each launch more to do: a larger batch, fewer micro-batches",
    "device-waits-for-launches",
    "The device is idle for at least 3 % of the time because the host launches work too slowly.",
)
MOVE_PYTHON = Advice(
    "take-python-out-of-loop",
    "take Python work out of the loop between operators (logging, conversions, checks of values)",
    "host-is-outside-operators",
    "The host is outside of operators for at least half of the idle time.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why launches cannot be checked: no device, and no profiling window on a CPU."""
    return None if is_windowed_cpu_run(trace, limits) else missing_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the host leaves the device idle for long enough."""
    if is_windowed_cpu_run(trace, limits):
        return cpu_dispatch_finding(trace, limits, ID)
    case = case_of(trace, limits, HOST_BOUND)
    gaps = launch_gaps(case)
    lost = total(gaps)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    summaries = trace.fact(queue_summaries)
    queue = next((summary for summary in summaries if summary.rank == case.unit.rank), None)
    cause = cause_of(gaps, queue, limits)
    finding = case.finding(
        ID,
        lost,
        limits,
        cause=cause,
        message=launch_message(share, cause, queue),
        evidence=launch_evidence(case, gaps, queue),
        actions=launch_actions(case, gaps, limits),
    )
    fixed = fixed_kernel_share(case_of(trace, limits, DEVICE_COMPUTE))
    evidence = list(finding.evidence)
    if fixed >= limits.worth_share:
        text = f"kernels take {percent(fixed)} of the time however little they do"
        evidence.append(Evidence(text, value=round(fixed, 4), unit="share"))
    return msgspec.structs.replace(finding, speedup=ceiling(share + fixed), evidence=evidence)


def fixed_kernel_share(case: Case) -> float:
    """Return the share of the time that kernels take however little they do.

    Fewer, larger kernels save it, too: the shortest kernels show how long each takes at least,
    which is EMPTY_KERNEL_NS at most.
    """
    kernels = rows_on(case.trace, "kernels", case.unit)
    dur = column(kernels, "dur")
    if not len(dur) or not dur.sum():
        return 0.0
    shortest_ns = min(float(np.quantile(dur, SHORTEST)), EMPTY_KERNEL_NS)
    return shortest_ns * len(dur) / float(dur.sum()) * total(case.of(DEVICE_COMPUTE)) / case.span_ns


def launch_gaps(case: Case) -> pd.DataFrame:
    """Return the idle time of the device before launches, without what happens once."""
    gaps = case.trace.fact(host_gaps, case.unit.process, case.unit.device)
    repeated = ~gaps["doing"].isin(ONE_TIME_WORK).to_numpy()
    kept: pd.DataFrame = gaps[repeated & (column(gaps, "launch") >= 0)]
    return kept


def python_ns(gaps: pd.DataFrame) -> int:
    """Return the time in which the host is outside of operators and launch calls."""
    return total(gaps[gaps["doing"].isin(("python", "unrecorded"))])


def cause_of(gaps: pd.DataFrame, queue: QueueSummary | None, limits: Limits) -> str:
    """Return what the host does while the device is idle."""
    if python_ns(gaps) >= limits.main_cause_share * total(gaps):
        return "python"
    if queue is None:
        return "dispatch"
    short = queue.shorter_share >= limits.main_cause_share or queue.kernel_ns < queue.call_ns
    return "short-kernels" if short else "dispatch"


def launch_message(share: float, cause: str, queue: QueueSummary | None) -> Message:
    """Return what the finding claims."""
    text = f"The CPU launches work too slowly: {CAUSE_TEXTS[cause]}."
    if queue is not None:
        text += (
            f" A kernel takes {ms(queue.kernel_ns)} on average, and one is launched every"
            f" {ms(queue.period_ns)}; the launch queue is empty {percent(queue.empty_share)} of the"
            " time."
        )
    headline = f"Launch-bound: the device is idle {percent(share)} of the time"
    return Message(headline, text, "A faster device would only wait longer.")


def whole_gaps(gaps: pd.DataFrame) -> pd.DataFrame:
    """Return one row per launch that the device waited for: ts, end and dur of the wait."""
    ts = column(gaps, "ts")
    end = ts + column(gaps, "dur")
    launch = column(gaps, "launch")
    order = np.argsort(launch, kind="stable")
    first = np.flatnonzero(np.diff(launch[order], prepend=-1))
    begin_ns = np.minimum.reduceat(ts[order], first)
    end_ns = np.maximum.reduceat(end[order], first)
    return pd.DataFrame({"ts": begin_ns, "end": end_ns, "dur": end_ns - begin_ns})


def launch_evidence(case: Case, gaps: pd.DataFrame, queue: QueueSummary | None) -> list[Evidence]:
    """Return the longest wait for the host, what the host does meanwhile, and where."""
    lost, worst = total(gaps), longest_row(whole_gaps(gaps))
    evidence = [
        case.timed_evidence(
            f"longest single wait for the host: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="device",
        ),
        activity_evidence(case, gaps),
    ]
    dur, launch = column(gaps, "dur"), column(gaps, "launch")
    places = (
        ("before launches of module", module_names(case.trace, launch)),
        ("before launches of operator", op_names(case.trace, launch, outermost=True)),
    )
    for text, names in places:
        top = names_with_most_time(names, dur)
        if top:
            shares = ", ".join(f"{name} {percent(ns / lost)}" for name, ns in top)
            evidence.append(
                case.timed_evidence(f"{text}: {shares} of it", value_ns=top[0][1], lane="host")
            )
    if queue is not None:
        text = (
            f"{queue.kernels} kernels, {digits(queue.mean_depth)} waiting on average,"
            f" {percent(queue.shorter_share)} shorter than their launch"
        )
        evidence.append(case.timed_evidence(text, value_ns=queue.kernel_ns, lane="device"))
    stacks = rows_of_category(table(case.trace, "ranges"), "python")
    if stacks is not None and len(stacks):
        evidence.append(
            Evidence(
                "Python stacks were recorded, which slows the host: without the profiler the share"
                " is smaller"
            )
        )
    return evidence


def activity_evidence(case: Case, gaps: pd.DataFrame) -> Evidence:
    """Return what the host does while the device is idle, most time first."""
    lost, scope = total(gaps), " per step" if case.steps else ""
    by_activity = gaps.groupby("doing", observed=True)["dur"].sum().sort_values(ascending=False)
    shown = [
        f"{ACTIVITY_TEXTS[str(name)]} {ms(mean_per_step(case, float(ns)))}"
        for name, ns in by_activity.items()
        if ns >= SHOWN_PART * lost
    ]
    text = f"the host meanwhile{scope}: {', '.join(shown)}"
    return case.timed_evidence(text, value_ns=mean_per_step(case, lost), lane="host")


def launch_actions(case: Case, gaps: pd.DataFrame, limits: Limits) -> list[Action]:
    """Return the actions that are not taken already: compiled code, replayed graphs."""
    lost, outside = total(gaps), python_ns(gaps)
    idle = percent(lost / case.span_ns)
    slow = lost >= limits.worth_share * case.span_ns
    larger = LARGER_LAUNCHES.given(slow, f"the device is idle {idle} of the time")
    kernels = rows_on(case.trace, "kernels", case.unit)
    count = 0 if kernels is None else len(kernels)
    replayed = 0 if kernels is None else int(kernels["graph"].astype(bool).sum())
    by_graphs = f"{replayed} of {plural(count, 'kernel')} were launched by graphs"
    if replayed:
        return [*EXTEND_GRAPHS.given(replayed > 0, by_graphs), *larger]
    graphs = USE_GRAPHS.given(
        count > 0, by_graphs, snippet='model = torch.compile(model, mode="reduce-overhead")'
    )
    in_python = outside >= limits.main_cause_share * lost
    if in_python:
        share = percent(outside / lost)
        python = MOVE_PYTHON.given(in_python, f"{share} of the idle time is outside of operators")
        return [*python, *graphs, *larger]
    return [*graphs, *fusing_actions(case.trace, case.unit.process), *larger]


def fusing_actions(trace: Trace, process: int) -> list[Action]:
    """Return the actions that make fewer kernels of the same work."""
    code, optimizer = compiled_code(trace, process), optimizer_calls(trace, process)
    text, snippet = FUSE_KERNELS.text, "torch.compile(model)"
    if optimizer.is_unfused:
        text += ", and update all parameters in one"
        snippet += "; torch.optim.AdamW(..., fused=True)"
    return [
        *FUSE_KERNELS.given(code.is_eager, code.text, text=text, snippet=snippet),
        *FUSE_OPTIMIZER.given(
            code.compiled > 0 and optimizer.is_unfused,
            optimizer.text,
            snippet="torch.optim.AdamW(..., fused=True)",
        ),
    ]


def line_that_launches(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line of the loop in which the host is late; Python is outside of torch's calls."""
    in_python = finding.cause == "python"
    return (line_outside_torch_calls if in_python else line_in_loop)(trace, finding)


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=HOST_BOUND,
    in_windows=True,
    where=line_that_launches,
    advice=(
        USE_GRAPHS,
        EXTEND_GRAPHS,
        FUSE_KERNELS,
        FUSE_OPTIMIZER,
        LARGER_LAUNCHES,
        MOVE_PYTHON,
        *launch_bound_on_cpu.ADVICE,
    ),
)
