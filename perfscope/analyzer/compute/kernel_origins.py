"""What launched the longest run of each kernel: operator, input shapes, module and Python calls."""

import numpy as np
import pandas as pd

from perfscope.analyzer.compute.kernel_table import kernel_table
from perfscope.analyzer.run.range_table import MODULE, enclosing_ranges, innermost
from perfscope.analyzer.run.table_access import column, rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

KEYS = ["process", "device", "name", "ts"]
MOST_CALLS = 12
"""Python calls that are listed, the innermost ones."""


def kernel_origins(trace: Trace) -> pd.DataFrame:
    """Return the kernel table with what launched the longest run of each kernel, "" where unknown.

    More columns: operator, shapes (of its inputs, as recorded), module (the innermost nn.Module),
    python_calls (callers first).
    """
    found = trace.fact(kernel_table)
    launch = launches_of_longest(trace, found)
    operator, shapes = operators_of_launches(trace, launch)
    module, calls = python_calls_of_launches(trace, launch)
    return found.assign(operator=operator, shapes=shapes, module=module, python_calls=calls)


def launches_of_longest(trace: Trace, found: pd.DataFrame) -> Ints:
    """Return the row of `launches` for the longest run of each row of the kernel table, or -1."""
    kernels = table(trace, "kernels")
    if kernels is None or not len(kernels) or not len(found):
        return np.full(len(found), -1, np.int64)
    longest = found.rename(columns={"longest_ts": "ts"})[KEYS].astype({"name": str})
    is_longest = np.isin(column(kernels, "ts"), longest["ts"].to_numpy(np.int64))
    runs = kernels.loc[is_longest, [*KEYS, "launch"]].astype({"name": str})
    matched = longest.merge(runs.drop_duplicates(KEYS), on=KEYS, how="left")
    return matched["launch"].fillna(-1).to_numpy(np.int64)


def operators_of_launches(trace: Trace, launch: Ints) -> tuple[list[str], list[str]]:
    """Return the name and the shapes of the operator around each launch."""
    ops, calls = table(trace, "ops"), column(table(trace, "launches"), "op")
    names, shapes = [""] * len(launch), [""] * len(launch)
    if ops is None or not len(calls):
        return names, shapes
    for number in np.flatnonzero(launch >= 0):
        op = int(calls[launch[number]])
        if op >= 0:
            names[number] = str(ops["name"].iloc[op])
            recorded = str(ops["shapes"].iloc[op])
            shapes[number] = "" if recorded == "[]" else recorded
    return names, shapes


def python_calls_of_launches(trace: Trace, launch: Ints) -> tuple[list[str], list[str]]:
    """Return the innermost module and the Python calls around each launch."""
    modules, stacks = [""] * len(launch), [""] * len(launch)
    python = rows_of_category(table(trace, "ranges"), "python")
    launches = table(trace, "launches")
    known = np.flatnonzero(launch >= 0)
    if python is None or not len(python) or launches is None or not len(known):
        return modules, stacks
    caller, name = enclosing_ranges(python), python["name"]
    for number, open_range in zip(
        known, innermost(python, launches.iloc[launch[known]]), strict=True
    ):
        called: list[str] = []
        while open_range >= 0 and len(called) < MOST_CALLS:
            called.append(str(name.iloc[open_range]))
            open_range = caller[open_range]
        in_modules = (each.removeprefix(MODULE) for each in called if each.startswith(MODULE))
        modules[number] = next(in_modules, "")
        stacks[number] = " › ".join(reversed(called))
    return modules, stacks
