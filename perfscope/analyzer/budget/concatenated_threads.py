"""Several threads of a process laid end to end on one time axis, so that interval algebra handles
them in one go.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints


@dataclass(frozen=True)
class Lanes:
    """Threads (sorted ids) and the length of the axis that each gets, ns; a single thread keeps its
    own times.
    """

    tids: Ints
    length: int

    @classmethod
    def of(cls, tids: Ints, frames: list[pd.DataFrame | None]) -> "Lanes":
        """Lanes long enough for all rows of `frames`."""
        ends = [
            column(frame, "ts") + (column(frame, "dur") if "dur" in frame else 0)
            for frame in frames
            if frame is not None
        ]
        last = max((int(end.max()) for end in ends if len(end)), default=0)
        return cls(np.unique(tids), last + 1)

    def offsets(self, frame: pd.DataFrame) -> Ints:
        """What is added to the `ts` of each row, whose thread is one of ours."""
        return np.searchsorted(self.tids, column(frame, "tid")) * self.length

    def laid_out(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """The rows of our threads, in order on the common axis."""
        if frame is None:
            return None
        own = frame[frame["tid"].isin(self.tids)]
        if len(self.tids) == 1:
            return own
        return own.assign(ts=column(own, "ts") + self.offsets(own)).sort_values("ts", kind="stable")
