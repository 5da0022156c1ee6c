"""The step that has most of a category of the time budget, to show first."""

from dataclasses import dataclass

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class StepInterval:
    """An interval in ns from the job's time zero."""

    start_ns: int
    end_ns: int


def longest_stretch(trace: Trace) -> dict[tuple[int, str], StepInterval]:
    """Return, by rank and category, the steady step with most time of it.

    Categories that take no time of a rank are left out.
    """
    stretches = {}
    for rank, rows in trace.fact(steady_budget).groupby("rank"):
        begin = column(rows, "ts")
        end = begin + column(rows, "dur") + column(rows, "cut")
        for name in CATEGORY_IDS:
            amounts = column(rows, name)
            most = int(amounts.argmax())
            if amounts[most] > 0:
                stretches[int(str(rank)), name] = StepInterval(int(begin[most]), int(end[most]))
    return stretches
