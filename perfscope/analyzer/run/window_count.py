"""How many windows of torch's profiler a recording of our own holds."""

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace


def windows_taken(trace: Trace) -> int:
    """Those whose operators are in the run, of all its processes; trials and dropped ones are
    none.
    """
    windows = table(trace, "windows")
    return 0 if windows is None else int(windows["kept"].sum())
