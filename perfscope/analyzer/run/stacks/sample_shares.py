"""Shares of samples by the state of a thread, and by whether its code is torch's or the user's."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Spans, inside

FEWEST_SAMPLES = 20
"""With fewer samples a share means nothing: at 20 the 95 % interval of a half is already +-0.22."""
ERRORS = 2.0
"""Standard errors by which a share may differ from the sampled one."""
WAITING = ("sleep", "library-sleep", "poll", "network", "pipe", "terminal", "child", "lock")
IO = ("file", "disk")


@dataclass(frozen=True)
class Shares:
    """Shares of `samples` state samples, each 0..1; all 0 with too few samples."""

    samples: int
    gil: float
    waiting: float
    """In a state of WAITING."""
    sleeping: float
    """In a state of WAITING other than `lock`: a lock may be the end of torch's parallel region."""
    io: float
    """In file or disk."""

    @property
    def largest_lock_share(self) -> float:
        """The largest share in a lock that the samples allow.

        A thread that waits for a collective of gloo is in a lock.
        """
        return largest_share(max(self.waiting - self.sleeping, 0.0), self.samples)


NOTHING_SAMPLED = Shares(0, 0.0, 0.0, 0.0, 0.0)


def state_shares(
    state: NDArray[np.object_], where: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Shares:
    """Return the shares of the samples in `where`, each with its weight."""
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


def share_interval(share: float, samples: int) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share of samples, for two standard errors (95 %)."""
    width = ERRORS * ERRORS / samples
    center = share + width / 2
    error = ERRORS * math.sqrt(share * (1.0 - share) / samples + width / samples / 4)
    low, high = (center - error) / (1.0 + width), (center + error) / (1.0 + width)
    return max(low, 0.0), min(high, 1.0)


def largest_share(share: float, samples: int) -> float:
    """Return the largest share that samples allow, 1 with too few samples."""
    return 1.0 if samples < FEWEST_SAMPLES else share_interval(share, samples)[1]


def weights_by_core(
    state: NDArray[np.object_], loop: NDArray[np.bool_], runnable: float | None
) -> NDArray[np.float64]:
    """Return weights of a thread's samples that make those in `loop` agree with the kernel.

    `runnable` is the share of that time in which the thread was on a core or waited for one, by the
    kernel's counters (None: not read, all samples weigh the same). Samples show what a thread waits
    for; counters show how much it waits, without a sampling error.
    """
    weights = np.ones(len(state))
    sampled = float(np.mean(state[loop] == "running")) if loop.sum() >= FEWEST_SAMPLES else 0.0
    if runnable is None or not 0.0 < sampled < 1.0:
        return weights
    runnable = min(runnable, 1.0)
    return np.where(state == "running", runnable / sampled, (1.0 - runnable) / (1.0 - sampled))


def user_code_share(stacks: pd.DataFrame | None, within: Spans) -> float | None:
    """Return the share of stack samples in `within` whose innermost frame is not torch's.

    None with too few samples. A frame is `function (file:line)`; torch's files begin with `torch/`,
    from their package or from the root.
    """
    if stacks is None:
        return None
    rows = stacks[inside(within, column(stacks, "ts"))]
    if len(rows) < FEWEST_SAMPLES:
        return None
    codes, which = np.unique(rows["stack"].astype(str).to_numpy(), return_inverse=True)
    is_users = np.array([not is_torch_frame(stack) for stack in codes], bool)
    weight = rows["weight_ns"].to_numpy(np.float64)
    return float(weight[is_users[which]].sum() / weight.sum()) if weight.sum() > 0 else None


def is_torch_frame(stack: str) -> bool:
    """Return whether the innermost frame is in one of torch's files."""
    path = stack.rsplit(";", 1)[-1].rsplit("(", 1)[-1]
    return path.startswith("torch/") or "-packages/torch/" in path
