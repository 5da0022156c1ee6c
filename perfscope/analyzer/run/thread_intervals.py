"""What the thread of a loop was doing, as interval sets: the ground the time budget and the sample
shares stand on.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column, of_category
from perfscope.traces.intervals import EMPTY, Ints, Spans, merged

TORCH = ("forward", "backward", "optimizer", "scaler")


@dataclass(frozen=True)
class Zones:
    """Disjoint sorted interval sets (ns) of one thread; they may overlap each other, the first
    named wins in a budget.
    """

    checkpoint: Spans
    input_wait: Spans
    exposed_copy: Spans
    gc: Spans
    # from the last torch call of an iteration to the first of the next, where no PyTorch loader is
    # asked
    gap: Spans
    torch: Spans


def spans_of(frame: pd.DataFrame | None) -> Spans:
    """The rows of a table as an interval set."""
    ts = column(frame, "ts")
    return merged((ts, ts + column(frame, "dur")))


def zones(
    loader: pd.DataFrame | None,
    ranges: pd.DataFrame | None,
    copies: pd.DataFrame | None,
    begin: int,
    end: int,
) -> Zones:
    """The zones of a thread (or of several, laid end to end) between two instants, ns, from its
    rows of each table.
    """
    torch = of_category(ranges, *TORCH)
    has_loader = loader is not None and bool((loader["kind"] == "next").any())
    return Zones(
        checkpoint=spans_of(of_category(ranges, "checkpoint")),
        input_wait=spans_of(loader),
        exposed_copy=spans_of(copies),
        gc=spans_of(of_category(ranges, "gc")),
        gap=EMPTY if has_loader else gaps(torch, begin, end),
        torch=spans_of(torch),
    )


def gaps(torch: pd.DataFrame | None, begin: int, end: int) -> Spans:
    """From the end of an iteration's last torch call to the first module call of the next, within
    [begin, end).

    In training an iteration ends with an optimizer, scaler or backward call; in inference with
    every module call. Without module calls to see there are no gaps: a forward pass that is not a
    module's cannot be told from a loader.
    """
    forward = of_category(torch, "forward")
    if torch is None or forward is None or not len(forward):
        return EMPTY
    calls = torch.sort_values("ts", kind="stable")
    ts, is_forward = column(calls, "ts"), (calls["category"] == "forward").to_numpy()
    reach = np.maximum.accumulate(ts + column(calls, "dur"))
    follows = is_forward[1:] & (~is_forward[:-1] | is_forward.all())
    starts: Ints = np.where(ts[1:] > reach[:-1], reach[:-1], ts[1:])[follows]
    first = np.array([begin] if is_forward[0] else [], np.int64)
    spans = merged(
        (np.concatenate((first, starts)), np.concatenate((ts[:1][: len(first)], ts[1:][follows])))
    )
    return np.clip(spans[0], begin, end), np.clip(spans[1], begin, end)
