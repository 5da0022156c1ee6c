"""Whether a loop of calls fetches its own inputs, as in batch inference, or receives requests.

In the first a wait is a loss, in the second it is idle time.
"""

import pandas as pd

from perfscope.analyzer.run.resources.cumulative_counters import readings
from perfscope.analyzer.run.stacks.other_threads import RESTING
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.intervals import Spans, inside
from perfscope.traces.trace import Trace

WAITS_FOR_OTHERS = (
    *(function for function in RESTING if function != "sleep ("),
    "recv (",
    "recv_bytes (",
    "_recv (",
)
"""Python functions that wait for another thread or process. Loops of both kinds may sleep."""


def pull_loop(trace: Trace, process: int, tids: pd.Series, gap: Spans) -> bool:
    """Return whether nothing can send this loop a request, False with too few samples.

    Its process listens on no socket, no other Python thread was sampled in it, and between its
    calls it was never sampled in a wait for a queue, an event or a connection. `tids` are the
    loop's threads, `gap` the time between its calls.
    """
    stacks, sockets = rows_of(trace, "stacks", process), readings(trace, "listening_sockets")
    if stacks is None or sockets is None or not stacks["tid"].isin(tids).all():
        return False
    listening = sockets.loc[sockets["process"] == process, "value"]
    within = stacks[inside(gap, column(stacks, "ts"))]
    if not len(listening) or listening.any() or len(within) < FEWEST_SAMPLES:
        return False
    leaves = within["stack"].astype(str).str.rsplit(";", n=1).str[-1]
    return not bool(leaves.str.startswith(WAITS_FOR_OTHERS).any())
