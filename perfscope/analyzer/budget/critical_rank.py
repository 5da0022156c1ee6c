"""The critical rank, which the diagnosis describes, and whether there are enough steps."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.budget.span_budget import span_budget
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import CATEGORIES, PEER_WAIT
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.rule import Unmet
from perfscope.analyzer.run.loops.steps import trainers
from perfscope.analyzer.run.table_access import table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

LOST = tuple(category.id for category in CATEGORIES if category.delays_others)
GIVEN = tuple(category.id for category in CATEGORIES if category.resource == "communication")
"""A rank that waits for others does not delay them."""


def missing_steps(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why steps cannot be analyzed, None when some rank has enough of them."""
    most = most_steps(trace)
    if most >= limits.fewest_steps:
        return None
    if table(trace, "ranges") is None and table(trace, "loader") is None:
        return Unmet("other", "needs the probe in the process: steps are not seen from outside")
    return Unmet("too-short", f"needs {limits.fewest_steps} whole steps, {most} seen")


def few_steps(trace: Trace, limits: Limits) -> str | None:
    """Return the reason of `missing_steps`."""
    missing = missing_steps(trace, limits)
    return None if missing is None else missing.reason


def most_steps(trace: Trace) -> int:
    """Return the number of steady steps of the rank that has most."""
    rows = trace.fact(steady_budget)
    return int(rows.groupby("process").size().max()) if len(rows) else 0


def critical_rank(trace: Trace, limits: Limits) -> int | None:
    """Return the process code of the rank that delays the others, None without enough steps.

    Its steady steps are clearly longer; among equals it is the one that loses most. Ranks that
    synchronize gradients take equally long; the one that waits for input or writes checkpoints is
    the cause.
    """
    means = trace.fact(step_means)
    step_ns = np.where(means.count >= limits.fewest_steps, means.step_ns, np.nan)
    if np.isnan(step_ns).all():
        return None
    near = step_ns >= limits.as_slow_as_slowest * np.nanmax(step_ns)
    return int(means.process[np.argmax(np.where(near, means.delaying_ns, -np.inf))])


@dataclass(frozen=True)
class StepMeans:
    """The steady steps of each process: a value per process in every field."""

    process: Ints
    count: Ints
    step_ns: NDArray[np.float64]
    """The mean length."""
    delaying_ns: NDArray[np.float64]
    """The mean of what delays others (LOST), less the mean of what waits for them (GIVEN)."""


def step_means(trace: Trace) -> StepMeans:
    """Return the means of the steady steps by process."""
    groups = trace.fact(steady_budget).groupby("process")
    means, sizes = groups[["dur", *LOST, *GIVEN]].mean(), groups.size()
    delaying_ns = means[list(LOST)].sum(axis=1) - means[list(GIVEN)].sum(axis=1)
    return StepMeans(
        sizes.index.to_numpy(np.int64),
        sizes.to_numpy().astype(np.int64),
        means["dur"].to_numpy(np.float64),
        delaying_ns.to_numpy(np.float64),
    )


def steps_of(trace: Trace, process: int) -> pd.DataFrame:
    """Return the steady steps of one process with their budget."""
    rows = trace.fact(steady_budget)
    return rows[rows["process"] == process]


def severity_of(share: float, limits: Limits) -> str:
    """Return `critical` from the share that XProf calls "highly" bound, else `warning`."""
    return "critical" if share >= limits.critical_share else "warning"


def rank_of_process(trace: Trace, process: int | None) -> int | None:
    """Return the rank whose budget is shown: that of the critical `process`, where there is one."""
    if process is not None:
        return dict(trainers(trace)).get(process)
    if trace.has_profiled_work:
        sums = trace.fact(span_budget)
        return int(sums.sort_values([PEER_WAIT, "rank"])["rank"].iloc[0]) if len(sums) else None
    rows, observed = trace.fact(steady_budget), trace.fact(observed_budget)
    if len(rows):  # of the first rank that has any, too few as they are
        return int(rows["rank"].iloc[0])
    return None if observed is None else observed.rank
