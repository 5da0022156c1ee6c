"""The own time of each rank in each step: what it does itself, without waiting for its peers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.categories import PEER_WAIT
from perfscope.traces.trace import Trace

MOST_COLUMNS = 160
"""Columns of a picture; of more steps, a column is the mean of neighbors."""


@dataclass(frozen=True)
class RankHeat:
    """Rows are ranks, the slowest first; columns are neighboring steps in order of time."""

    ranks: list[int]
    first_steps: list[int]
    """The number of the first step of each column."""
    begin_ns: list[int]
    end_ns: list[int]
    own_ms: NDArray[np.float64]
    """Mean own time, ranks x columns; NaN where a rank has no steady step in a column."""


def rank_heat(trace: Trace) -> RankHeat | None:
    """Return the own time of the ranks, None without steady steps of two ranks."""
    rows = trace.fact(steady_budget)
    if not len(rows) or rows["rank"].nunique() < 2:
        return None
    numbers = np.unique(rows["index"].to_numpy(np.int64))
    width = -(-len(numbers) // MOST_COLUMNS)  # rounded up
    column = np.searchsorted(numbers, rows["index"].to_numpy(np.int64)) // width
    end_ns = rows["ts"] + rows["dur"] + rows["cut"]
    placed = rows[["rank", "index", "ts"]].assign(
        column=column, end=end_ns, own_ms=(rows["dur"] - rows[PEER_WAIT]) / 1e6
    )
    own_ms = placed.groupby(["rank", "column"])["own_ms"].mean().unstack("column")
    slowest_first = own_ms.mean(axis=1).sort_values(ascending=False, kind="stable").index
    places = placed.groupby("column").agg({"index": "min", "ts": "min", "end": "max"})
    return RankHeat(
        ranks=[int(rank) for rank in slowest_first],
        first_steps=places["index"].astype(int).tolist(),
        begin_ns=places["ts"].astype(int).tolist(),
        end_ns=places["end"].astype(int).tolist(),
        own_ms=own_ms.loc[slowest_first].to_numpy(np.float64),
    )
