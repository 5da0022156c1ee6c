"""The user's Python function that made a call, in traces with Python stacks."""

import re

import numpy as np

from perfscope.analyzer.run.range_table import innermost
from perfscope.analyzer.run.table_access import rows_of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

PYTHON_FUNCTION = re.compile(r"\.py\(\d+\): ")
"""Functions as the profiler names them: `file.py(12): name`; not built-in ones and modules."""
LIBRARY_FUNCTION = re.compile(r"(^|/)torch/|(^|/)threading\.py|(^|/)contextlib\.py|<built-in")
"""Functions of torch and the standard library, which are passed over."""


def innermost_functions(trace: Trace, launches: Ints) -> list[str]:
    """Return the innermost user function that made each call, "" where unknown.

    `launches` are rows of the table, -1 for none.
    """
    ranges, calls = table(trace, "ranges"), table(trace, "launches")
    functions = [""] * len(launches)
    python = rows_of_category(ranges, "python")
    if python is None or calls is None or not len(python):
        return functions
    of_user = [name for name in python["name"].cat.categories if is_user_function(name)]
    users = python[python["name"].isin(of_user)]
    known = np.flatnonzero(launches >= 0)
    if not len(users) or not len(known):
        return functions
    names = users["name"].to_numpy(object)
    rows = innermost(users, calls.iloc[launches[known]])
    for place, row in zip(known, rows, strict=True):
        functions[int(place)] = str(names[row]) if row >= 0 else ""
    return functions


def is_user_function(name: str) -> bool:
    """Return whether the profiler's name is that of a function of the user's code."""
    return bool(PYTHON_FUNCTION.search(name)) and not LIBRARY_FUNCTION.search(name)
