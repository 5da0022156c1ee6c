"""The devices whose work was recorded: those of a profiler's trace, and those (or the CPU) of the
profiling windows of a run.
"""

from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, analyzed_pairs, units
from perfscope.analyzer.run.table_access import column, table, uses_device
from perfscope.traces.trace import Trace


def work_units(trace: Trace) -> list[Unit]:
    """Return `units` of a profiler's trace, else one for each process and device in the windows.

    The device is -1 for the CPU of a process without a device. Their span is that of the windows. A
    program that uses a device has none where its windows hold no kernels.
    """
    if trace.has_profiled_work:
        return units(trace)
    windows, processes = table(trace, "windows"), table(trace, "processes")
    windows = None if windows is None else windows[windows["kept"]]
    if windows is None or not len(windows):
        return []
    begin, end = int(column(windows, "begin").min()), int(column(windows, "end").max())
    ranks = (
        {} if processes is None else dict(zip(processes["process"], processes["rank"], strict=True))
    )
    # Operators of a program on a device only launch its work: without kernels nothing is known.
    on_device = uses_device(trace)
    return [
        Unit(process, device, max(int(ranks.get(process, 0)), 0), begin, end)
        for process, device in analyzed_pairs(trace)
        if device != NO_DEVICE or not on_device
    ]


def runs_on_cpu(trace: Trace) -> bool:
    """Return whether all recorded work runs on the CPU."""
    found = work_units(trace)
    return bool(found) and all(unit.device == NO_DEVICE for unit in found)


def rank_of_work(trace: Trace) -> dict[int, int]:
    """Return the rank of each process whose work was recorded."""
    return {unit.process: unit.rank for unit in reversed(work_units(trace))}
