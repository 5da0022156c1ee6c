"""The intervals of a run that profiling windows distorted."""

import numpy as np
import pandas as pd

BeginAndEnd = tuple[int, int]


def profiling_gaps(every_step: pd.DataFrame, kept: pd.DataFrame) -> list[BeginAndEnd]:
    """Return begin and end, in ns, of each series of distorted steps between the `kept` ones.

    Both are rows of the time budget of one process, in order of time.
    """
    distorted = every_step[every_step["distorted"]]
    first_ns, last_ns = kept["ts"].iloc[[0, -1]]
    between = distorted[distorted["ts"].between(first_ns, last_ns)]
    # Steps of one window have the same number of kept steps before them.
    window = np.searchsorted(kept["ts"].to_numpy(), between["ts"].to_numpy())
    ends_ns = between["ts"] + between["dur"] + between["cut"]
    bounds = between.assign(end=ends_ns).groupby(window).agg({"ts": "min", "end": "max"})
    return [(int(begin), int(end)) for begin, end in zip(bounds["ts"], bounds["end"], strict=True)]
