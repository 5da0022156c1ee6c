"""The time budget of each step: exclusive categories that sum to the step exactly."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.device_evidence import timed_devices
from perfscope.analyzer.budget.step_division import divide_steps, share_in_ns
from perfscope.analyzer.budget.step_evidence import step_evidence
from perfscope.analyzer.budget.trace_budget import traced_budget
from perfscope.analyzer.categories import (
    CATEGORY_IDS,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    HOST_BOUND,
    OTHER_IDLE,
    PEER_WAIT,
)
from perfscope.analyzer.run.loops.steps import steady, steps
from perfscope.analyzer.run.ranks.rank_waiting import rank_waiting
from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

MAY_HOLD_PEER_WAITS = (
    EXPOSED_COMMUNICATION,
    COMPUTE_OR_HOST,
    OTHER_IDLE,
    HOST_BOUND,
    DEVICE_COMPUTE,
)
"""Categories that waits for peers are taken out of, in this order: in them a wait may look like
computing.
"""


def time_budget(trace: Trace) -> pd.DataFrame:
    """Return the steps divided into exclusive categories, int64 ns, which sum to `dur` in each row.

    Columns: those of `steps`, then every category, and two parts of host-bound: `gc` (garbage
    collections of the loop's thread) and `gil` (waiting for the GIL).

    For a profiler's trace see `traced_budget`. A recording of perfscope's is divided like this:

    - The first of these that covers an instant has it: checkpoint, input-wait (asking the loader,
      building an iterator), copies, garbage collection.
    - Samples of the thread's state divide the rest and input-wait by shares: waiting for the GIL is
      host-bound; outside torch calls waiting is other-idle.
    - Without a PyTorch loader the time between the last torch call of a step and the first of the
      next is input-wait where samples show the user's code or a wait (in a server a wait is
      other-idle, see `pull_loop`), but not where a profiling window shows that it calls operators.
    - What remains is compute-or-host. Where a profiling window shows how much of the time operators
      compute, it becomes device-compute, exposed-communication (at most what samples show in a
      lock) and host-bound in that proportion, and other-idle where the thread waits beyond that.
    - What ranks that step together wait for each other is peer-wait, see `rank_waiting`.
    - On a device see `device_division`: blocking copies and synchronizing calls wait for work that
      the device does meanwhile, and waits for data count where the device is idle.
    """
    frame = trace.fact(steps)
    if not len(frame):
        names = (*CATEGORY_IDS, "gc", "gil")
        return frame.assign(**{name: pd.Series(dtype="int64") for name in names})
    if trace.has_profiled_work:
        return traced_budget(trace, frame)
    processes = column(frame, "process")
    parts = [
        divide_steps(step_evidence(trace, int(process), frame[processes == process]))
        for process in np.unique(processes)
    ]
    return with_peer_waits(trace, pd.concat(parts).sort_index())


def with_peer_waits(trace: Trace, budget: pd.DataFrame) -> pd.DataFrame:
    """Return the budget with the waits of ranks that step together as peer-wait.

    They are taken out of categories in which waiting looks like computing. `gc` and `gil` stay.
    """
    waits, on_device = trace.fact(rank_waiting), trace.fact(timed_devices)
    for process, share in zip(waits["process"], waits["peer_share"], strict=True):
        if process in on_device and on_device[process].window is not None:
            continue  # its waits for peers are those of the device
        of_process = (budget["process"] == process).to_numpy(bool)
        left = share_in_ns(column(budget, "dur")[of_process], float(share))
        for name in MAY_HOLD_PEER_WAITS:
            taken = np.minimum(left, movable_time(budget, name)[of_process])
            budget.loc[of_process, name] -= taken
            budget.loc[of_process, PEER_WAIT] += taken
            left = left - taken
    return budget


def movable_time(budget: pd.DataFrame, category: str) -> Ints:
    """Return the time of a category that may be a wait for peers, ns per step."""
    amount = column(budget, category)
    if category == HOST_BOUND:
        amount = amount - column(budget, "gc") - column(budget, "gil")
    return np.maximum(amount, 0)


def steady_budget(trace: Trace) -> pd.DataFrame:
    """Return the steady rows of `time_budget`."""
    return steady(trace.fact(time_budget))
