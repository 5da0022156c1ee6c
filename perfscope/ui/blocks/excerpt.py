"""Which part of a run the timeline holds: a report of a few MB cannot hold every event of a long run.

A short run is held whole. Of a long one the intervals that some sentence or bar of the page points at are held, exactly,
with some steps around each; the page says so.
"""

from dataclasses import dataclass

import pandas as pd

from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.facts.longest_stretch import longest_stretch
from perfscope.traces.trace import Trace
from perfscope.ui.theme import mark_of

MOST_EVENTS = 6000
STEPS_IN_VIEW = 20
LONGEST_IN_STEPS = 40
VIEW_NS = (100_000_000, 20_000_000_000)
STEP_UNKNOWN_NS = 100_000_000


@dataclass(frozen=True)
class Excerpt:
    """Intervals in ns from the job's time zero: `view` is looked at first, `held` are embedded; `whole` when all is."""

    view: tuple[int, int]
    held: list[tuple[int, int]]
    whole: bool

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that touch what is held, at most MOST_EVENTS, in time order."""
        ordered = rows.sort_values("ts")
        if self.whole:
            return ordered.head(MOST_EVENTS)
        end = ordered["ts"] + ordered["dur"]
        keep = pd.Series(False, index=ordered.index)
        for begin_ns, end_ns in self.held:
            keep |= (ordered["ts"] <= end_ns) & (end >= begin_ns)
        return ordered[keep].head(MOST_EVENTS)


def excerpt(trace: Trace, diagnosis: Diagnosis, tables: list[pd.DataFrame], rank: int) -> Excerpt:
    """What of these tables (columns ts, dur) to hold; the first finding that points somewhere is looked at first."""
    mean_ms = diagnosis.steps.mean_ms
    step_ns = int(mean_ms * 1e6) if mean_ms is not None else STEP_UNKNOWN_NS
    wide = min(max(STEPS_IN_VIEW * step_ns, VIEW_NS[0]), VIEW_NS[1])
    places = [(one.start_ns, one.end_ns) for finding in diagnosis.findings for one in finding.evidence]
    pointed = [(begin, end) for begin, end in places if begin is not None and end is not None]
    own = {category: one for (of, category), one in trace.fact(longest_stretch).items() if of == rank}
    mark = mark_of(diagnosis.verdict.id)
    pointed += [(own[name].start_ns, own[name].end_ns) for name in sorted(own, key=lambda name: name != mark)]
    middle = (trace.span_ns[0] + trace.span_ns[1]) // 2
    first = pointed[0] if pointed else (middle, middle)
    if sum(map(len, tables)) <= MOST_EVENTS:
        return Excerpt(within(around(first, wide), trace.span_ns), [trace.span_ns], whole=True)
    most = LONGEST_IN_STEPS * step_ns
    held = sorted(
        within(around((begin, min(end, begin + most)), wide), trace.span_ns) for begin, end in pointed or [first]
    )
    return Excerpt(within(around(first, wide), trace.span_ns), joined(held), whole=False)


def around(interval: tuple[int, int], wide: int) -> tuple[int, int]:
    """At least `wide` ns with the interval in the middle."""
    begin, end = interval
    room = max(wide - (end - begin), wide // 4) // 2
    return begin - room, end + room


def within(interval: tuple[int, int], span: tuple[int, int]) -> tuple[int, int]:
    """Moved, and if need be cut, to lie inside the recording."""
    wide = min(interval[1] - interval[0], span[1] - span[0])
    begin = min(max(interval[0], span[0]), span[1] - wide)
    return begin, begin + wide


def joined(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted intervals with those that touch made one."""
    found: list[tuple[int, int]] = []
    for begin, end in intervals:
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found
