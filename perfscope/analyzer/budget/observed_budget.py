"""The time budget of a run recorded from outside: shares of the main thread's samples."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import (
    CHECKPOINT,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
)
from perfscope.analyzer.run.accelerators.device_use import CountedIdle, counted_idle, device_use
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES, IO, WAITING
from perfscope.analyzer.run.table_access import column, rows_of, table, uses_device
from perfscope.traces.trace import Trace

LOADER_FILE = "torch/utils/data/dataloader.py"
FETCH_FILE = "torch/utils/data/_utils/fetch.py"
THREAD_START = r"(Thread\.)?_bootstrap \("
"""The outermost frame of every thread that Python code starts."""
SAVERS = re.compile(
    r"save \([^;]*torch/serialization\.py|torch/distributed/checkpoint/|save_file"
    r" \([^;]*safetensors/torch\.py"
)


@dataclass(frozen=True)
class ObservedBudget:
    """Shares of the main thread's time, which sum to 1, over `span_s` seconds.

    `in_loader` is the share of its samples in the data loader, whatever a device does meanwhile.
    """

    process: int
    rank: int
    state_samples: int
    stack_samples: int
    span_s: float
    shares: dict[str, float]
    in_process_fetch: float
    in_loader: float


@dataclass(frozen=True)
class StackShares:
    """Shares of stack samples in the loader, in saving checkpoints, and in in-process fetches."""

    loader: float = 0.0
    checkpoint: float = 0.0
    fetch: float = 0.0


def observed_budget(trace: Trace) -> ObservedBudget | None:
    """Return the budget of the first main process without steps, None with too few samples.

    Stack samples show the loader and checkpoints, thread states the rest. Shares: input-wait,
    checkpoint, host-bound (waiting for the GIL), other-idle (sleeping in poll, network, locks,
    pipes or files), compute-or-host (the rest). On a device see `shares_on_device`.
    """
    thread = main_thread(trace)
    if thread is None:
        return None
    process, rank, tid = thread
    states = samples_of_thread(trace, "thread_states", process, tid)
    stacks = main_thread_stacks(trace, process, tid)
    if max(len(states), len(stacks)) < FEWEST_SAMPLES:
        return None
    stack_shares = shares_by_stack(stacks)
    ends = [column(frame, "ts") for frame in (states, stacks) if len(frame)]
    span_ns = max(int(ts.max()) for ts in ends) - min(int(ts.min()) for ts in ends)
    shares = shares_by_category(states, stack_shares)
    uses = [use for use in trace.fact(device_use) if process in use.processes]
    if uses_device(trace) or uses:
        shares = shares_on_device(shares, counted_idle(trace, process))
    return ObservedBudget(
        process=process,
        rank=rank,
        state_samples=len(states),
        stack_samples=len(stacks),
        span_s=span_ns / 1e9,
        shares=shares,
        in_process_fetch=stack_shares.fetch,
        in_loader=stack_shares.loader,
    )


def shares_by_category(states: pd.DataFrame, stacks: StackShares) -> dict[str, float]:
    """Return the budget as shares; the waits that states show are the loader's and saves' first."""
    gil = waiting = 0.0
    if len(states) >= FEWEST_SAMPLES:
        names = states["state"].astype(str).to_numpy()
        gil = float(np.mean(names == "gil"))
        waiting = float(np.mean(np.isin(names, (*WAITING, *IO))))
    free = 1.0 - stacks.loader - stacks.checkpoint
    gil = min(gil, free)
    idle = max(waiting - stacks.loader - stacks.checkpoint, 0.0)
    shares = {
        INPUT_WAIT: stacks.loader,
        CHECKPOINT: stacks.checkpoint,
        HOST_BOUND: gil,
        OTHER_IDLE: min(idle, free - gil),
    }
    shares[COMPUTE_OR_HOST] = 1.0 - sum(shares.values())
    return shares


def shares_on_device(shares: dict[str, float], counted: CountedIdle | None) -> dict[str, float]:
    """Return the budget of a process that uses a device: a host that waits shows no idle device.

    Waits for data and idle time are not longer than the device is idle by the driver's counters;
    what is longer is a wait for its work. Without counters idle time may be such a wait.
    """
    if counted is None:
        either = shares[COMPUTE_OR_HOST] + shares[OTHER_IDLE]
        return shares | {OTHER_IDLE: 0.0, COMPUTE_OR_HOST: either}
    left = counted.share
    exposed = {}
    for name in (INPUT_WAIT, OTHER_IDLE):
        exposed[name] = min(shares[name], left)
        left -= exposed[name]
    hidden = shares[INPUT_WAIT] + shares[OTHER_IDLE] - sum(exposed.values())
    return shares | exposed | {DEVICE_COMPUTE: hidden}


def main_thread(trace: Trace) -> tuple[int, int, int] | None:
    """Return process, rank and tid of the main thread of the first main process."""
    processes = table(trace, "processes")
    if processes is None or not len(processes):
        return None
    mains = processes[processes["role"] == "main"]
    if not len(mains):
        mains = processes
    row = mains.sort_values(["rank", "process"]).iloc[0]
    process = int(row["process"])
    return process, max(int(row["rank"]), 0), main_thread_id(trace, process)


def main_thread_id(trace: Trace, process: int) -> int:
    """Return the id of the main thread of a process, that of the process itself; -1 if unknown."""
    threads, processes = table(trace, "threads"), table(trace, "processes")
    if threads is not None:
        known = threads[(threads["process"] == process) & threads["main"]]
        if len(known):
            return int(known["tid"].iloc[0])
    rows = None if processes is None else processes[processes["process"] == process]
    return -1 if rows is None or not len(rows) else int(rows["ns_pid"].iloc[0])


def samples_of_thread(trace: Trace, name: str, process: int, tid: int) -> pd.DataFrame:
    """Return the samples of one thread in a table, none where the table is absent."""
    frame = rows_of(trace, name, process)
    return pd.DataFrame() if frame is None else frame[frame["tid"] == tid]


def main_thread_stacks(
    trace: Trace, process: int, tid: int, table_name: str = "stacks"
) -> pd.DataFrame:
    """Return the main thread's stacks.

    A sampler that cannot read thread ids leaves those that do not begin with a thread's start.
    """
    known = samples_of_thread(trace, table_name, process, tid)
    stacks = rows_of(trace, table_name, process)
    if len(known) or stacks is None:
        return known
    return stacks[~stacks["stack"].astype(str).str.match(THREAD_START)]


def shares_by_stack(stacks: pd.DataFrame) -> StackShares:
    """Return the shares of the weight of stack samples, 0 with too few of them."""
    if len(stacks) < FEWEST_SAMPLES:
        return StackShares()
    texts, which = np.unique(stacks["stack"].astype(str).to_numpy(), return_inverse=True)
    weights = stacks["weight_ns"].to_numpy(np.float64)
    weight = np.bincount(which, weights=weights, minlength=len(texts))
    in_all = float(weight.sum())
    if in_all <= 0.0:
        return StackShares()
    saves = np.array([SAVERS.search(text) is not None for text in texts])
    loads = np.array([LOADER_FILE in text for text in texts]) & ~saves
    fetches = np.array([FETCH_FILE in text for text in texts]) & loads
    return StackShares(
        loader=float(weight[loads].sum() / in_all),
        checkpoint=float(weight[saves].sum() / in_all),
        fetch=float(weight[fetches].sum() / in_all),
    )
