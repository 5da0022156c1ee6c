"""The number of windows of torch's profiler in a recording."""

from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace


def windows_taken(trace: Trace) -> int:
    """Return the number of windows, of all processes, whose operators were kept.

    Trials and dropped windows do not count.
    """
    windows = table(trace, "windows")
    return 0 if windows is None else int(windows["kept"].sum())
