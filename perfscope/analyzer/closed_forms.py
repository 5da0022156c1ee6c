"""Closed forms for the step time once a cause is removed. Times in nanoseconds per step."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.bootstrap import interval, resampled_means
from perfscope.analyzer.diagnosis import Speedup

# Two limits of similar size add up where they alternate (a batch that is late now and then, a core
# that is taken): the pessimistic time is their 4-norm, 19 % above the larger when they are equal
# and 4 % when one is two thirds of the other.
NORM = 4.0


@dataclass(frozen=True)
class After:
    """Step time after the change: the pessimistic, the likely and the optimistic one."""

    slow: float
    likely: float
    fast: float


@dataclass(frozen=True)
class Machine:
    """What bounds every prediction on a CPU: None where it was not measured."""

    usable_cores: float | None
    reachable_cores: float | None  # what the job uses now plus what is idle
    cpu: float | None  # CPU nanoseconds of the whole job per step

    def floor(self, saved_cpu: float = 0.0) -> float:
        """The least time per step on all usable cores, with `saved_cpu` less work."""
        if self.cpu is None or not self.usable_cores:
            return 0.0
        return max(self.cpu - saved_cpu, 0.0) / self.usable_cores

    def share_floor(self, saved_cpu: float = 0.0) -> float:
        """The same on the cores that the job can have now."""
        if self.cpu is None or not self.reachable_cores:
            return 0.0
        return max(self.cpu - saved_cpu, 0.0) / self.reachable_cores


def pipelined(
    consumer: float,
    supply: float,
    machine: Machine,
    saved_cpu: float = 0.0,
    *,
    undelayed: float | None = None,
) -> After:
    """Consumer and workers side by side: the slower of the two, bounded by the cores.

    `undelayed` is the consumer when nobody takes its core away, the optimistic case.
    """
    cores = machine.share_floor(saved_cpu)
    likely = max(consumer, supply, cores)
    slow = float(np.linalg.norm([consumer, supply, cores], NORM))
    best = consumer if undelayed is None else min(undelayed, consumer)
    return After(slow, likely, max(best, supply, machine.floor(saved_cpu)))


def warmed(waiting: float, by: float, *, on_device: bool) -> float:
    """The factor on a loop's own time once its core no longer sleeps for this share of it: 1 - `by`
    from one half on.
    """
    return 1.0 if on_device else 1.0 - by * min(2.0 * waiting, 1.0)


def left_alone(away: float, by: float, *, on_device: bool) -> float:
    """The factor on a loop's own time once it is no longer taken off its core in the middle of
    steps for this share of it.
    """
    return 1.0 if on_device else 1.0 - by * min(max(away, 0.0), 1.0)


def speedup(
    step: float, after: After, removed: pd.Series | None = None, total: pd.Series | None = None
) -> Speedup:
    """Factors step / after, never below 1, widened by the bootstrap interval of the per-step gain.

    `removed` and `total` are per-step nanoseconds (what the cause cost, the step): steps that
    differ leave the gain less certain.
    """
    shrink, stretch = 1.0, 1.0
    if removed is not None and total is not None and len(total) > 1:
        columns = np.column_stack([total.to_numpy(np.float64), removed.to_numpy(np.float64)])
        means = resampled_means(columns)
        left = np.maximum(means[:, 0] - means[:, 1], 1e-3 * means[:, 0])
        whole = columns.mean(axis=0)
        point = whole[0] / max(whole[0] - whole[1], 1e-3 * whole[0])
        low, high = interval(means[:, 0] / left)
        shrink, stretch = min(low / point, 1.0), max(high / point, 1.0)
    return Speedup(
        low=_round(max(step / after.slow * shrink, 1.0)) if after.slow > 0 else None,
        likely=_round(max(step / after.likely, 1.0)) if after.likely > 0 else None,
        high=_round(max(step / after.fast * stretch, 1.0)) if after.fast > 0 else 1.0,
    )


def _round(value: float) -> float:
    return round(float(value), 3)
