"""What the threads other than the loop's did, from stack samples."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.diagnosis import CodeLocation, Interval
from perfscope.analyzer.run.stacks.program_frames import program_frames
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, share_interval
from perfscope.analyzer.run.table_access import column, rows_of
from perfscope.traces.frames import parse_frame
from perfscope.traces.trace import Trace

STACK_TABLES: Final = ("outside_stacks", "stacks")
"""Samples from outside are preferred: the probe sees other threads only where they leave the GIL.
"""
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
"""Beginnings of Python functions in which a thread waits and holds no lock."""


@dataclass(frozen=True)
class OtherThread:
    """The innermost frame sampled most often in another thread, and its share of its samples.

    `where` is the program's line with most of them, None where too few have one.
    """

    tid: int
    frame: str
    share: float
    where: CodeLocation | None


def busiest_other_thread(trace: Trace, process: int, tid: int) -> OtherThread | None:
    """Return the other thread with the most samples that are not in a waiting function.

    None when all of them wait or none was sampled.
    """
    for name in STACK_TABLES:
        stacks = rows_of(trace, name, process)
        found = None if stacks is None else busiest_in(stacks, process, tid)
        if found is not None:
            return found
    return None


def busiest_in(stacks: pd.DataFrame, process: int, tid: int) -> OtherThread | None:
    """Return the busiest other thread in samples of one process."""
    best: tuple[int, OtherThread] | None = None
    for other in np.unique(column(stacks, "tid")):
        texts = stacks["stack"][column(stacks, "tid") == other].astype(str).to_numpy(object)
        if other == tid or len(texts) < FEWEST_SAMPLES:
            continue
        leaves = np.array([text.rsplit(";", 1)[-1] for text in texts], object)
        busy = np.array([not leaf.startswith(RESTING) for leaf in leaves])
        if not busy.any():
            continue
        (frame, count), *_ = Counter(leaves[busy].tolist()).most_common(1)
        where = busiest_line(texts[busy], len(texts), process)
        found = OtherThread(int(other), str(parse_frame(frame)), count / len(texts), where)
        if best is None or int(busy.sum()) > best[0]:
            best = int(busy.sum()), found
    return None if best is None else best[1]


def busiest_line(texts: NDArray[np.object_], samples: int, process: int) -> CodeLocation | None:
    """Return the program's line with most of these stacks of a thread that has so many samples."""
    innermost = [frames[-1] for text in texts if (frames := program_frames(text))]
    if not innermost:
        return None
    (line, count), *_ = Counter(innermost).most_common(1)
    if count < FEWEST_SAMPLES:
        return None
    low, high = share_interval(count / samples, samples)
    interval = Interval(low, count / samples, high)
    return CodeLocation(
        line.function, line.file.removeprefix("./"), line.line, None, process, interval
    )
