"""For each category of the time budget the step that has most of it: where to look first."""

from dataclasses import dataclass

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Stretch:
    """An interval in ns from the job's time zero."""

    start_ns: int
    end_ns: int


def longest_stretch(trace: Trace) -> dict[tuple[int, str], Stretch]:
    """(rank, category) -> its longest steady step; categories that take no time of a rank are left
    out.
    """
    rows = trace.fact(steady_budget)
    found = {}
    for rank, own in rows.groupby("rank"):
        begin, end = column(own, "ts"), column(own, "ts") + column(own, "dur") + column(own, "cut")
        for name in CATEGORY_IDS:
            amounts = column(own, name)
            at = int(amounts.argmax())
            if amounts[at] > 0:
                found[int(str(rank)), name] = Stretch(int(begin[at]), int(end[at]))
    return found
