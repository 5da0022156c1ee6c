"""Collectives matched across ranks, with the arrival of the last rank, for which others wait."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.collectives.collective_matching import match_collectives
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

COLUMNS = ("match", "arrival_ns", "last_rank", "ranks", "last_row")


def matched_collectives(trace: Trace) -> pd.DataFrame:
    """Return one row for each row of table `collectives`, in its order; all int64.

    `match`: the same number on all rows of one collective, -1 for none (one rank only, point to
    point, nothing that shows which belong together). `arrival_ns`: when the last recorded rank
    arrived, job time, -1 without a match. `last_rank`: that rank, `last_row` its row. `ranks`: how
    many ranks of it were recorded.
    """
    frame = table(trace, "collectives")
    if frame is None:
        return pd.DataFrame({name: np.empty(0, np.int64) for name in COLUMNS})
    match = match_collectives(frame, table(trace, "kernels"))
    ts = column(frame, "ts")
    arrival, last, ranks, last_row = (np.full(len(frame), -1, np.int64) for _ in range(4))
    rows = np.flatnonzero(match >= 0)
    # Sorted by match, then by arrival: the last row of each match is that of the last rank.
    rows = rows[np.lexsort((ts[rows], match[rows]))]
    if len(rows):
        _, begin, place, count = np.unique(
            match[rows], return_index=True, return_inverse=True, return_counts=True
        )
        final = rows[begin + count - 1]
        arrival[rows] = ts[final][place]
        last[rows] = rank_of_rows(trace, frame)[final][place]
        ranks[rows] = count[place]
        last_row[rows] = final[place]
    return pd.DataFrame(dict(zip(COLUMNS, (match, arrival, last, ranks, last_row), strict=True)))


def rank_of_rows(trace: Trace, frame: pd.DataFrame) -> Ints:
    """Return the rank of the process of each row, -1 where unknown."""
    ranks = table(trace, "ranks")
    ranks = table(trace, "processes") if ranks is None else ranks
    if ranks is None:
        return np.full(len(frame), -1, np.int64)
    known = dict(
        zip(column(ranks, "process").tolist(), column(ranks, "rank").tolist(), strict=True)
    )
    codes, place = np.unique(column(frame, "process"), return_inverse=True)
    of_code = np.array([known.get(int(code), -1) for code in codes], np.int64)
    found: Ints = of_code[place]
    return found
