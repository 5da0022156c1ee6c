"""Errors of links during the recording: of NVLink and PCIe of each device, of network ports, and
critical errors that the driver reported (Xid).
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd

from perfscope.analyzer.counters.lost_devices import device_losses
from perfscope.analyzer.counters.network_ports import counter_key
from perfscope.analyzer.run.accelerators.device_use import all_devices, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.trace import Trace

DEVICE_LINKS: Final = {"nvlink_error_count": "NVLink", "pcie_replay_count": "PCIe"}
LINK_DOWN: Final = ("link_downed", "carrier_down_count")
CONGESTION: Final = (
    "port_xmit_wait",
    "np_ecn_marked_roce_packets",
    "rp_cnp_handled",
    "roce_slow_restart",
    "rnr_nak_retry_err",
)
"""Counters of traffic that is slowed down (waits for credits, ECN marks, receivers not ready): the
link is fine.
"""
NOT_ERRORS: Final = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", *CONGESTION)


@dataclass(frozen=True)
class LinkErrors:
    """Errors of one kind on one link, and between which readings they occurred.

    `used`: the job uses the link, or that is unknown.
    """

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
    used: bool = True


def errors_counted(trace: Trace) -> bool:
    """Return whether any error counter was read."""
    devices, ports = table(trace, "device_counters"), table(trace, "network_counters")
    if devices is not None and devices["name"].isin((*DEVICE_LINKS, "xid")).any():
        return True
    return ports is not None and bool((~ports["name"].isin(NOT_ERRORS)).any())


def link_errors(trace: Trace) -> list[LinkErrors]:
    """Return every error counter that grew, with its rate, and every critical error."""
    uses = {
        (use.host, number)
        for use in trace.fact(device_use)
        for number in (use.device, use.facts.parent)
    }
    of_devices = [
        replace(errors, used=not uses or (errors.host, errors.device) in uses)
        for errors in (*device_link_errors(trace), *critical_errors(trace))
    ]
    return [*of_devices, *port_errors(trace)]


def device_link_errors(trace: Trace) -> list[LinkErrors]:
    """Return the errors of the NVLink and PCIe links of all devices."""
    counters = table(trace, "device_counters")
    found: list[LinkErrors] = []
    if counters is None:
        return found
    for name, kind in DEVICE_LINKS.items():
        rows_of_name = counters[counters["name"] == name]
        for keys, rows in rows_of_name.groupby(["host", "device"], observed=True):
            host, device = host_and_number(keys)
            link = LinkErrors(
                host=host,
                where=device_with_name(trace, host, device),
                kind=kind,
                what="errors corrected or sent again",
                count=0.0,
                per_s=0.0,
                begin_ns=0,
                end_ns=0,
                device=device,
            )
            found += with_growth(link, rows)
    return found


def critical_errors(trace: Trace) -> list[LinkErrors]:
    """Return the critical errors that the driver reported, but those of lost devices."""
    counters = table(trace, "device_counters")
    if counters is None:
        return []
    lost = {(loss.use.host, loss.use.device) for loss in trace.fact(device_losses)}
    found = []
    for row in counters[counters["name"] == "xid"].to_dict("records"):
        host, device, ts = str(row["host"]), int(row["device"]), int(row["ts"])
        if (host, device) in lost:
            continue
        found.append(
            LinkErrors(
                host=host,
                where=device_with_name(trace, host, device),
                kind="driver",
                what="critical error",
                count=1.0,
                per_s=0.0,
                begin_ns=ts,
                end_ns=ts,
                device=device,
                xid=int(row["value"]),
            )
        )
    return found


def device_with_name(trace: Trace, host: str, device: int) -> str:
    """Return `device 3 (NVIDIA H100)`."""
    names = {(use.host, use.device): use.facts.name for use in trace.fact(all_devices)}
    return f"device {device} ({names.get((host, device), 'unknown')})"


def port_errors(trace: Trace) -> list[LinkErrors]:
    """Return the errors of all network ports."""
    counters = table(trace, "network_counters")
    found: list[LinkErrors] = []
    if counters is None:
        return found
    errors = counters[~counters["name"].isin(NOT_ERRORS)]
    for keys, rows in errors.groupby(["host", "port", "name"], observed=True):
        host, port, name = counter_key(keys)
        link = LinkErrors(
            host=host,
            where=f"port {port}",
            kind="network",
            what=name,
            count=0.0,
            per_s=0.0,
            begin_ns=0,
            end_ns=0,
            went_down=name in LINK_DOWN,
        )
        found += with_growth(link, rows)
    return found


def with_growth(link: LinkErrors, rows: pd.DataFrame) -> list[LinkErrors]:
    """Return the link with the growth of its counter, an empty list where it did not grow.

    A counter that fell was reset and starts again.
    """
    growth = rows["value"].diff().clip(lower=0.0).fillna(0.0)
    ts = column(rows, "ts")
    count, span_s = float(growth.sum()), float(ts[-1] - ts[0]) / 1e9
    if count <= 0.0 or span_s <= 0.0:
        return []
    grew = ts[(growth > 0).to_numpy()]
    counted = replace(
        link,
        count=count,
        per_s=count / span_s,
        begin_ns=int(grew[0]),
        end_ns=int(grew[-1]),
    )
    return [counted]


def host_and_number(keys: Any) -> tuple[str, int]:
    """Return the key of a group over host and device."""
    host, device = keys
    return str(host), int(device)
