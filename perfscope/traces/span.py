"""First and last instant of tables, and their times counted from the first."""

from collections.abc import Iterable

import pandas as pd


def span(tables: Iterable[pd.DataFrame]) -> tuple[int, int]:
    """First and last instant of all events, ns of job time."""
    first, last = [], []
    for table in tables:
        if "ts" in table and len(table):
            ends = table["ts"] + table["dur"] if "dur" in table else table["ts"]
            first.append(int(table["ts"].min()))
            last.append(int(ends.max()))
    return (min(first), max(last)) if first else (0, 0)


def on_job_time(tables: dict[str, pd.DataFrame]) -> int:
    """Count the times of all tables from the first instant on; returns that instant as it was
    recorded, ns.
    """
    zero_ns, _ = span(tables.values())
    for table in tables.values():
        if "ts" in table:
            table["ts"] -= zero_ns
    return zero_ns
