"""Several threads of a process laid end to end on one time axis."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.table_access import column
from perfscope.traces.intervals import Ints, Spans


@dataclass(frozen=True)
class ThreadLanes:
    """The threads of a process, by sorted ids, and the part of the axis that each of them has.

    A single thread keeps its times.
    """

    tids: Ints
    length_ns: int

    @classmethod
    def of(cls, tids: Ints, frames: list[pd.DataFrame | None]) -> "ThreadLanes":
        """Return lanes that are long enough for all rows of `frames`."""
        last = 0
        for frame in frames:
            if frame is not None and len(frame):
                dur = column(frame, "dur") if "dur" in frame else 0
                last = max(last, int((column(frame, "ts") + dur).max()))
        return cls(np.unique(tids), last + 1)

    def offsets(self, frame: pd.DataFrame) -> Ints:
        """Return the offset of each row on the axis, in ns; all rows are of these threads."""
        return np.searchsorted(self.tids, column(frame, "tid")) * self.length_ns

    def concatenate(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return the rows of these threads, in order on the common axis."""
        if frame is None:
            return None
        rows = frame[frame["tid"].isin(self.tids)]
        if len(self.tids) == 1:
            return rows
        ts = column(rows, "ts") + self.offsets(rows)
        return rows.assign(ts=ts).sort_values("ts", kind="stable")

    def repeat_on_each(self, spans: Spans) -> Spans:
        """Return intervals of the process, repeated in the part of the axis of each thread."""
        starts, ends = (np.clip(edges, 0, self.length_ns) for edges in spans)
        offsets = np.arange(len(self.tids)) * (self.length_ns if len(self.tids) > 1 else 0)
        return (
            (offsets[:, None] + starts[None, :]).ravel(),
            (offsets[:, None] + ends[None, :]).ravel(),
        )
