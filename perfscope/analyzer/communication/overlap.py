"""How much communication, and how much copying, overlaps with computation."""

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.device_activity import activity, rows_on
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import covered, intersected, length_ns
from perfscope.traces.trace import Trace


def overlap(trace: Trace) -> pd.DataFrame:
    """Return one row per device.

    Columns rank, process, device, communication_ns, hidden_ns (the part that overlaps with
    computation), hidden_share (NaN without communication), copy_ns, copy_hidden_ns,
    copy_hidden_share. Times are of the union: two collectives at the same time count once.
    """
    rows = [overlap_of_unit(trace, unit) for unit in units(trace) if unit.device != NO_DEVICE]
    return pd.DataFrame(rows)


def overlap_of_unit(trace: Trace, unit: Unit) -> dict[str, float]:
    """Return the row of one device."""
    busy = activity(trace, unit)
    communication_ns = length_ns(busy.communication)
    hidden_ns = length_ns(intersected(busy.communication, busy.compute))
    copy_ns, copy_hidden_ns = length_ns(busy.copy), length_ns(intersected(busy.copy, busy.compute))
    return {
        "rank": unit.rank,
        "process": unit.process,
        "device": unit.device,
        "communication_ns": communication_ns,
        "hidden_ns": hidden_ns,
        "hidden_share": hidden_ns / communication_ns if communication_ns else np.nan,
        "copy_ns": copy_ns,
        "copy_hidden_ns": copy_hidden_ns,
        "copy_hidden_share": copy_hidden_ns / copy_ns if copy_ns else np.nan,
    }


def exposed_collectives(trace: Trace) -> pd.DataFrame:
    """Return the rows of `collectives` of every device with `rank` and `exposed_ns`.

    The latter is the part that does not overlap with computation.
    """
    frame = table(trace, "collectives")
    places, ranks, exposed = [], [], []
    for unit in units(trace):
        rows = rows_on(trace, "collectives", unit)
        if rows is None or not len(rows):
            continue
        ts, duration = column(rows, "ts"), column(rows, "dur")
        exposed.append(duration - covered(activity(trace, unit).compute, ts, ts + duration))
        places.append(rows.index.to_numpy())
        ranks.append(np.full(len(rows), unit.rank, np.int64))
    if frame is None or not places:
        return pd.DataFrame()
    of_units = frame.iloc[np.concatenate(places)]
    return of_units.assign(rank=np.concatenate(ranks), exposed_ns=np.concatenate(exposed))
