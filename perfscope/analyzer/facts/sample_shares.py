"""Shares of samples: what state a thread was in, and whether its code was torch's or the user's. Shares, never
intervals.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.facts.rows import column
from perfscope.traces.intervals import Spans, inside

# With fewer samples than this a share says nothing: at 20 the 95 % interval of a half is already +-0.22.
FEWEST_SAMPLES = 20
WAITING = ("sleep", "poll", "network", "pipe", "lock")
IO = ("file", "disk")


@dataclass(frozen=True)
class Shares:
    """Shares of `samples` state samples, each 0..1; all 0 when there are too few to say."""

    samples: int
    gil: float
    waiting: float  # sleep, poll, network, pipe, lock
    sleeping: float  # the same without lock: a lock may be the end of a parallel region of torch's own
    io: float  # file, disk


NOTHING_SAMPLED = Shares(0, 0.0, 0.0, 0.0, 0.0)


def state_shares(state: NDArray[np.object_], where: NDArray[np.bool_]) -> Shares:
    """The states of the samples in `where`."""
    seen = state[where]
    if len(seen) < FEWEST_SAMPLES:
        return Shares(len(seen), 0.0, 0.0, 0.0, 0.0)
    return Shares(
        len(seen),
        float(np.mean(seen == "gil")),
        float(np.mean(np.isin(seen, WAITING))),
        float(np.mean(np.isin(seen, WAITING) & (seen != "lock"))),
        float(np.mean(np.isin(seen, IO))),
    )


def user_code_share(stacks: pd.DataFrame | None, within: Spans) -> float | None:
    """Weight of a thread's stack samples in `within` whose innermost frame is not torch's; None with too few.

    The innermost frame stands as `function (file:line)`; torch's files begin with
    `torch/`, from their package or from the root.
    """
    if stacks is None:
        return None
    rows = stacks[inside(within, column(stacks, "ts"))]
    if len(rows) < FEWEST_SAMPLES:
        return None
    codes, which = np.unique(rows["stack"].astype(str).to_numpy(), return_inverse=True)
    users = np.array([not torch_frame(stack) for stack in codes], bool)
    weight = rows["weight_ns"].to_numpy(np.float64)
    return float(weight[users[which]].sum() / weight.sum()) if weight.sum() > 0 else None


def torch_frame(stack: str) -> bool:
    """Is the innermost frame one of torch's own files?"""
    path = stack.rsplit(";", 1)[-1].rsplit("(", 1)[-1]
    return path.startswith("torch/") or "-packages/torch/" in path
