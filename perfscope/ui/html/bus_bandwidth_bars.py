"""The bus bandwidth of each collective and group: a bar each, with a mark at the links' peak."""

from typing import Any

import pandas as pd

from perfscope.analyzer.number_text import digits, percent
from perfscope.ui.html.bar_rows import BarRow, bar_rows

CATEGORY = "exposed-communication"
LONGEST_LABEL = 34


def bus_bandwidth_bars(rows: pd.DataFrame) -> str:
    """Return the chart; `rows` are those of the fact `collective_links` with a bandwidth."""
    known = [*rows["bus_bytes_per_s"].dropna(), *rows["peak_bytes_per_s"].dropna()]
    longest = max(known, default=0.0) or 1.0
    return bar_rows([bandwidth_row(row, longest) for row in rows.to_dict("records")])


def bandwidth_row(row: dict[Any, Any], longest_bytes_per_s: float) -> BarRow:
    """Return the bar of a collective, on an axis that ends at `longest_bytes_per_s`."""
    peak = row["peak_bytes_per_s"]
    is_known = peak == peak
    text = bandwidth_of_peak(row)
    tooltip = f"{row['kind']} {row['group']}: {text}"
    if is_known:
        tooltip += f"; peak of the links: {digits(peak / 1e9)} GB/s"
    return BarRow(
        collective_label(row["kind"], row["group"]),
        text,
        CATEGORY,
        row["bus_bytes_per_s"] / longest_bytes_per_s,
        mark=peak / longest_bytes_per_s if is_known else None,
        tooltip=tooltip,
    )


def collective_label(kind: object, group: object) -> str:
    """Return `all_reduce 0 [0, 1]`, shortened where it is long."""
    text = f"{kind} {group}"
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"


def bandwidth_of_peak(row: dict[Any, Any]) -> str:
    """Return `at least 6.56 GB/s, 2 % of the peak`."""
    least = "at least " if row["at_least"] else ""
    share = row["carried_bytes_per_s"] / row["peak_bytes_per_s"]
    part = f", {percent(share)} of the peak" if share == share else ""
    return f"{least}{digits(row['bus_bytes_per_s'] / 1e9)} GB/s{part}"
