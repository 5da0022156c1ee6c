"""The time budget of each rank, as the Diagnosis shows it."""

from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.budget.span_budget import span_budget
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnosis import BudgetEntry, RankBudget
from perfscope.analyzer.run.rank_waiting import host_by_process
from perfscope.analyzer.run.steps import trainers
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace


def budgets(trace: Trace) -> list[RankBudget]:
    """The time budget of each rank over its steady steps (from outside: of the main thread's
    samples); shares sum to
    1.
    """
    if trace.has_profiled_work:
        return of_whole_trace(trace)
    rows = trace.fact(steady_budget)
    ranks = []
    hosts = host_by_process(trace)
    several = len({hosts.get(process) for process, _ in trainers(trace)}) > 1
    for process, rank in trainers(trace):
        own = rows[rows["process"] == process]
        if len(own):
            sums = {name: int(column(own, name).sum()) for name in CATEGORY_IDS}
            own_host = hosts.get(process) if several else None
            ranks.append(
                RankBudget(rank, entries({name: ns / 1e9 for name, ns in sums.items()}), own_host)
            )
    if ranks:
        return ranks
    seen = trace.fact(observed_budget)
    if seen is None:
        return []
    return [
        RankBudget(
            seen.rank, entries({name: share * seen.span_s for name, share in seen.shares.items()})
        )
    ]


def of_whole_trace(trace: Trace) -> list[RankBudget]:
    """The budget of each rank of a recorded trace, from its first event to its last."""
    return [
        RankBudget(int(row["rank"]), entries({name: int(row[name]) / 1e9 for name in CATEGORY_IDS}))
        for row in trace.fact(span_budget).to_dict("records")
    ]


def budget_over(trace: Trace) -> str:
    """What the time budget is of: the steady `steps`, or the whole `span`."""
    if trace.has_profiled_work or not len(trace.fact(steady_budget)):
        return "span"
    return "steps"


def entries(seconds: dict[str, float]) -> list[BudgetEntry]:
    """Largest first; a category that took no time is left out."""
    whole = sum(seconds.values())
    if whole <= 0.0:
        return []
    taken = sorted(((name, s) for name, s in seconds.items() if s > 0.0), key=lambda item: -item[1])
    return [BudgetEntry(name, s, s / whole) for name, s in taken]
