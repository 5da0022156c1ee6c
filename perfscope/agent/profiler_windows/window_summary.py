"""One line about a profiling window, for the status of the source `kernels`."""

from collections.abc import Mapping, Sequence
from typing import Any

SLOW_START_NS = 20_000_000
"""A slower start is reported, because torch holds the GIL for most of it."""
MOST_SUMMARIES = 2


def summarize_windows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each of the last windows, and their number if there are more."""
    lines = [summarize_window(row) for row in rows[-MOST_SUMMARIES:]]
    if len(rows) > MOST_SUMMARIES:
        lines.insert(0, f"{len(rows)} windows, the last two:")
    return lines


def summarize_window(row: Mapping[str, Any]) -> str:
    """Return one line about a window; `row` is its row of the stream `kernels`."""
    duration_ms = (row["end"] - row["begin"]) / 1e6
    size_mb = row["bytes"] / 1e6
    text = f"{row['steps']} whole steps in a window of {duration_ms:.0f} ms, {size_mb:.1f} MB"
    if row.get("gil"):
        text += ", ended with the GIL held"
    start_ns = row["begin"] - row["first"]
    if start_ns >= SLOW_START_NS:
        text += f", started in {start_ns / 1e6:.0f} ms"
        if "enable" in row:
            text += f" ({row['enable'] / 1e6:.0f} ms of them with the GIL held)"
    if row.get("hurried"):
        text += " (cut short because the program started its own profiler)"
    stall_ns = row.get("stall")
    if stall_ns is not None:
        text += f"; ending it delayed one step by {stall_ns / 1e6:.0f} ms"
    return text
