"""What was seen at work: the devices of a recorded trace, and those (or the CPU) that a run's
windows looked at.
"""

from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE, Unit, device_pairs, units
from perfscope.traces.trace import Trace


def work_units(trace: Trace) -> list[Unit]:
    """`units` of a recorded trace; of a recording of our own one for each process and device in its
    windows, -1 for the CPU of a process without a device. Their span is that of the windows.
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
    return [
        Unit(process, device, max(int(ranks.get(process, 0)), 0), begin, end)
        for process, device in device_pairs(trace)
    ]


def on_a_cpu(trace: Trace) -> bool:
    """Does all of the work that was seen run on the CPU?"""
    found = work_units(trace)
    return bool(found) and all(one.device == NO_DEVICE for one in found)


def rank_of_work(trace: Trace) -> dict[int, int]:
    """The rank of each process that was seen at work."""
    return {unit.process: unit.rank for unit in reversed(work_units(trace))}
