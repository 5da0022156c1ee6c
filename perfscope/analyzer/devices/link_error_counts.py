"""Errors of links while they were recorded: NVLink and PCIe of each device, network ports, and what
the driver reported (Xid).
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd

from perfscope.analyzer.counters.device_use import all_devices, device_use
from perfscope.analyzer.counters.lost_devices import losses
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

OF_DEVICES: Final = {"nvlink_error_count": "NVLink", "pcie_replay_count": "PCIe"}
DOWN: Final = ("link_downed", "carrier_down_count")
CONGESTION: Final = (
    *(
        "port_xmit_wait",
        "np_ecn_marked_roce_packets",
        "rp_cnp_handled",
        "roce_slow_restart",
        "rnr_nak_retry_err",
    ),
)
"""How traffic is slowed down where it is too much (waits for credits, ECN marks, receivers not
ready): no link is bad.
"""
NOT_ERRORS: Final = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", *CONGESTION)


@dataclass(frozen=True)
class LinkErrors:
    """Errors of one kind on one link, and between which readings they came."""

    host: str
    where: str
    kind: str
    what: str
    count: float
    per_s: float
    begin_ns: int
    end_ns: int
    device: int = -1
    xid: int | None = None
    went_down: bool = False
    used: bool = True  # by the job, as far as that is known


def errors_counted(trace: Trace) -> bool:
    """Was any error counter read?"""
    devices, ports = table(trace, "device_counters"), table(trace, "network_counters")
    of_devices = devices is not None and bool(devices["name"].isin((*OF_DEVICES, "xid")).any())
    return of_devices or (ports is not None and bool((~ports["name"].isin(NOT_ERRORS)).any()))


def link_errors(trace: Trace) -> list[LinkErrors]:
    """Every counter that grew, with its rate."""
    uses = {
        (use.host, number)
        for use in trace.fact(device_use)
        for number in (use.device, use.facts.parent)
    }
    return [
        replace(one, used=not uses or (one.host, one.device) in uses) if one.device >= 0 else one
        for one in (*_of_devices(trace), *_of_ports(trace))
    ]


def _of_devices(trace: Trace) -> list[LinkErrors]:
    counters = table(trace, "device_counters")
    names = {(use.host, use.device): use.facts.name for use in trace.fact(all_devices)}
    found: list[LinkErrors] = []
    if counters is None:
        return found
    for name, link in OF_DEVICES.items():
        for keys, rows in counters[counters["name"] == name].groupby(
            ["host", "device"], observed=True
        ):
            host, device = _pair(keys)
            where = f"device {device} ({names.get((host, device), 'unknown')})"
            found += _grown(rows, host, where, link, "errors corrected or sent again", device)
    lost = {
        (one.use.host, one.use.device) for one in trace.fact(losses)
    }  # whose Xid the loss itself tells
    for row in counters[counters["name"] == "xid"].to_dict("records"):
        host, device, ts = str(row["host"]), int(row["device"]), int(row["ts"])
        if (host, device) in lost:
            continue
        where = f"device {device} ({names.get((host, device), 'unknown')})"
        found.append(
            LinkErrors(
                host, where, "driver", "critical error", 1.0, 0.0, ts, ts, device, int(row["value"])
            )
        )
    return found


def _of_ports(trace: Trace) -> list[LinkErrors]:
    counters = table(trace, "network_counters")
    found: list[LinkErrors] = []
    if counters is None:
        return found
    own = counters[~counters["name"].isin(NOT_ERRORS)]
    for keys, rows in own.groupby(["host", "port", "name"], observed=True):
        host, port, name = _three(keys)
        found += _grown(rows, host, f"port {port}", "network", name, -1, went_down=name in DOWN)
    return found


def _grown(
    rows: pd.DataFrame,
    host: str,
    where: str,
    kind: str,
    what: str,
    device: int,
    *,
    went_down: bool = False,
) -> list[LinkErrors]:
    """Nothing, or the growth of one counter over the readings of it; a counter that fell was reset
    and begins anew.
    """
    value, ts = rows["value"].diff().clip(lower=0.0).fillna(0.0), column(rows, "ts")
    count, span_s = float(value.sum()), float(ts[-1] - ts[0]) / 1e9
    if count <= 0.0 or span_s <= 0.0:
        return []
    grew = ts[(value > 0).to_numpy()]
    return [
        LinkErrors(
            host,
            where,
            kind,
            what,
            count,
            count / span_s,
            int(grew[0]),
            int(grew[-1]),
            device,
            None,
            went_down,
        )
    ]


def _pair(keys: Any) -> tuple[str, int]:
    host, device = keys
    return str(host), int(device)


def _three(keys: Any) -> tuple[str, str, str]:
    host, port, name = keys
    return str(host), str(port), str(name)
