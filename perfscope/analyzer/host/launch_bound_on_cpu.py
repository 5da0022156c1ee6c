"""Launch-bound on a CPU: the thread that computes spends its time on calling operators."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.cpu_work import DATALESS, computing, dispatch_ns
from perfscope.analyzer.budget.critical_rank import critical_rank, few_steps, severity_of, steps_of
from perfscope.analyzer.budget.trace_case import ceiling
from perfscope.analyzer.categories import (
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    HOST_BOUND,
    PEER_WAIT,
)
from perfscope.analyzer.compute.compute_case import places_of
from perfscope.analyzer.compute.work_units import on_a_cpu
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

MOST_NAMES = 3


def on_a_cpu_with_steps(trace: Trace, limits: Limits) -> bool:
    """A run of our own on a CPU, with a window of the profiler and enough steps."""
    windowed = table(trace, "windows") is not None and on_a_cpu(trace)
    return windowed and few_steps(trace, limits) is None


def of_cpu_dispatch(trace: Trace, limits: Limits, id: str) -> Finding | None:
    """The finding when dispatching takes enough of a step: host-bound less collections, waits for
    the GIL and for a core.
    """
    process = critical_rank(trace, limits)
    ops = table(trace, "ops")
    if process is None or ops is None:
        return None
    rows = steps_of(trace, process)
    cost = float((rows[HOST_BOUND] - rows["gc"] - rows["gil"]).mean())
    step = float(rows["dur"].mean())
    cost -= (
        waiting_for_a_core(trace, process)
        * cost
        / max(cost + float(rows[DEVICE_COMPUTE].mean()), 1.0)
    )
    share = cost / step
    if share < limits.dispatch_share:
        return None
    # Ranks that dispatch alike wait for each other the less, the less they dispatch.
    talking = float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).mean()) / step
    own = ops[(ops["process"] == process).to_numpy()]
    begin, end, row = computing(own)
    called, mean = (
        float((~own["name"].isin(DATALESS)).sum()),
        float((end - begin).sum()) / max(len(np.unique(row)), 1),
    )
    steps = window_steps(trace, process)
    each = f", with {digits(called / steps)} operators per step" if steps else ""
    headline = f"Launch-bound: calling operators takes {percent(share)} of each step ({ms(cost)})"
    explanation = (
        f"An operator computes {ms(mean)} on average{each}; the rest is dispatch and Python."
    )
    return Finding(
        id=id,
        cause=None,
        severity=severity_of(share, limits),
        rank=int(rows["rank"].iloc[0]),
        lost_s=round(cost * len(rows) / 1e9, 6),
        share=round(share, 4),
        speedup=ceiling(share / max(1.0 - talking, share)),
        headline=headline,
        explanation=explanation,
        caveat="A faster CPU core would help; more cores would not.",
        evidence=evidence(trace, own, process),
        actions=ACTIONS,
    )


def waiting_for_a_core(trace: Trace, process: int) -> float:
    """Nanoseconds a step that the loop's thread is ready to run and has no core: whoever computes
    or dispatches waits alike.
    """
    return next(
        (line.main_delay for line in trace.fact(input_pipelines) if line.process == process), 0.0
    )


def window_steps(trace: Trace, process: int) -> int:
    """Whole steps inside the windows of a process."""
    windows = table(trace, "windows")
    return (
        0
        if windows is None
        else int(windows[(windows["process"] == process) & windows["kept"]]["steps"].sum())
    )


def evidence(trace: Trace, ops: pd.DataFrame, process: int) -> list[Evidence]:
    """What dispatching one costs, which operators are called most, and where."""
    price = dispatch_ns(ops)
    found = [
        Evidence(
            f"calling an operator that touches no data takes {ms(price)} (profiled)",
            round(price / 1e6, 5),
            "ms",
        )
    ]
    counts = ops["name"].astype(object).value_counts()
    text = ", ".join(
        f"`{str(name).removeprefix('aten::')}` {count}"
        for name, count in counts.items()
        if count > 1
    )
    names = ", ".join(text.split(", ")[:MOST_NAMES])
    longest = ops.iloc[int(np.argmax(column(ops, "dur")))]
    begin = int(longest["ts"])
    found.append(
        Evidence(
            f"called most in the window: {names}",
            None,
            None,
            begin,
            begin + int(longest["dur"]),
            process=process,
            lane="host",
        )
    )
    outermost = ops.index.to_numpy(np.int64)[column(ops, "parent") < 0]
    phases = pd.Series(places_of(trace, outermost)).value_counts(normalize=True)
    said = ", ".join(f"{name} {percent(float(share))}" for name, share in phases.items() if name)
    if said:
        found.append(Evidence(f"outermost calls by place: {said}"))
    return found


ACTIONS = [
    Action(
        "give each operator more to do: a larger batch, several small products as one",
        "torch.baddbmm(bias, x, weight)",
    ),
    Action("let the compiler join operators and take Python out", "torch.compile(model)"),
    Action("update all parameters in one call", "torch.optim.AdamW(..., fused=True)"),
]
