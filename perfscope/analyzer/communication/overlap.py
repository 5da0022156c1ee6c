"""How much communication, and how much copying, computation hides."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.device_activity import activity, rows_on
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.units import NO_DEVICE, units
from perfscope.traces.intervals import Spans, covered, intersected
from perfscope.traces.trace import Trace


def overlap(trace: Trace) -> pd.DataFrame:
    """One row for each device: rank, process, device, communication_ns, hidden_ns (of it behind
    computation), hidden_share (NaN without communication), copy_ns, copy_hidden_ns,
    copy_hidden_share.

    Times are of the union: two collectives side by side count once.
    """
    rows = []
    for unit in units(trace):
        if unit.device == NO_DEVICE:
            continue
        did = activity(trace, unit)
        talks, hidden = (
            _length(did.communication),
            _length(intersected(did.communication, did.compute)),
        )
        copies, copies_hidden = _length(did.copy), _length(intersected(did.copy, did.compute))
        rows.append(
            {
                "rank": unit.rank,
                "process": unit.process,
                "device": unit.device,
                "communication_ns": talks,
                "hidden_ns": hidden,
                "hidden_share": hidden / talks if talks else np.nan,
                "copy_ns": copies,
                "copy_hidden_ns": copies_hidden,
                "copy_hidden_share": copies_hidden / copies if copies else np.nan,
            }
        )
    return pd.DataFrame(rows)


def exposed_collectives(trace: Trace) -> pd.DataFrame:
    """Rows of `collectives` of every unit with `rank` and `exposed_ns`: what of each computation
    does not hide.
    """
    parts = []
    for unit in units(trace):
        own = rows_on(trace, "collectives", unit)
        if own is None or not len(own):
            continue
        ts, dur = column(own, "ts"), column(own, "dur")
        exposed = dur - covered(activity(trace, unit).compute, ts, ts + dur)
        parts.append(own.assign(rank=unit.rank, exposed_ns=exposed))
    return pd.concat(parts) if parts else pd.DataFrame()


def _length(spans: Spans) -> int:
    return int((spans[1] - spans[0]).sum())
