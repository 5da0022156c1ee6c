"""A second, slow computation of a device's time budget: it walks from each edge of an event to the
next.

It is written from the docstring of `segments`, and shares no code with it.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from operator import itemgetter
from typing import Any

from perfscope.analyzer.budget.thread_work import SAVES
from perfscope.analyzer.run.budget_units import Unit
from perfscope.traces.trace import Trace

WORK = ("device-compute", "exposed-communication", "peer-wait", "exposed-copy")
"""In order of precedence."""
CATEGORY_OF_KERNEL = {"compute": "device-compute", "communication": "exposed-communication"}
DELAYED_NS, CLOCK_ERROR_NS = 100_000, 2_000
NEVER = 1 << 62
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
    """Return the row of a collective in `kernels` -> when its last rank arrived, ns.

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
    """The intervals of one thread of the host, by category in order of precedence.

    `first` is the begin of its first event, None without any.
    """

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
            if row["kind"] == "sync" or row["ts"] + row["dur"] >= done.get(row["row"], NEVER)
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


def budget_of_unit(trace: Trace, unit: Unit) -> dict[str, int]:
    """Return the nanoseconds of each category over the span of the unit."""
    work = [
        row for name in ("kernels", "copies") for row in rows(trace, name, unit, on_device=True)
    ]
    sums, gaps = sum_work(unit, work, arrivals(trace))
    calls = {row["row"]: row for row in rows(trace, "launches", unit)}
    next_calls = next_launch_calls(work, calls, [end for _, end in gaps])
    known = [call["tid"] for call in next_calls if call is not None]
    launching = most_frequent(known or [call["tid"] for call in calls.values()])
    threads: dict[int, Thread] = {}
    for gap, call in zip(gaps, next_calls, strict=True):
        tid = launching if call is None else call["tid"]
        if tid not in threads:
            threads[tid] = Thread(trace, unit, tid)
        sums += sum_gap(threads[tid], gap, None if call is None else call["ts"] + call["dur"])
    return {category: ns for category, ns in sums.items() if ns}


def sum_work(
    unit: Unit, work: list[dict[str, Any]], last_arrivals: dict[int, int]
) -> tuple[Counter[str], list[Interval]]:
    """Return the ns of each category of WORK, and the gaps without work."""
    edges = work_edges(work, last_arrivals)
    sums: Counter[str] = Counter()
    active: Counter[str] = Counter()
    gaps: list[Interval] = []
    instants = sorted({unit.begin_ns, unit.end_ns, *edges})
    for begin, end in itertools.pairwise(instants):
        active.update(edges.get(begin, {}))
        category = next((name for name in WORK if active[name] > 0), None)
        if category is not None:
            sums[category] += end - begin
        elif gaps and gaps[-1][1] == begin:
            gaps[-1] = (gaps[-1][0], end)
        else:
            gaps.append((begin, end))
    return sums, gaps


def work_edges(
    work: list[dict[str, Any]], last_arrivals: dict[int, int]
) -> dict[int, Counter[str]]:
    """Return instant -> by how much the number of active events of each category changes."""
    edges: dict[int, Counter[str]] = defaultdict(Counter)
    for row in work:
        category = CATEGORY_OF_KERNEL.get(row.get("kind", ""), "exposed-copy")
        begin, end = row["ts"], row["ts"] + row["dur"]
        arrived = begin
        if category == "exposed-communication":
            arrived = min(max(last_arrivals.get(row["row"], begin), begin), end)
        for name, first, last in (("peer-wait", begin, arrived), (category, arrived, end)):
            if last > first:
                edges[first][name] += 1
                edges[last][name] -= 1
    return edges


def next_launch_calls(
    work: list[dict[str, Any]], calls: dict[int, dict[str, Any]], instants: list[int]
) -> list[dict[str, Any] | None]:
    """Return, for each instant, the call that launched the next work; None where it is unknown."""
    order = sorted(
        ((row["ts"], row["launch"] < 0, row["launch"]) for row in work), key=itemgetter(0, 1)
    )
    begins = [begin for begin, *_ in order]
    positions = [bisect_left(begins, instant) for instant in instants]
    return [calls.get(order[at][2]) if at < len(order) else None for at in positions]


def most_frequent(tids: list[int]) -> int:
    """Return the thread that occurs most often, the smallest of several; -1 without any."""
    counts = Counter(tids)
    return min((tid for tid in counts if counts[tid] == max(counts.values())), default=-1)


def sum_gap(thread: Thread, gap: Interval, returned: int | None) -> Counter[str]:
    """Return the ns of each category in a gap before work whose launch call `returned` then."""
    begin, end = gap
    launched = end
    if returned is not None and (end - returned > DELAYED_NS or returned <= begin):
        launched = max(returned, begin)
    at = bisect_right(thread.waits, (begin, NEVER)) - 1
    is_drained = at >= 0 and thread.waits[at][1] + CLOCK_ERROR_NS >= begin
    kinds = [
        (name, [(first, last) for first, last in spans if first < end and last > begin])
        for name, spans in thread.kinds
    ]
    cuts = {begin, end, launched}
    for _, spans in kinds:
        cuts.update(itertools.chain.from_iterable(spans))
    if thread.first is not None:
        cuts.add(thread.first)
    sums: Counter[str] = Counter()
    for now, until in itertools.pairwise(sorted(cut for cut in cuts if begin <= cut <= end)):
        covering = [
            name
            for name, spans in kinds
            if (name == "sync-wait" and is_drained)
            or any(first <= now < last for first, last in spans)
        ]
        is_known = thread.first is not None and now >= thread.first
        if now >= launched:
            category = "other-idle"
        elif covering:
            category = covering[0]
        else:
            category = "host-bound" if is_known else "other-idle"
        sums[category] += until - now
    return sums
