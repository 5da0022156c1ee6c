"""Weights of stack samples that agree with the calls that the probe timed.

A sampler that needs a core, or the GIL, gets it more often while the thread waits: on a full
machine a wait of 6 % of the time was in 20 % of the samples. The time in the loader, in backward
and in the optimizer is known from timed calls, so that samples there stand for exactly that time.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.stacks.torch_frames import BACKWARD_CALL, LOADER_CALL, OPTIMIZER_CALL
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category
from perfscope.traces.intervals import Spans, length_ns, merged, subtracted
from perfscope.traces.trace import Trace

CALLS: Final = {
    "optimizer": OPTIMIZER_CALL,
    "backward": BACKWARD_CALL,
    "loader": LOADER_CALL,
}
"""Frames of the calls that the probe times, as samples name them. A call inside of another of these
belongs to the first of them.
"""
LARGEST_CORRECTION: Final = 5.0
"""A larger one means that the samples or the calls are of something else."""


def weigh_by_calls(trace: Trace, process: int, tid: int, stacks: pd.DataFrame) -> pd.DataFrame:
    """Return samples of a thread with weights that agree with its timed calls.

    Samples from before the first and after the last timed call keep their weight.
    """
    calls = time_in_calls(trace, process, tid)
    ends = merged(*calls.values())
    if len(stacks) < FEWEST_SAMPLES or not len(ends[0]):
        return stacks
    ts, weight_ns = column(stacks, "ts"), column(stacks, "weight_ns").astype(np.float64)
    timed = (ts >= ends[0][0]) & (ts <= ends[1][-1])
    in_call = calls_of(stacks["stack"].astype(str).to_numpy(object))
    scaled = weight_ns.copy()
    known_ns = 0.0
    for call, spans in calls.items():
        of_call = timed & (in_call == call)
        sampled_ns, called_ns = float(weight_ns[of_call].sum()), float(length_ns(spans))
        if not is_plausible(sampled_ns, called_ns):
            return stacks
        scaled[of_call] *= called_ns / sampled_ns if sampled_ns else 1.0
        known_ns += called_ns if sampled_ns else 0.0
    rest = timed & (in_call == "")
    rest_ns = float(weight_ns[timed].sum()) - known_ns
    if not is_plausible(float(weight_ns[rest].sum()), rest_ns):
        return stacks
    if rest.any():
        scaled[rest] *= rest_ns / float(weight_ns[rest].sum())
    return stacks.assign(weight_ns=np.rint(scaled).astype(np.int64))


def time_in_calls(trace: Trace, process: int, tid: int) -> dict[str, Spans]:
    """Return the time of a thread inside each kind of call, and not in one before it."""
    ranges, loader = rows_of(trace, "ranges", process), rows_of(trace, "loader", process)
    rows = {
        "optimizer": rows_of_category(ranges, "optimizer"),
        "backward": rows_of_category(ranges, "backward"),
        "loader": loader,
    }
    calls: dict[str, Spans] = {}
    for call, frame in rows.items():
        if frame is not None:
            frame = frame[column(frame, "tid") == tid]
        begin = column(frame, "ts")
        spans = merged((begin, begin + column(frame, "dur")))
        calls[call] = subtracted(spans, merged(*calls.values()))
    return calls


def calls_of(stacks: NDArray[np.object_]) -> NDArray[np.object_]:
    """Return the call that each stack is in, "" for none."""
    texts, which = np.unique(stacks, return_inverse=True)
    found = [
        next((call for call, frame in CALLS.items() if frame.search(text)), "") for text in texts
    ]
    return np.array(found, object)[which]


def is_plausible(sampled_ns: float, called_ns: float) -> bool:
    """Return whether samples and calls can be of the same thing.

    Short calls may have no sample by chance; a long one without samples was not seen.
    """
    if called_ns < 0.0 or (sampled_ns and not called_ns):
        return False
    if not sampled_ns:
        return True
    return 1.0 / LARGEST_CORRECTION <= called_ns / sampled_ns <= LARGEST_CORRECTION
