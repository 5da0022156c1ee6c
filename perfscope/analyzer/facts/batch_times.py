"""The beat of a loop while it runs: one row a batch, cheap enough to be looked at twice a second."""

import numpy as np
import pandas as pd

from perfscope.analyzer.facts.rows import column, table
from perfscope.traces.trace import Trace

COLUMNS = ("process", "rank", "ts", "period", "wait", "queue_depth")


def batch_times(trace: Trace) -> pd.DataFrame:
    """Columns process, rank, ts (the batch was there, or the optimizer done), period (since the one before), wait (for the
    batch), queue_depth (batches ready when asked, -1 unknown); int64, times in ns.

    Of a process that asks no PyTorch loader an optimizer's step is the beat, and its wait is -1: not known.
    """
    processes = table(trace, "processes")
    if processes is None:
        return empty()
    mains = processes[processes["role"] == "main"]
    parts = []
    for process, rank in zip(mains["process"], mains["rank"], strict=True):
        beats = asked(trace, int(process))
        beats = stepped(trace, int(process)) if beats is None else beats
        if beats is not None and len(beats) > 1:
            beats["period"] = np.diff(column(beats, "ts"), prepend=beats["ts"].iloc[0])
            parts.append(beats.iloc[1:].assign(process=int(process), rank=int(rank))[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True) if parts else empty()


def empty() -> pd.DataFrame:
    return pd.DataFrame({name: np.empty(0, np.int64) for name in COLUMNS})


def asked(trace: Trace, process: int) -> pd.DataFrame | None:
    """The batches of a process's loader; None when it asks none."""
    loader = table(trace, "loader")
    if loader is None:
        return None
    rows = loader[(loader["process"] == process) & (loader["kind"] == "next") & (loader["end"] != 1)]
    if not len(rows):
        return None
    ends = pd.DataFrame({"ts": rows["ts"] + rows["dur"], "wait": rows["dur"], "queue_depth": rows["queue_depth"]})
    return ends.sort_values("ts")


def stepped(trace: Trace, process: int) -> pd.DataFrame | None:
    """The ends of a process's optimizer steps; None when there are none."""
    ranges = table(trace, "ranges")
    if ranges is None:
        return None
    rows = ranges[(ranges["process"] == process) & (ranges["category"] == "optimizer")]
    if not len(rows):
        return None
    return pd.DataFrame({"ts": rows["ts"] + rows["dur"], "wait": -1, "queue_depth": -1}).sort_values("ts")
