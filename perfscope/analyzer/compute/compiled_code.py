"""Whether the operators of a process come from code that torch.compile compiled."""

import re
from dataclasses import dataclass

from perfscope.analyzer.number_text import plural
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.traces.trace import Trace

COMPILED_OPERATOR = re.compile(
    r"^CompiledFunction|Torch-Compiled Region|^## Call CompiledFxGraph|^triton_"
)
DYNAMO_FRAME = re.compile(r"(^|;)(compile_wrapper|__call__) \(torch/_dynamo/eval_frame\.py:")
"""A call of what torch.compile returns, whatever its backend makes of it."""


@dataclass(frozen=True)
class CompiledCode:
    """How many operators of a process were recorded, and how many of them are compiled code."""

    operators: int
    compiled: int
    uses_dynamo: bool = False
    """Whether the process compiles something, or calls a function that torch.compile made."""

    @property
    def is_eager(self) -> bool:
        """Whether operators were recorded and none of them is compiled; false where unknown."""
        return self.operators > 0 and self.compiled == 0 and not self.uses_dynamo

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
    compiled = int(rows["name"].isin(names).sum())
    return CompiledCode(len(rows), compiled, uses_dynamo(trace, process))


def uses_dynamo(trace: Trace, process: int) -> bool:
    """Return whether the process compiled something, or its stacks show calls of compiled code."""
    compiled = rows_of_category(rows_of(trace, "ranges", process), "compilation")
    if compiled is not None and len(compiled):
        return True
    stacks = [rows_of(trace, name, process) for name in ("stacks", "outside_stacks")]
    texts = {text for rows in stacks if rows is not None for text in rows["stack"].unique()}
    return any(DYNAMO_FRAME.search(str(text)) is not None for text in texts)
