"""How late each rank comes to the collectives, counted from the first rank that came."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.matched_collectives import matched_collectives, rank_of_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

COLUMNS = (
    "rank",
    "collectives",
    "low_ns",
    "median_ns",
    "high_ns",
    "latest_ns",
    "last_share",
    "latest_ts",
)


def arrival_spread(trace: Trace) -> pd.DataFrame:
    """One row a rank, over the collectives that other ranks are seen in too; empty without any.

    How long after the first rank it came, ns on the job's clock: the 5th, 50th and 95th percentile
    (low_ns, median_ns, high_ns) and the latest (latest_ns, at latest_ts); last_share: of these
    collectives it came last to.
    """
    found = trace.fact(matched_collectives)
    frame = table(trace, "collectives")
    match = column(found, "match")
    if frame is None or not (match >= 0).any():
        return pd.DataFrame(columns=list(COLUMNS))
    rows = np.flatnonzero(match >= 0)
    ts = column(frame, "ts")[rows]
    _, place = np.unique(match[rows], return_inverse=True)
    first = np.full(place.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, place, ts)
    late = pd.DataFrame(
        {
            "rank": rank_of_rows(trace, frame)[rows],
            "late": ts - first[place],
            "ts": ts,
            "last": column(found, "last_row")[rows] == rows,
        }
    )
    told = [
        (
            int(own["rank"].iloc[0]),
            len(own),
            *np.percentile(own["late"], (5, 50, 95)).tolist(),
            int(own["late"].max()),
            float(own["last"].mean()),
            int(own["ts"].iloc[int(own["late"].to_numpy().argmax())]),
        )
        for _, own in late.groupby("rank")
    ]
    return pd.DataFrame(told, columns=list(COLUMNS))
