"""Which rank the answer is told of, and when there are enough steps to tell anything."""

import pandas as pd

from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.budget.span_budget import span_budget
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORIES, PEER_WAIT
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.run.steps import trainers
from perfscope.analyzer.run.table_access import table
from perfscope.traces.trace import Trace

LOST = tuple(category.id for category in CATEGORIES if category.delays_others)
# Who waits for others does not hold them up.
GIVEN = tuple(category.id for category in CATEGORIES if category.resource == "communication")


def few_steps(trace: Trace, limits: Limits) -> str | None:
    """Why nothing can be said of steps, None when there are enough of them on some rank."""
    most = most_steps(trace)
    if most >= limits.fewest_steps:
        return None
    if table(trace, "ranges") is None and table(trace, "loader") is None:
        return "needs the probe in the process: steps are not seen from outside"
    return f"needs {limits.fewest_steps} whole steps, {most} seen"


def most_steps(trace: Trace) -> int:
    """How many steady steps the rank has that has most."""
    rows = trace.fact(steady_budget)
    return int(rows.groupby("process").size().max()) if len(rows) else 0


def critical_rank(trace: Trace, limits: Limits) -> int | None:
    """Process code of the rank that holds the others up: steady steps clearly longer, of equals the
    one that loses most.

    Ranks that synchronise gradients take equally long; the one that waits for input or writes
    checkpoints is the cause.
    """
    means = trace.fact(step_means)
    means = means[means["count"] >= limits.fewest_steps]
    if not len(means):
        return None
    slowest = means["dur"].max()
    near = means[means["dur"] >= 0.95 * slowest]
    return int((near[list(LOST)].sum(axis=1) - near[list(GIVEN)].sum(axis=1)).idxmax())


def step_means(trace: Trace) -> pd.DataFrame:
    """By process: `count` of its steady steps, and the mean ns of `dur`, LOST and GIVEN."""
    groups = trace.fact(steady_budget).groupby("process")
    return groups[["dur", *LOST, *GIVEN]].mean().assign(count=groups.size())


def steps_of(trace: Trace, process: int) -> pd.DataFrame:
    """The steady steps of one process with their budget."""
    rows = trace.fact(steady_budget)
    return rows[rows["process"] == process]


def rank_of(rows: pd.DataFrame) -> int:
    """The rank of these steps."""
    return int(rows["rank"].iloc[0])


def severity_of(share: float, limits: Limits) -> str:
    """critical from the share on at which XProf says "highly", else warning."""
    return "critical" if share >= limits.critical_share else "warning"


def rank_of_process(trace: Trace, process: int | None) -> int | None:
    """The rank whose budget is told."""
    if process is None and trace.has_profiled_work:
        sums = trace.fact(span_budget)
        return int(sums.sort_values([PEER_WAIT, "rank"])["rank"].iloc[0]) if len(sums) else None
    if process is None:
        seen = trace.fact(observed_budget)
        return (
            seen.rank
            if seen is not None and not len(trace.fact(steady_budget))
            else _only_rank(trace)
        )
    return dict(trainers(trace)).get(process)


def _only_rank(trace: Trace) -> int | None:
    """The first rank with any steady steps, too few as they are."""
    rows = trace.fact(steady_budget)
    return int(rows["rank"].iloc[0]) if len(rows) else None
