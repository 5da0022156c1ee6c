"""The part of a step in which runs of memory-bound operators are called."""

from typing import Final

import pandas as pd

from perfscope.analyzer.compute.fusable_runs import fusable_runs
from perfscope.analyzer.run.stacks.torch_frames import BACKWARD_CALL, MODULE_CALL, OPTIMIZER_CALL
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.analyzer.run.thread_intervals import spans_of
from perfscope.traces.intervals import inside
from perfscope.traces.trace import Trace

FORWARD: Final = "forward"
BACKWARD: Final = "backward"
OPTIMIZER: Final = "optimizer"
FUSED_OPTIMIZERS: Final = frozenset(("Adam", "AdamW", "SGD", "Adagrad"))
"""The optimizers that have `fused=True`, on CPUs too."""


def phase_of_runs(trace: Trace, process: int) -> str | None:
    """Return the part of a step in which most time of fusable runs is, None where not recorded."""
    runs = trace.fact(fusable_runs)
    runs = runs[runs["process"] == process]
    spare_ns = spare_by_phase(trace, process, runs)
    whole_ns = float(runs["spare_ns"].sum())
    phase = max(spare_ns, key=lambda name: spare_ns[name], default=None)
    return phase if phase is not None and 2.0 * spare_ns[phase] >= whole_ns > 0.0 else None


def spare_by_phase(trace: Trace, process: int, runs: pd.DataFrame) -> dict[str, float]:
    """Return what fusing runs saves (ns) inside each kind of call."""
    ranges = rows_of(trace, "ranges", process)
    ts = column(runs, "ts")
    spare_ns = {}
    for phase in (FORWARD, BACKWARD, OPTIMIZER):
        spans = spans_of(rows_of_category(ranges, phase))
        spare_ns[phase] = float(runs[inside(spans, ts)]["spare_ns"].sum())
    return spare_ns


def optimizer_names(trace: Trace, process: int) -> list[str]:
    """Return the classes of the optimizers that a process calls."""
    steps = rows_of_category(rows_of(trace, "ranges", process), OPTIMIZER)
    return [] if steps is None else sorted(steps["name"].astype(str).unique())


def is_in_phase(stack: str, phase: str) -> bool:
    """Return whether a stack is in this part of a step."""
    if phase == OPTIMIZER:
        return OPTIMIZER_CALL.search(stack) is not None
    if phase == BACKWARD:
        return BACKWARD_CALL.search(stack) is not None
    return MODULE_CALL in stack and BACKWARD_CALL.search(stack) is None
