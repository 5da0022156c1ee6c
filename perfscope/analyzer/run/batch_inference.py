"""Does a loop of calls fetch its inputs itself, or do requests come to it? One wait is a loss in
the first, rest in the other.
"""

import pandas as pd

from perfscope.analyzer.run.cumulative_counters import readings
from perfscope.analyzer.run.other_threads import RESTING
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.intervals import Spans, inside
from perfscope.traces.trace import Trace

# A loop of either kind may sleep; the other waits of the library are for what somebody else hands
# over.
FOR_OTHERS = tuple(one for one in RESTING if one != "sleep (") + (
    "recv (",
    "recv_bytes (",
    "_recv (",
)


def pull_loop(trace: Trace, process: int, tids: pd.Series, gap: Spans) -> bool:
    """True when nothing could hand this loop a request: its process listens on no socket, no other
    Python thread was ever sampled in it, and between its calls it was never seen in a wait of the
    library (for a queue, an event, a connection).

    `tids`: the loop's threads; `gap`: the time between its calls. False with too few samples to
    say.
    """
    stacks, counted = rows_of(trace, "stacks", process), readings(trace, "listening_sockets")
    if stacks is None or counted is None or not stacks["tid"].isin(tids).all():
        return False
    listening = counted.loc[counted["process"] == process, "value"]
    within = stacks[inside(gap, column(stacks, "ts"))]
    if not len(listening) or listening.any() or len(within) < FEWEST_SAMPLES:
        return False
    leaves = within["stack"].astype(str).str.rsplit(";", n=1).str[-1]
    return not bool(leaves.str.startswith(FOR_OTHERS).any())
