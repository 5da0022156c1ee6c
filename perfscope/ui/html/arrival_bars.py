"""How late each rank joins the collectives: the median, and the 5th to 95th percentile."""

import pandas as pd

from perfscope.analyzer.number_text import ms, percent
from perfscope.ui.html.bar_rows import BarRow, bar_rows

MOST_RANKS, SHOWN_RANKS = 24, 16
"""Of more ranks than MOST_RANKS, the SHOWN_RANKS that join last are shown, and the chosen one."""


def shown_arrivals(rows: pd.DataFrame, rank: int) -> pd.DataFrame:
    """Return the rows that are shown, by rank: of many, those with the largest medians, and that of
    `rank`.
    """
    if len(rows) > MOST_RANKS:
        latest = rows.nlargest(SHOWN_RANKS, "median_ns").index
        rows = rows[rows.index.isin(latest) | (rows["rank"] == rank)]
    return rows.sort_values("rank")


def arrival_bars(rows: pd.DataFrame) -> str:
    """Return the chart of rows of the fact `arrival_spread`."""
    longest_ns = max(float(rows["high_ns"].max()), float(rows["median_ns"].max()), 1.0)
    return bar_rows(
        [
            BarRow(
                f"rank {row['rank']}",
                ms(row["median_ns"]),
                "exposed-communication",
                begin=row["low_ns"] / longest_ns,
                end=row["high_ns"] / longest_ns,
                dot=row["median_ns"] / longest_ns,
                tooltip=f"rank {row['rank']}: median {ms(row['median_ns'])}, at most"
                f" {ms(row['latest_ns'])}, last in {percent(row['last_share'])} of collectives",
            )
            for row in rows.to_dict("records")
        ]
    )
