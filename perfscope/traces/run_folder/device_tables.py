"""Builds the tables of accelerators and network ports: device_counters, device_processes,
device_gaps, network_counters.

They come from streams of the host (`@host`) in JSON lines. A row of `device.counters` and
`network.counters` holds many values, which become a row each; a row of the other streams has the
columns of its table without `host`. The times are those of the agent, so no offset of a process
applies.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.traces.clocks import Clock
from perfscope.traces.run_folder.cell_types import checks_of, has_valid_cells, is_time, is_whole
from perfscope.traces.run_folder.growing import GrowingRun
from perfscope.traces.run_folder.packed_numbers import Readings, TextCodes, int64_array
from perfscope.traces.run_folder.stored import StoredRun
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import make_table

AGENT: Final = -1


@dataclass(frozen=True)
class HostTables:
    """Builds tables from the streams of the host."""

    run: StoredRun | GrowingRun
    clock: Clock

    def builders(self) -> dict[str, Callable[[], pd.DataFrame | None]]:
        """Return for each table the function that builds it, which returns None without rows."""
        return {
            "device_counters": self.device_counters,
            "device_processes": lambda: self.from_rows("device_processes", "device.processes"),
            "device_gaps": lambda: self.from_rows("device_gaps", "device.gaps"),
            "network_counters": self.network_counters,
        }

    def device_counters(self) -> pd.DataFrame | None:
        """Return table `device_counters`."""
        readings = Readings()
        for _, row in self.run.rows("device.counters"):
            ts, device = row.get("ts"), row.get("device")
            if is_time(ts) and is_whole(device):
                readings.add((device, -1), ts, named_values(row, "device"))
        columns = {"device": int64_array(readings.first), **readings.columns()}
        return self.in_job_time("device_counters", columns)

    def network_counters(self) -> pd.DataFrame | None:
        """Return table `network_counters`."""
        readings, ports = Readings(), TextCodes()
        for _, row in self.run.rows("network.counters"):
            ts, port = row.get("ts"), row.get("port")
            code = ports.code(port) if isinstance(port, str) else None
            if is_time(ts) and code is not None:
                readings.add((code, -1), ts, named_values(row, "port"))
        port_column = ports.category(array("i", readings.first))
        return self.in_job_time("network_counters", {"port": port_column, **readings.columns()})

    def from_rows(self, table: str, stream: str) -> pd.DataFrame | None:
        """Return a table from rows with its columns. Rows with a missing or invalid value are left
        out.
        """
        checks = checks_of([column for column in TABLES[table] if column.name != "host"])
        rows = [row for _, row in self.run.rows(stream) if has_valid_cells(row, checks)]
        columns = {name: [row[name] for row in rows] for name, _ in checks}
        return self.in_job_time(table, columns)

    def in_job_time(self, table: str, columns: dict[str, Any]) -> pd.DataFrame | None:
        """Return a table in job time and in the order of time, None without rows."""
        count = len(columns["ts"])
        if not count:
            return None
        frame = make_table(table, {**columns, "host": [self.run.manifest.host] * count})
        frame["ts"] = self.clock.job_ns(AGENT, frame["ts"].to_numpy(np.int64))
        return frame.sort_values("ts", kind="stable").reset_index(drop=True)


def named_values(row: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    """Return the names and values of a row, without its time and its key."""
    return [(name, value) for name, value in row.items() if name not in ("ts", key)]
