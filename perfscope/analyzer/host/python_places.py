"""Where in the user's Python code a call was made, in traces with Python stacks."""

import re

import numpy as np

from perfscope.analyzer.run.range_table import innermost
from perfscope.analyzer.run.table_access import of_category, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

# Functions as the profiler names them: `file.py(12): name`. Those of torch itself, built-in ones
# and modules are passed over.
FUNCTION = re.compile(r"\.py\(\d+\): ")
TORCHS = re.compile(r"(^|/)torch/|(^|/)threading\.py|(^|/)contextlib\.py|<built-in")


def innermost_functions(trace: Trace, launches: Ints) -> list[str]:
    """For each row of `launches` (-1: none) the innermost Python function outside of torch that
    made it, "" unknown.
    """
    ranges, calls = table(trace, "ranges"), table(trace, "launches")
    found = [""] * len(launches)
    python = of_category(ranges, "python")
    if python is None or calls is None or not len(python):
        return found
    wanted = [
        n for n in python["name"].cat.categories if FUNCTION.search(n) and not TORCHS.search(n)
    ]
    own = python[python["name"].isin(wanted)]
    known = np.flatnonzero(launches >= 0)
    if not len(own) or not len(known):
        return found
    names = own["name"].to_numpy(object)
    for at, row in zip(known, innermost(own, calls.iloc[launches[known]]), strict=True):
        found[int(at)] = str(names[row]) if row >= 0 else ""
    return found
