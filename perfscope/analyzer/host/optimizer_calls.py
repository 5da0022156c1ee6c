"""Optimizer steps of a process, and whether they update all parameters in one fused call."""

import re
from dataclasses import dataclass

import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.loops.trace_steps import OPTIMIZER
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.traces.trace import Trace

FUSED_UPDATE = re.compile(r"::_fused_(adam|adamw|sgd|adagrad)")

FUSE_OPTIMIZER = Advice(
    "fuse-optimizer",
    "update all parameters in one call",
    "optimizer-is-not-fused",
    "Optimizer steps and operators were recorded, and no fused update is among them.",
)


@dataclass(frozen=True)
class OptimizerCalls:
    """How many optimizer steps and fused updates were recorded; None without operators."""

    steps: int
    fused: int | None

    @property
    def is_unfused(self) -> bool:
        """Whether there are optimizer steps and none is fused; false where that is unknown."""
        return self.steps > 0 and self.fused == 0

    @property
    def text(self) -> str:
        """The evidence of advice on the optimizer."""
        return f"{plural(self.steps, 'optimizer step')}, {self.fused or 0} fused updates"


def optimizer_calls(trace: Trace, process: int) -> OptimizerCalls:
    """Return the optimizer steps of a process, known by category or by PyTorch's own name."""
    ranges, ops = rows_of(trace, "ranges", process), rows_of(trace, "ops", process)
    steps = len(column(rows_of_category(ranges, "optimizer"), "ts"))
    for frame in (ranges, ops):
        if frame is not None:
            steps += count_named(frame["name"], OPTIMIZER)
    fused = None if ops is None else count_named(ops["name"], FUSED_UPDATE)
    return OptimizerCalls(steps, fused)


def count_named(names: "pd.Series[str]", pattern: re.Pattern[str]) -> int:
    """Return how many of these names (a categorical) the pattern finds."""
    wanted = [name for name in names.cat.categories if pattern.search(name)]
    return int(names.isin(wanted).sum())
