"""The time budget of one device counted the slow way: instant by instant over the edges of events,
without interval algebra.

Written from what the docstring of `segments` says, and from nothing of how it does it.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from typing import Any

from perfscope.analyzer.budget.thread_work import SAVES
from perfscope.analyzer.run.units import Unit
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
    """Row of `kernels` -> when the last of the ranks came to that collective: the n-th of a kind
    and group is the same on all.
    """
    frame = trace.table("collectives")
    if frame is None or frame["process"].nunique() < 2:
        return {}
    order: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for cells in frame.sort_values("ts").to_dict("records"):
        row = {str(key): cell for key, cell in cells.items()}
        order[row["process"], row["kind"], row["group"]].append(row)
    same: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for (_, kind, group), one in order.items():
        for number, row in enumerate(one):
            same[kind, group, number].append(row)
    return {
        row["kernel"]: max(one["ts"] for one in some)
        for some in same.values()
        if len(some) > 1
        for row in some
    }


class Thread:
    """What one thread of the host did."""

    def __init__(self, trace: Trace, unit: Unit, tid: int) -> None:
        own = {
            name: [row for row in rows(trace, name, unit) if row["tid"] == tid]
            for name in ("ops", "launches", "ranges", "loader")
        }
        begun = [row["ts"] for one in own.values() for row in one]
        self.first = min(begun) if begun else None
        done = {row["launch"]: row["ts"] + row["dur"] for row in rows(trace, "copies", unit)}
        self.waits = sorted(
            (row["ts"], row["ts"] + row["dur"])
            for row in own["launches"]
            if row["kind"] == "sync" or row["ts"] + row["dur"] >= done.get(row["row"], 1 << 62)
        )
        spans = lambda some: sorted((row["ts"], row["ts"] + row["dur"]) for row in some)  # noqa: E731
        self.kinds: list[tuple[str, list[Interval]]] = [
            (
                "profiler-overhead",
                spans(row for row in own["ranges"] if row["category"] == "overhead"),
            ),
            (
                "checkpoint",
                spans(
                    row
                    for row in own["ranges"]
                    if row["category"] == "checkpoint" or SAVES.search(str(row["name"]))
                ),
            ),
            ("input-wait", spans(own["loader"])),
            ("sync-wait", self.waits),
        ]


def counted(trace: Trace, unit: Unit) -> dict[str, int]:
    """Nanoseconds of each category over the span of the unit."""
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
        ((row["ts"], row["launch"] < 0, row["launch"]) for row in work), key=lambda one: one[:2]
    )
    starts = [one[0] for one in order]
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
        (name, [one for one in some if one[0] < end and one[1] > begin])
        for name, some in thread.kinds
    ]
    cuts = {begin, end, ready, *(edge for _, some in near for one in some for edge in one)}
    if thread.first is not None:
        cuts.add(thread.first)
    inside = sorted(cut for cut in cuts if begin <= cut <= end)
    for now, then in itertools.pairwise(inside):
        kind = "other-idle" if now >= ready else None
        for name, some in near:
            if kind is None and (
                any(a <= now < b for a, b in some) or (name == "sync-wait" and drained)
            ):
                kind = name
        if kind is None:
            kind = (
                "host-bound" if thread.first is not None and now >= thread.first else "other-idle"
            )
        sums[kind] += then - now
