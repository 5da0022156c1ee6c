"""A slow second computation of the time budget of a device: from instant to instant over the edges
of events.

It is written from the docstring of `segments`, without its code.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from operator import itemgetter
from typing import Any

from perfscope.analyzer.budget.thread_work import SAVES
from perfscope.analyzer.run.budget_units import Unit
from perfscope.traces.trace import Trace

FIRST = ("device-compute", "exposed-communication", "peer-wait", "exposed-copy")
LATE_NS, CLOCKS_NS = 100_000, 2_000
Interval = tuple[int, int]


def rows(trace: Trace, name: str, unit: Unit, *, on_device: bool = False) -> list[dict[str, Any]]:
    frame = trace.table(name)
    if frame is None:
        return []
    frame = frame[frame["process"] == unit.process]
    if on_device:
        frame = frame[frame["device"] == unit.device]
    return [
        {str(key): cell for key, cell in row.items()} | {"row": at}
        for at, row in zip(frame.index, frame.to_dict("records"), strict=True)
    ]


def arrivals(trace: Trace) -> dict[int, int]:
    """Return row of `kernels` -> when the last rank arrived at that collective.

    The n-th collective of a kind and group is the same on all ranks.
    """
    frame = trace.table("collectives")
    if frame is None or frame["process"].nunique() < 2:
        return {}
    order: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for cells in frame.sort_values("ts").to_dict("records"):
        row = {str(key): cell for key, cell in cells.items()}
        order[row["process"], row["kind"], row["group"]].append(row)
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for (_, kind, group), calls in order.items():
        for number, row in enumerate(calls):
            same[kind, group, number].append(row)
    last: dict[int, int] = {}
    for members in same.values():
        if len(members) > 1:
            arrival = max(row["ts"] for row in members)
            last.update({row["kernel"]: arrival for row in members})
    return last


def intervals_of(rows: list[dict[str, Any]]) -> list[Interval]:
    return sorted((row["ts"], row["ts"] + row["dur"]) for row in rows)


class Thread:
    """The ranges of one thread of the host, by category."""

    def __init__(self, trace: Trace, unit: Unit, tid: int) -> None:
        tables = {
            name: [row for row in rows(trace, name, unit) if row["tid"] == tid]
            for name in ("ops", "launches", "ranges", "loader")
        }
        begun = [row["ts"] for table in tables.values() for row in table]
        self.first = min(begun) if begun else None
        done = {row["launch"]: row["ts"] + row["dur"] for row in rows(trace, "copies", unit)}
        self.waits = sorted(
            (row["ts"], row["ts"] + row["dur"])
            for row in tables["launches"]
            if row["kind"] == "sync" or row["ts"] + row["dur"] >= done.get(row["row"], 1 << 62)
        )
        overhead = [row for row in tables["ranges"] if row["category"] == "overhead"]
        saves = [
            row
            for row in tables["ranges"]
            if row["category"] == "checkpoint" or SAVES.search(str(row["name"]))
        ]
        self.kinds: list[tuple[str, list[Interval]]] = [
            ("profiler-overhead", intervals_of(overhead)),
            ("checkpoint", intervals_of(saves)),
            ("input-wait", intervals_of(tables["loader"])),
            ("sync-wait", self.waits),
        ]


def counted(trace: Trace, unit: Unit) -> dict[str, int]:
    """Return the nanoseconds of each category over the span of the unit."""
    work = rows(trace, "kernels", unit, on_device=True) + rows(
        trace, "copies", unit, on_device=True
    )
    sums: Counter[str] = Counter()
    edges: dict[int, Counter[str]] = defaultdict(Counter)
    last = arrivals(trace)
    for row in work:
        does = {"compute": "device-compute", "communication": "exposed-communication"}
        doing = does.get(row.get("kind", ""), "exposed-copy")
        begin, end = row["ts"], row["ts"] + row["dur"]
        come = (
            min(max(last.get(row["row"], begin), begin), end)
            if doing == "exposed-communication"
            else begin
        )
        for kind, now, then in (("peer-wait", begin, come), (doing, come, end)):
            if then > now:
                edges[now][kind] += 1
                edges[then][kind] -= 1
    gaps: list[Interval] = []
    active: Counter[str] = Counter()
    times = sorted({unit.begin_ns, unit.end_ns, *edges})
    for now, then in itertools.pairwise(times):
        active.update(edges.get(now, {}))
        does_now = next((name for name in FIRST if active[name] > 0), None)
        if does_now is not None:
            sums[does_now] += then - now
        elif gaps and gaps[-1][1] == now:
            gaps[-1] = (gaps[-1][0], then)
        else:
            gaps.append((now, then))
    _idle(trace, unit, work, gaps, sums)
    return {kind: ns for kind, ns in sums.items() if ns}


def _idle(
    trace: Trace, unit: Unit, work: list[dict[str, Any]], gaps: list[Interval], sums: Counter[str]
) -> None:
    calls = {row["row"]: row for row in rows(trace, "launches", unit)}
    order = sorted(
        ((row["ts"], row["launch"] < 0, row["launch"]) for row in work), key=itemgetter(0, 1)
    )
    starts = [ts for ts, *_ in order]
    nexts = []
    for _, end in gaps:
        at = bisect_left(starts, end)
        nexts.append(calls.get(order[at][2]) if at < len(order) else None)
    tids = Counter(call["tid"] for call in nexts if call is not None) or Counter(
        call["tid"] for call in calls.values()
    )
    usual = min((tid for tid, count in tids.items() if count == max(tids.values())), default=-1)
    threads: dict[int, Thread] = {}
    for (begin, end), call in zip(gaps, nexts, strict=True):
        tid = usual if call is None else call["tid"]
        if tid not in threads:
            threads[tid] = Thread(trace, unit, tid)
        _gap(threads[tid], begin, end, None if call is None else call["ts"] + call["dur"], sums)


def _gap(thread: Thread, begin: int, end: int, returned: int | None, sums: Counter[str]) -> None:
    ready = end
    if returned is not None and (end - returned > LATE_NS or returned <= begin):
        ready = max(returned, begin)
    at = bisect_right(thread.waits, (begin, 1 << 62)) - 1
    drained = at >= 0 and thread.waits[at][1] + CLOCKS_NS >= begin
    near = [
        (name, [(first, last) for first, last in spans if first < end and last > begin])
        for name, spans in thread.kinds
    ]
    cuts = {begin, end, ready}
    for _, spans in near:
        cuts.update(itertools.chain.from_iterable(spans))
    if thread.first is not None:
        cuts.add(thread.first)
    inside = sorted(cut for cut in cuts if begin <= cut <= end)
    for now, then in itertools.pairwise(inside):
        kind = "other-idle" if now >= ready else None
        for name, spans in near:
            inside_span = any(first <= now < last for first, last in spans)
            if kind is None and (inside_span or (name == "sync-wait" and drained)):
                kind = name
        if kind is None:
            is_known = thread.first is not None and now >= thread.first
            kind = "host-bound" if is_known else "other-idle"
        sums[kind] += then - now
