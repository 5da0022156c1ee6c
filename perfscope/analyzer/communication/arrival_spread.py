"""How late each rank arrives at the collectives, relative to the first rank."""

from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.ranks.matched_collectives import matched_collectives, rank_of_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

COLUMNS: Final = (
    "rank",
    "collectives",
    "low_ns",
    "median_ns",
    "high_ns",
    "latest_ns",
    "last_share",
    "latest_ts",
)
PERCENTILES: Final = (5, 50, 95)


def arrival_spread(trace: Trace) -> pd.DataFrame:
    """Return one row per rank, over the collectives that other ranks were recorded in too.

    The delay after the first rank, in ns on the job's clock: its 5th, 50th and 95th percentile
    (low_ns, median_ns, high_ns) and the longest (latest_ns, at latest_ts). `last_share` is the
    share of these collectives at which it arrived last. Empty without any.
    """
    matched = trace.fact(matched_collectives)
    frame = table(trace, "collectives")
    match = column(matched, "match")
    if frame is None or not (match >= 0).any():
        return pd.DataFrame(columns=list(COLUMNS))
    rows = np.flatnonzero(match >= 0)
    ts = column(frame, "ts")[rows]
    _, number = np.unique(match[rows], return_inverse=True)
    first_ts = np.full(number.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_ts, number, ts)
    arrivals = pd.DataFrame(
        {
            "rank": rank_of_rows(trace, frame)[rows],
            "delay": ts - first_ts[number],
            "ts": ts,
            "is_last": column(matched, "last_row")[rows] == rows,
        }
    )
    spreads = [spread_of_rank(of_rank) for _, of_rank in arrivals.groupby("rank")]
    return pd.DataFrame(spreads, columns=list(COLUMNS))


def spread_of_rank(arrivals: pd.DataFrame) -> tuple[object, ...]:
    """Return the row of one rank, in the order of COLUMNS."""
    delay = arrivals["delay"].to_numpy()
    latest = int(delay.argmax())
    return (
        int(arrivals["rank"].iloc[0]),
        len(arrivals),
        *np.percentile(delay, PERCENTILES).tolist(),
        int(delay[latest]),
        float(arrivals["is_last"].mean()),
        int(arrivals["ts"].iloc[latest]),
    )
