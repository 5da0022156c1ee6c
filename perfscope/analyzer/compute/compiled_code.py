"""Whether the operators of a process come from code that torch.compile compiled."""

import re
from dataclasses import dataclass

from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

COMPILED_OPERATOR = re.compile(
    r"^CompiledFunction|Torch-Compiled Region|^## Call CompiledFxGraph|^triton_"
)


@dataclass(frozen=True)
class CompiledCode:
    """How many operators of a process were recorded, and how many of them are compiled code."""

    operators: int
    compiled: int

    @property
    def is_eager(self) -> bool:
        """Whether operators were recorded and none of them is compiled; false where unknown."""
        return self.operators > 0 and self.compiled == 0

    @property
    def text(self) -> str:
        """What was seen, for the precondition of advice."""
        return f"{self.compiled} of {plural(float(self.operators), 'operator call')} are compiled"


def compiled_code(trace: Trace, process: int) -> CompiledCode:
    """Return how much of the recorded work of `process` is compiled."""
    ops = table(trace, "ops")
    if ops is None:
        return CompiledCode(0, 0)
    rows = ops[column(ops, "process") == process]
    names = [name for name in rows["name"].cat.categories if COMPILED_OPERATOR.search(name)]
    return CompiledCode(len(rows), int(rows["name"].isin(names).sum()))
