"""Which leading steps are warm-up: compilation, autotuning, lazy initialization."""

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

DEVIATIONS = 6.0
"""A leading step is warm-up when it is this many robust standard deviations (1.4826 x MAD) above
the median of the later half, and AT_LEAST times as long: compilation and cudnn search cost
multiples of a step, jitter does not.
"""
AT_LEAST = 1.5
MOST_SHARE = 0.3
"""Warm-up is at most this share of the recorded steps."""
FEWEST_STEPS = 6


def warm_up(dur: Ints, explained: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which leading steps are far longer than the rest.

    `dur` are step times in ns, in order; `explained` marks steps that are long for another reason
    (an iterator start, a checkpoint): those are never warm-up, and they end it.
    """
    warm = np.zeros(len(dur), bool)
    if len(dur) < FEWEST_STEPS:
        return warm
    later = dur[len(dur) // 2 :]
    middle = float(np.median(later))
    spread = 1.4826 * float(np.median(np.abs(later - middle)))
    far = (dur > middle + DEVIATIONS * spread) & (dur > AT_LEAST * middle) & ~explained
    leading = int(np.argmin(far)) if not far.all() else 0
    warm[: min(leading, int(MOST_SHARE * len(dur)))] = True
    return warm
