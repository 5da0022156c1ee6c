"""What the threads other than the loop's did, from stack samples."""

from dataclasses import dataclass

import numpy as np

from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.frames import parse_frame
from perfscope.traces.trace import Trace

# Python functions in which a thread waits and holds no lock.
RESTING = (
    "wait (",
    "_wait_for_tstate_lock (",
    "select (",
    "poll (",
    "accept (",
    "get (",
    "join (",
    "sleep (",
)


@dataclass(frozen=True)
class OtherThread:
    """The innermost frame sampled most often in another thread, and its share of its samples."""

    tid: int
    frame: str
    share: float


def busiest_other_thread(trace: Trace, process: int, tid: int) -> OtherThread | None:
    """Return the other thread with the most samples that are not in a waiting function.

    None when all of them wait or none was sampled.
    """
    stacks = rows_of(trace, "stacks", process)
    if stacks is None:
        return None
    best: tuple[int, OtherThread] | None = None
    for other in np.unique(column(stacks, "tid")):
        if other == tid:
            continue
        rows = stacks[stacks["tid"] == other]
        if len(rows) < FEWEST_SAMPLES:
            continue
        leaves = rows["stack"].astype(str).str.rsplit(";", n=1).str[-1].to_numpy(str)
        busy = np.array([not leaf.startswith(RESTING) for leaf in leaves])
        if not busy.any():
            continue
        frames, counts = np.unique(leaves[busy], return_counts=True)
        top = int(np.argmax(counts))
        frame = str(parse_frame(str(frames[top])))
        found = OtherThread(int(other), frame, float(counts[top]) / len(rows))
        if best is None or int(busy.sum()) > best[0]:
            best = int(busy.sum()), found
    return None if best is None else best[1]
