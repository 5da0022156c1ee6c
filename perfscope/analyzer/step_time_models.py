"""Closed forms for the step time without a cause. Times are nanoseconds per step."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.bootstrap import interval, resampled_means
from perfscope.analyzer.diagnosis import Speedup

NORM = 4.0
"""Two limits of similar size add up where they alternate (a batch that is sometimes late, a core
that is taken): the pessimistic time is their 4-norm, 19 % above the larger when they are equal and
4 % when one is two thirds of the other.
"""


@dataclass(frozen=True)
class After:
    """The step time after a change: pessimistic, likely and optimistic."""

    slow: float
    likely: float
    fast: float


@dataclass(frozen=True)
class Machine:
    """The limits of every prediction on a CPU; None where one was not measured."""

    usable_cores: float | None
    reachable_cores: float | None
    """The cores that the job uses now, and idle ones."""
    cpu: float | None
    """CPU nanoseconds of the whole job per step."""

    def floor(self, saved_cpu: float = 0.0) -> float:
        """Return the least time per step on all usable cores, with `saved_cpu` less work."""
        if self.cpu is None or not self.usable_cores:
            return 0.0
        return max(self.cpu - saved_cpu, 0.0) / self.usable_cores

    def share_floor(self, saved_cpu: float = 0.0) -> float:
        """Return the least time per step on the cores that the job can have now."""
        if self.cpu is None or not self.reachable_cores:
            return 0.0
        return max(self.cpu - saved_cpu, 0.0) / self.reachable_cores


def pipelined_step_time(
    consumer: float,
    supply: float,
    machine: Machine,
    saved_cpu: float = 0.0,
    *,
    undelayed: float | None = None,
) -> After:
    """Return the step time of a consumer and workers that run in parallel.

    It is the slower of the two, bounded by the cores. `undelayed` is the consumer's time when its
    core is always free, the optimistic case.
    """
    cores = machine.share_floor(saved_cpu)
    likely = max(consumer, supply, cores)
    slow = float(np.linalg.norm([consumer, supply, cores], NORM))
    best = consumer if undelayed is None else min(undelayed, consumer)
    return After(slow, likely, max(best, supply, machine.floor(saved_cpu)))


def warm_cache_factor(waiting: float, by: float, *, on_device: bool) -> float:
    """Return the factor on a loop's time when its thread no longer sleeps within steps.

    waiting: the share of its time in which the thread sleeps. The factor falls from 1 to 1 - `by`,
    which it reaches where the thread sleeps half of the time or more. It is 1 on a device.
    """
    return 1.0 if on_device else 1.0 - by * min(2.0 * waiting, 1.0)


def undisturbed_factor(away: float, by: float, *, on_device: bool) -> float:
    """Return the factor on a loop's time when other threads no longer take its core within steps.

    away: the share of its time in which the loop was off its core. by: how much shorter the loop
    becomes, as a share of that time. The factor is 1 on a device: its work needs no core.
    """
    return 1.0 if on_device else 1.0 - by * min(max(away, 0.0), 1.0)


def speedup(
    step: float, after: After, removed: pd.Series | None = None, total: pd.Series | None = None
) -> Speedup:
    """Return the factors step / after, never below 1.

    They are widened by the bootstrap interval of the gain per step: `removed` and `total` are
    nanoseconds of each step (the cost of the cause, the step), and steps that differ leave the gain
    less certain.
    """
    shrink, stretch = 1.0, 1.0
    if removed is not None and total is not None and len(total) > 1:
        columns = np.column_stack([total.to_numpy(np.float64), removed.to_numpy(np.float64)])
        means = resampled_means(columns)
        left = np.maximum(means[:, 0] - means[:, 1], 1e-3 * means[:, 0])
        step_mean, removed_mean = columns.mean(axis=0)
        point = step_mean / max(step_mean - removed_mean, 1e-3 * step_mean)
        low, high = interval(means[:, 0] / left)
        shrink, stretch = min(low / point, 1.0), max(high / point, 1.0)
    return Speedup(
        low=gain_factor(step * shrink, after.slow),
        likely=gain_factor(step, after.likely),
        high=gain_factor(step * stretch, after.fast) or 1.0,
    )


def gain_factor(before: float, after: float) -> float | None:
    """Return before / after with three digits, never below 1; None without a time after."""
    return round(float(max(before / after, 1.0)), 3) if after > 0 else None
