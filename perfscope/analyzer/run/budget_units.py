"""Units with a time budget: an accelerator that a process uses, or else the process's threads."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

NO_DEVICE = -1
MOST_DEVICES = 256
"""Of one process that are analyzed; machines have 16. What a device waits for is looked up among
what all others and the threads do, so more of them would take quadratic time.
"""


@dataclass(frozen=True)
class Unit:
    """A process and its device (-1: the CPU).

    `begin_ns` and `end_ns` are the first and last event of its rank's processes.
    """

    process: int
    device: int
    rank: int
    begin_ns: int
    end_ns: int


def units(trace: Trace) -> list[Unit]:
    """Return one unit per device that a process ran kernels on, in order of rank.

    Without kernels, one that copies ran on; without copies, one per process with operators. Ranks
    are those of the processes; where several devices share one, they are numbered in order of
    process and device. A recording of perfscope's has none: outside of its profiling windows
    devices are not observed.
    """
    return trace.fact(find_units)


def first_units(trace: Trace) -> dict[int, Unit]:
    """Return the first unit of each process."""
    return {unit.process: unit for unit in reversed(units(trace))}


def find_units(trace: Trace) -> list[Unit]:
    """Return the `units` of a trace, without the cache."""
    if not trace.has_profiled_work:
        return []
    pairs, rank_by_code = analyzed_pairs(trace), process_ranks(trace)
    ranks = [rank_by_code.get(process, 0) for process, _ in pairs]
    spans = rank_spans(trace, rank_by_code)
    numbers = ranks if len(set(ranks)) == len(ranks) else range(len(pairs))
    found = [
        Unit(process, device, number, *spans[rank])
        for (process, device), rank, number in zip(pairs, ranks, numbers, strict=True)
    ]
    return sorted(found, key=lambda unit: unit.rank)


def analyzed_pairs(trace: Trace) -> list[tuple[int, int]]:
    """Return the first MOST_DEVICES pairs of each process and a device."""
    kept: list[tuple[int, int]] = []
    for pair in trace.fact(device_pairs):
        before = kept[-MOST_DEVICES] if len(kept) >= MOST_DEVICES else None
        if before is None or before[0] != pair[0]:
            kept.append(pair)
    return kept


def devices_left_out(trace: Trace) -> list[str]:
    """Return a line on devices that are not analyzed, because a process has too many."""
    if not trace.has_profiled_work:
        return []
    count = len(trace.fact(device_pairs)) - len(analyzed_pairs(trace))
    reason = f"at most {MOST_DEVICES} of a process are analyzed"
    return [f"{count} devices left out: {reason}"] if count else []


def device_pairs(trace: Trace) -> list[tuple[int, int]]:
    """Return the pairs of process and device, in order.

    A process that launched kernels of which none was recorded has no device: copies alone do not
    show what it did.
    """
    for name in ("kernels", "copies"):
        frame = table(trace, name)
        device = column(frame, "device")
        used = device >= 0
        if used.any():
            process = column(frame, "process")
            pairs = []
            for code in np.flatnonzero(np.bincount(process[used])).tolist():
                of_process = column(table_rows(trace, name, code), "device")
                numbers = np.unique(of_process[of_process >= 0]).tolist()
                if name == "copies" and launches_kernels(trace, code):
                    numbers = [NO_DEVICE]
                pairs += [(code, number) for number in numbers]
            return pairs
    for name in ("ops", "launches"):
        frame = table(trace, name)
        if frame is not None and len(frame):
            codes = np.flatnonzero(np.bincount(column(frame, "process")))
            return [(int(code), NO_DEVICE) for code in codes]
    return []


def launches_kernels(trace: Trace, process: int) -> bool:
    """Return whether a call of this process launches a kernel."""
    of_process = table_rows(trace, "launches", process)
    return of_process is not None and bool((of_process["kind"] == "kernel").any())


def process_ranks(trace: Trace) -> dict[int, int]:
    """Return the rank of each process, 0 where it is unknown."""
    processes = table(trace, "processes")
    if processes is None:
        return {}
    ranks = zip(processes["process"], processes["rank"], strict=True)
    return {int(process): max(int(rank), 0) for process, rank in ranks}


def rank_spans(trace: Trace, ranks: dict[int, int]) -> dict[int, tuple[int, int]]:
    """Return the first and last instant of the processes of each rank."""
    found: dict[int, tuple[int, int]] = {}
    for name in ("ops", "launches", "kernels", "copies", "ranges", "loader", "memory"):
        frame = table(trace, name)
        codes = np.flatnonzero(np.bincount(column(frame, "process")))
        for code in codes.tolist():
            rows = table_rows(trace, name, code)
            ts = column(rows, "ts")
            ends = ts + column(rows, "dur") if rows is not None and "dur" in rows else ts
            first, last = int(ts.min()), int(ends.max())
            rank = ranks.get(code, 0)
            before = found.get(rank, (first, last))
            found[rank] = min(before[0], first), max(before[1], last)
    return found


def rank_by_process(trace: Trace) -> dict[int, int]:
    """Return the rank of each process with a unit; of one with several devices the first."""
    return {unit.process: unit.rank for unit in reversed(units(trace))}
