"""What can be said of a run that was only looked at from outside: shares of the main thread's
samples.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import (
    CHECKPOINT,
    COMPUTE_OR_HOST,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
)
from perfscope.analyzer.run.sample_shares import FEWEST_SAMPLES, IO, WAITING
from perfscope.analyzer.run.table_access import column, rows_of, table
from perfscope.traces.trace import Trace

LOADER = "torch/utils/data/dataloader.py"
# The outermost frame of every thread that Python code starts.
THREAD_START = r"(Thread\.)?_bootstrap \("
FETCH = "torch/utils/data/_utils/fetch.py"
SAVERS = re.compile(
    r"save \([^;]*torch/serialization\.py|torch/distributed/checkpoint/|save_file"
    r" \([^;]*safetensors/torch\.py"
)


@dataclass(frozen=True)
class ObservedBudget:
    """Shares of the main thread's time, which sum to 1, over `span_s` seconds."""

    process: int
    rank: int
    state_samples: int
    stack_samples: int
    span_s: float
    shares: dict[str, float]
    in_process_fetch: float


def observed_budget(trace: Trace) -> ObservedBudget | None:
    """The budget of the first main process without steps: stack samples tell loader and
    checkpoints, states the rest.

    None with too few samples of both kinds. Shares: input-wait, checkpoint, host-bound (waiting for
    the GIL), other-idle (sleeping in poll, network, locks, pipes or files), compute-or-host (the
    rest).
    """
    found = _main_thread(trace)
    if found is None:
        return None
    process, rank, tid = found
    states, stacks = (
        _of_thread(trace, "thread_states", process, tid),
        _main_stacks(trace, process, tid),
    )
    if max(len(states), len(stacks)) < FEWEST_SAMPLES:
        return None
    in_loader, in_save, in_fetch = _by_stack(stacks)
    free = 1.0 - in_loader - in_save
    names = (
        states["state"].astype(str).to_numpy()
        if len(states) >= FEWEST_SAMPLES
        else np.empty(0, str)
    )
    gil = float(np.mean(names == "gil")) if len(names) else 0.0
    idle = float(np.mean(np.isin(names, (*WAITING, *IO)))) if len(names) else 0.0
    # The waiting that states show is the loader's and the checkpoint's first.
    idle = min(max(idle - in_loader - in_save, 0.0), free - min(gil, free))
    shares = {
        INPUT_WAIT: in_loader,
        CHECKPOINT: in_save,
        HOST_BOUND: min(gil, free),
        OTHER_IDLE: idle,
    }
    shares[COMPUTE_OR_HOST] = 1.0 - sum(shares.values())
    ends = [column(frame, "ts") for frame in (states, stacks) if len(frame)]
    span = max(int(ts.max()) for ts in ends) - min(int(ts.min()) for ts in ends)
    return ObservedBudget(process, rank, len(states), len(stacks), span / 1e9, shares, in_fetch)


def _main_thread(trace: Trace) -> tuple[int, int, int] | None:
    """(process, rank, tid) of the first main process and its main thread."""
    processes, threads = table(trace, "processes"), table(trace, "threads")
    if processes is None:
        return None
    mains = processes[processes["role"] == "main"]
    if not len(mains):
        mains = processes
    if not len(mains):
        return None
    row = mains.sort_values(["rank", "process"]).iloc[0]
    process, tid = int(row["process"]), int(row["ns_pid"])  # the first thread's id is the process's
    if threads is not None:
        own = threads[(threads["process"] == process) & threads["main"]]
        tid = int(own["tid"].iloc[0]) if len(own) else tid
    return process, max(int(row["rank"]), 0), tid


def _of_thread(trace: Trace, name: str, process: int, tid: int) -> pd.DataFrame:
    frame = rows_of(trace, name, process)
    return pd.DataFrame() if frame is None else frame[frame["tid"] == tid]


def _main_stacks(trace: Trace, process: int, tid: int) -> pd.DataFrame:
    """The main thread's stacks: by its id, or, where a sampler could not learn ids, those that no
    thread began.
    """
    own = _of_thread(trace, "stacks", process, tid)
    every = rows_of(trace, "stacks", process)
    if len(own) or every is None:
        return own
    return every[~every["stack"].astype(str).str.match(THREAD_START)]


def _by_stack(stacks: pd.DataFrame) -> tuple[float, float, float]:
    """(loader, checkpoint, in-process fetch) shares of the weight of stack samples."""
    if len(stacks) < FEWEST_SAMPLES:
        return 0.0, 0.0, 0.0
    texts, which = np.unique(stacks["stack"].astype(str).to_numpy(), return_inverse=True)
    weight = np.bincount(
        which, weights=stacks["weight_ns"].to_numpy(np.float64), minlength=len(texts)
    )
    whole = float(weight.sum())
    if whole <= 0.0:
        return 0.0, 0.0, 0.0
    saves = np.array([SAVERS.search(text) is not None for text in texts])
    loads = np.array([LOADER in text for text in texts]) & ~saves
    fetches = np.array([FETCH in text for text in texts]) & loads
    return (
        float(weight[loads].sum() / whole),
        float(weight[saves].sum() / whole),
        float(weight[fetches].sum() / whole),
    )
