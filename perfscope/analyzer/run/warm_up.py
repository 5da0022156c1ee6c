"""Which leading steps are warm-up: compilation, autotuning, lazy initialisation. Pure arrays in and
out.
"""

import numpy as np
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints

# A leading step is warm-up when it lies this many robust standard deviations (1.4826 x MAD) above
# the median of the later half and at least half again as long: compilation and cudnn search cost
# multiples of a step, jitter does not.
DEVIATIONS = 6.0
AT_LEAST = 1.5
# Warm-up is the beginning: never more than this share of the steps that were seen.
MOST_SHARE = 0.3
FEWEST_STEPS = 6


def warm_up(dur: Ints, explained: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True for the leading steps that are far from the rest.

    `dur` are step times in ns, in order; `explained` marks steps that are long for a reason of
    their own (an iterator start, a checkpoint): those are evidence and never warm-up, and they end
    it.
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
