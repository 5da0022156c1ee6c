"""What was read of accelerators and network ports: device_counters, device_processes, device_gaps,
network_counters.

Streams of the host (`@host`), JSON lines: `device.counters` and `network.counters` hold many names
a row, which become a row each; the others hold a table's columns but `host`. The agent takes the
time, so no offset of a process applies.
"""

from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from perfscope.traces.clocks import Clock
from perfscope.traces.run.cells import checks_of, holds, is_time, is_whole
from perfscope.traces.run.growing import GrowingRun
from perfscope.traces.run.readings import Readings, Texts, whole_numbers
from perfscope.traces.run.stored import StoredRun
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import framed

AGENT = -1
Run = StoredRun | GrowingRun


def spread(run: Run, clock: Clock, table: str, stream: str, key: str) -> pd.DataFrame | None:
    """A table of readings from rows that hold many: one row for each number."""
    readings, keys = Readings(), Texts()
    is_text = any(column.name == key and column.dtype == "category" for column in TABLES[table])
    for _, row in run.rows(stream):
        ts, of = row.get("ts"), row.get(key)
        code = (keys.code(of) if isinstance(of, str) else None) if is_text else of
        if is_time(ts) and is_whole(code):
            readings.add(
                (code, -1), ts, ((name, row[name]) for name in row if name not in ("ts", key))
            )
    codes = whole_numbers(readings.first)
    named = keys.category(array("i", readings.first)) if is_text else codes
    return in_job_time(run, clock, table, {key: named, **readings.columns()})


def whole(run: Run, clock: Clock, table: str, stream: str) -> pd.DataFrame | None:
    """A table from rows that hold its columns; a row that lacks one, or holds one of another kind,
    is left out.
    """
    checks = checks_of([column for column in TABLES[table] if column.name != "host"])
    rows = [row for _, row in run.rows(stream) if holds(row, checks)]
    return in_job_time(run, clock, table, {name: [row[name] for row in rows] for name, _ in checks})


def in_job_time(run: Run, clock: Clock, table: str, columns: dict[str, Any]) -> pd.DataFrame | None:
    """The table sorted by time, None when there is nothing in it."""
    count = len(columns["ts"])
    if not count:
        return None
    frame = framed(table, {**columns, "host": [run.manifest.host] * count})
    frame["ts"] = clock.job_ns(AGENT, frame["ts"].to_numpy(np.int64))
    return frame.sort_values("ts", kind="stable").reset_index(drop=True)


def makers(run: Run, clock: Clock) -> dict[str, Callable[[], pd.DataFrame | None]]:
    """Name of each table -> what makes it."""
    return {
        "device_counters": lambda: spread(
            run, clock, "device_counters", "device.counters", "device"
        ),
        "device_processes": lambda: whole(run, clock, "device_processes", "device.processes"),
        "device_gaps": lambda: whole(run, clock, "device_gaps", "device.gaps"),
        "network_counters": lambda: spread(
            run, clock, "network_counters", "network.counters", "port"
        ),
    }
