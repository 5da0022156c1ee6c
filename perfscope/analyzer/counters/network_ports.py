"""The rates of the network ports of each host."""

from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.analyzer.run.resources.host_load import window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

SOURCE: Final = "the kernel: the rate at which the port came up"
COLUMNS: Final = ("host", "port", "name", "ts", "span", "value")
DIRECTIONS: Final = ("tx_bytes_per_s", "rx_bytes_per_s")


def port_rates(trace: Trace) -> pd.DataFrame:
    """Return the bytes per second of each port.

    Columns host, port, name (str: rx_bytes_per_s, tx_bytes_per_s), ts, span (int64 ns), value
    (float64 bytes/s). There is one row for each reading but the first of a port: the mean over the
    `span` before `ts`. A counter that fell gives no row.
    """
    counters = table(trace, "network_counters")
    parts = []
    if counters is not None:
        of_bytes = counters[counters["name"].isin(("rx_bytes", "tx_bytes"))]
        groups = of_bytes.groupby(["host", "port", "name"], observed=True, sort=False)
        parts = [rates_of_counter(counter_key(keys), rows) for keys, rows in groups]
    if not parts:
        return pd.DataFrame({name: [] for name in COLUMNS})
    return pd.concat(parts, ignore_index=True)


def counter_key(keys: Any) -> tuple[str, str, str]:
    """Return the key of a group over host, port and name."""
    host, port, name = keys
    return str(host), str(port), str(name)


def rates_of_counter(key: tuple[str, str, str], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rates of one cumulative counter."""
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    span, growth = np.diff(ts), np.diff(value)
    is_valid = (span > 0) & (growth >= 0)
    host, port, name = key
    span, growth = span[is_valid], growth[is_valid]
    columns = {"ts": ts[1:][is_valid], "span": span, "value": growth / span * 1e9}
    return pd.DataFrame({"host": host, "port": port, "name": f"{name}_per_s", **columns})


def rates_of_port(trace: Trace, host: str, port: str) -> list[pd.DataFrame]:
    """Return [out, in] of one port over the steady steps, or over everything recorded."""
    rates = trace.fact(port_rates)
    begin_ns, end_ns = window(trace)
    of_port = rates[(rates["host"] == host) & (rates["port"] == port)]
    overlaps = (of_port["ts"] > begin_ns) & (of_port["ts"] - of_port["span"] < end_ns)
    rows = of_port[overlaps]
    return [rows[rows["name"] == name] for name in DIRECTIONS]
