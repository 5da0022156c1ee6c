"""How full the network ports of each host were."""

from typing import Any

import numpy as np
import pandas as pd

from perfscope.analyzer.run.host_load import window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

SOURCE = "the kernel: the rate that the port came up with"


def port_rates(trace: Trace) -> pd.DataFrame:
    """Columns host, port, name (str: rx_bytes_per_s, tx_bytes_per_s), ts, span (int64 ns), value
    (float64 bytes/s).

    One row for each reading but the first of a port: the mean over the `span` before `ts`. A
    counter that fell gives none.
    """
    columns = ("host", "port", "name", "ts", "span", "value")
    counters = table(trace, "network_counters")
    parts = []
    if counters is not None:
        own = counters[counters["name"].isin(("rx_bytes", "tx_bytes"))]
        for keys, rows in own.groupby(["host", "port", "name"], observed=True, sort=False):
            parts.append(_rates(_three(keys), rows))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({name: [] for name in columns})
    )


def _three(keys: Any) -> tuple[str, str, str]:
    host, port, name = keys
    return str(host), str(port), str(name)


def _rates(keys: tuple[str, str, str], rows: pd.DataFrame) -> pd.DataFrame:
    ts, value = column(rows, "ts"), rows["value"].to_numpy(np.float64)
    span, grown = np.diff(ts), np.diff(value)
    good = (span > 0) & (grown >= 0)
    host, port, name = keys
    columns = {"ts": ts[1:][good], "span": span[good], "value": grown[good] / span[good] * 1e9}
    return pd.DataFrame({"host": host, "port": port, "name": f"{name}_per_s", **columns})


def rates_of(trace: Trace, host: str, port: str) -> list[pd.DataFrame]:
    """[out, in] of one port over the steady steps, or over everything."""
    rates = trace.fact(port_rates)
    begin, end = window(trace)
    own = rates[(rates["host"] == host) & (rates["port"] == port)]
    own = own[(own["ts"] > begin) & (own["ts"] - own["span"] < end)]
    return [own[own["name"] == name] for name in ("tx_bytes_per_s", "rx_bytes_per_s")]
