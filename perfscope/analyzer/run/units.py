"""What has a time budget of its own: an accelerator as one process uses it, or, without any, the
process's own threads.
"""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

NO_DEVICE = -1


@dataclass(frozen=True)
class Unit:
    """One rank: the process, its device (-1: the CPU), and from the first to the last event of its
    rank's processes, ns.
    """

    process: int
    device: int
    rank: int
    begin_ns: int
    end_ns: int


def units(trace: Trace) -> list[Unit]:
    """One for each device that a process ran kernels on (else copies, else nothing but operators),
    in order of rank.

    Ranks are those of the processes; where several devices share one, they are numbered in order of
    process and device. None in a recording of our own: outside of its windows nobody looked at the
    devices. Found once a trace.
    """
    return trace.fact(_found)


def _found(trace: Trace) -> list[Unit]:
    if not trace.has_profiled_work:
        return []
    pairs = device_pairs(trace)
    said = _ranks(trace)
    ranks = [said.get(process, 0) for process, _ in pairs]
    spans = _spans(trace, said)
    numbers = ranks if len(set(ranks)) == len(ranks) else range(len(pairs))
    found = [
        Unit(p, d, number, *spans[r])
        for (p, d), r, number in zip(pairs, ranks, numbers, strict=True)
    ]
    return sorted(found, key=lambda unit: unit.rank)


def device_pairs(trace: Trace) -> list[tuple[int, int]]:
    """(process, device) in order. One that launched kernels of which none was recorded has no
    device: copies alone do not tell what it did.
    """
    for name in ("kernels", "copies"):
        frame = table(trace, name)
        device = column(frame, "device")
        used = device >= 0
        if used.any():
            process = column(frame, "process")
            pairs = []
            for code in np.flatnonzero(np.bincount(process[used])).tolist():
                dark = name == "copies" and launches_kernels(trace, code)
                numbers = (
                    [NO_DEVICE] if dark else np.unique(device[used & (process == code)]).tolist()
                )
                pairs += [(code, number) for number in numbers]
            return pairs
    for name in ("ops", "launches"):
        frame = table(trace, name)
        if frame is not None and len(frame):
            return [
                (int(code), NO_DEVICE)
                for code in np.flatnonzero(np.bincount(column(frame, "process")))
            ]
    return []


def launches_kernels(trace: Trace, process: int) -> bool:
    """Is there a call of this process that launches a kernel?"""
    calls = table(trace, "launches")
    return calls is not None and bool(
        ((calls["process"] == process) & (calls["kind"] == "kernel")).any()
    )


def _ranks(trace: Trace) -> dict[int, int]:
    processes = table(trace, "processes")
    if processes is None:
        return {}
    return {
        int(p): max(int(rank), 0)
        for p, rank in zip(processes["process"], processes["rank"], strict=True)
    }


def _spans(trace: Trace, ranks: dict[int, int]) -> dict[int, tuple[int, int]]:
    """Rank -> first and last instant of its processes."""
    found: dict[int, tuple[int, int]] = {}
    for name in ("ops", "launches", "kernels", "copies", "ranges", "loader", "memory"):
        frame = table(trace, name)
        process, ts = column(frame, "process"), column(frame, "ts")
        ends = ts + column(frame, "dur") if frame is not None and "dur" in frame else ts
        for code in np.flatnonzero(np.bincount(process)):
            own = process == code
            first, last = int(ts[own].min()), int(ends[own].max())
            rank = ranks.get(int(code), 0)
            before = found.get(rank, (first, last))
            found[rank] = min(before[0], first), max(before[1], last)
    return found


def rank_by_process(trace: Trace) -> dict[int, int]:
    """The rank of each process with a unit; of one with several devices the first."""
    return {unit.process: unit.rank for unit in reversed(units(trace))}
