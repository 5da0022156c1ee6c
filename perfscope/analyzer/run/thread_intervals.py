"""What the thread of a loop did, as interval sets: the time budget and sample shares use them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, rows_of_category
from perfscope.traces.intervals import EMPTY, Ints, Spans, merged

TORCH = ("forward", "backward", "optimizer", "scaler")


@dataclass(frozen=True)
class Zones:
    """Disjoint sorted interval sets (ns) of one thread.

    They may overlap each other: in a budget the first field counts.
    """

    checkpoint: Spans
    input_wait: Spans
    exposed_copy: Spans
    device_wait: Spans
    """Waiting for work of the device that was queued before: in blocking copies, `.item()`, ..."""
    gc: Spans
    gap: Spans
    """From an iteration's last torch call to the next one's first, without a PyTorch loader."""
    torch: Spans


def busiest_tid(tids: Ints) -> int:
    """Return the most frequent value, -1 of none."""
    values, counts = np.unique(tids, return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else -1


def spans_of(frame: pd.DataFrame | None) -> Spans:
    """Return the rows of a table as an interval set."""
    ts = column(frame, "ts")
    return merged((ts, ts + column(frame, "dur")))


def copy_spans(copies: pd.DataFrame | None) -> Spans:
    """Return the time of the copies themselves, at the end of the calls (see `host_copies`)."""
    end = column(copies, "ts") + column(copies, "dur")
    return merged((end - column(copies, "copy_ns"), end))


def zones(
    loader: pd.DataFrame | None,
    ranges: pd.DataFrame | None,
    copies: pd.DataFrame | None,
    begin: int,
    end: int,
) -> Zones:
    """Return the zones of a thread between two instants, from its rows of each table.

    `copies` are those of `host_copies`. Several threads may be laid end to end.
    """
    torch = rows_of_category(ranges, *TORCH)
    has_loader = loader is not None and bool((loader["kind"] == "next").any())
    return Zones(
        checkpoint=spans_of(rows_of_category(ranges, "checkpoint")),
        input_wait=spans_of(loader),
        exposed_copy=copy_spans(copies),
        device_wait=merged(spans_of(copies), spans_of(rows_of_category(ranges, "sync"))),
        gc=spans_of(rows_of_category(ranges, "gc")),
        gap=EMPTY if has_loader else iteration_gaps(torch, begin, end),
        torch=spans_of(torch),
    )


def iteration_gaps(torch: pd.DataFrame | None, begin: int, end: int) -> Spans:
    """Return the gaps between iterations within [begin, end).

    A gap is from the end of an iteration's last torch call to the first module call of the next. In
    training an iteration ends with an optimizer, scaler or backward call; in inference with every
    module call. Without recorded module calls there are no gaps: a forward pass without modules
    looks like a loader.
    """
    forward = rows_of_category(torch, "forward")
    if torch is None or forward is None or not len(forward):
        return EMPTY
    calls = torch.sort_values("ts", kind="stable")
    ts, is_forward = column(calls, "ts"), (calls["category"] == "forward").to_numpy()
    reach = np.maximum.accumulate(ts + column(calls, "dur"))
    follows = is_forward[1:] & (~is_forward[:-1] | is_forward.all())
    starts: Ints = np.where(ts[1:] > reach[:-1], reach[:-1], ts[1:])[follows]
    first = np.array([begin] if is_forward[0] else [], np.int64)
    ends = np.concatenate((ts[: len(first)], ts[1:][follows]))
    begins, ends = merged((np.concatenate((first, starts)), ends))
    return np.clip(begins, begin, end), np.clip(ends, begin, end)
