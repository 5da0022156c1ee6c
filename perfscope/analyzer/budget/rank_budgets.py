"""The time budget of each rank, as the Diagnosis shows it."""

from typing import Literal

from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.budget.span_budget import span_budget
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORY_IDS
from perfscope.analyzer.diagnosis import BudgetEntry, ProcessBudget
from perfscope.analyzer.run.loops.steps import trainers
from perfscope.analyzer.run.table_access import column
from perfscope.traces.trace import Trace


def budgets(trace: Trace) -> list[ProcessBudget]:
    """Return the time budget of each rank over its steady steps.

    Without steps (observed from outside) it is that of the main thread's samples. Shares sum to 1.
    """
    if trace.has_profiled_work:
        return span_budgets(trace)
    rows = trace.fact(steady_budget)
    ranks = []
    for process, rank in trainers(trace):
        of_rank = rows[rows["process"] == process]
        if len(of_rank):
            seconds = {name: int(column(of_rank, name).sum()) / 1e9 for name in CATEGORY_IDS}
            ranks.append(ProcessBudget(process, rank, budget_entries(seconds)))
    if ranks:
        return ranks
    observed = trace.fact(observed_budget)
    if observed is None:
        return []
    seconds = {name: share * observed.span_s for name, share in observed.shares.items()}
    return [ProcessBudget(observed.process, observed.rank, budget_entries(seconds))]


def span_budgets(trace: Trace) -> list[ProcessBudget]:
    """Return the budget of each rank of a profiler's trace, from its first event to its last."""
    ranks = []
    for row in trace.fact(span_budget).to_dict("records"):
        seconds = {name: int(row[name]) / 1e9 for name in CATEGORY_IDS}
        ranks.append(ProcessBudget(int(row["process"]), int(row["rank"]), budget_entries(seconds)))
    return ranks


def budget_over(trace: Trace) -> Literal["steps", "span"]:
    """Return what the time budget covers: the steady `steps`, or the whole `span`."""
    if trace.has_profiled_work or not len(trace.fact(steady_budget)):
        return "span"
    return "steps"


def budget_entries(seconds: dict[str, float]) -> list[BudgetEntry]:
    """Return the categories that took time, the largest first."""
    whole = sum(seconds.values())
    if whole <= 0.0:
        return []
    taken = [(name, amount) for name, amount in seconds.items() if amount > 0.0]
    taken.sort(key=lambda item: -item[1])
    return [BudgetEntry(name, amount, amount / whole) for name, amount in taken]
