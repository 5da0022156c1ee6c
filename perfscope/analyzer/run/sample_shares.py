"""Shares of samples: what state a thread was in, and whether its code was torch's or the user's.
Shares, never intervals.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Spans, inside

# With fewer samples than this a share says nothing: at 20 the 95 % interval of a half is already
# +-0.22.
FEWEST_SAMPLES = 20
# Standard errors within which a share may be another than the one that was sampled.
ERRORS = 2.0
WAITING = ("sleep", "poll", "network", "pipe", "lock")
IO = ("file", "disk")


@dataclass(frozen=True)
class Shares:
    """Shares of `samples` state samples, each 0..1; all 0 when there are too few to say."""

    samples: int
    gil: float
    waiting: float  # sleep, poll, network, pipe, lock
    sleeping: (
        float  # the same without lock: a lock may be the end of a parallel region of torch's own
    )
    io: float  # file, disk

    @property
    def locked_at_most(self) -> float:
        """In a lock, as a thread is that waits for a collective of gloo: no more than the samples
        leave room for.
        """
        return at_most(max(self.waiting - self.sleeping, 0.0), self.samples)


NOTHING_SAMPLED = Shares(0, 0.0, 0.0, 0.0, 0.0)


def state_shares(
    state: NDArray[np.object_], where: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Shares:
    """The states of the samples in `where`, each with its weight."""
    seen, weight = state[where], weights[where]
    if len(seen) < FEWEST_SAMPLES:
        return Shares(len(seen), 0.0, 0.0, 0.0, 0.0)
    weight = weight / weight.sum()
    return Shares(
        len(seen),
        float(weight[seen == "gil"].sum()),
        float(weight[np.isin(seen, WAITING)].sum()),
        float(weight[np.isin(seen, WAITING) & (seen != "lock")].sum()),
        float(weight[np.isin(seen, IO)].sum()),
    )


def at_most(share: float, samples: int) -> float:
    """The largest share that samples leave room for: the upper end of Wilson's interval (1927) for
    two standard errors.

    1 with too few samples to say.
    """
    if samples < FEWEST_SAMPLES:
        return 1.0
    width = ERRORS * ERRORS / samples
    centre = share + width / 2
    return min(
        (centre + ERRORS * math.sqrt(share * (1.0 - share) / samples + width / samples / 4))
        / (1.0 + width),
        1.0,
    )


def weights_by_core(
    state: NDArray[np.object_], loop: NDArray[np.bool_], runnable: float | None
) -> NDArray[np.float64]:
    """A weight for each sample of a thread, with which those in `loop` show it running as often as
    the kernel counted it.

    `runnable`: the share of that time in which the thread was on a core or waited for one, by the
    kernel's counters (None: not read, all weigh the same). Samples tell what a thread waits for,
    counters how much it waits without an error of sampling.
    """
    weights = np.ones(len(state))
    sampled = float(np.mean(state[loop] == "running")) if loop.sum() >= FEWEST_SAMPLES else 0.0
    if runnable is None or not 0.0 < sampled < 1.0:
        return weights
    runnable = min(runnable, 1.0)
    return np.where(state == "running", runnable / sampled, (1.0 - runnable) / (1.0 - sampled))


def user_code_share(stacks: pd.DataFrame | None, within: Spans) -> float | None:
    """Weight of a thread's stack samples in `within` whose innermost frame is not torch's; None
    with too few.

    The innermost frame stands as `function (file:line)`; torch's files begin with `torch/`, from
    their package or from the root.
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
