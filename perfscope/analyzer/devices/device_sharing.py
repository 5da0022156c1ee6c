"""Who else is on the devices of the job, and which devices its ranks share or left empty."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class Stranger:
    """A process of another job on a device; name and user are None where they cannot be seen from
    here (another container).

    `sm_share`: of the time that was looked at its kernels ran, 0 in the looks in which it was not
    there; None unknown.
    """

    use: DeviceUse
    pid: int
    name: str | None
    user: str | None
    memory_bytes: int
    sm_share: float | None
    seen: tuple[int, int]


def strangers(trace: Trace) -> list[Stranger]:
    """Every process that is not of the job on a device of the job, the busiest first."""
    listed = table(trace, "device_processes")
    if listed is None:
        return []
    found = []
    for use in trace.fact(device_use):
        here = listed[(listed["host"] == use.host) & (listed["device"] == use.device)]
        looks = np.unique(
            column(here, "ts")[(here["memory_bytes"] >= 0) | here["sm_share"].notna()]
        )
        own = here[here["process"] < 0]
        for pid in np.unique(column(own, "pid")):
            found.append(_stranger(use, own[own["pid"] == pid], looks))
    return sorted(found, key=lambda one: -(one.sm_share or 0.0))


def _stranger(use: DeviceUse, rows: pd.DataFrame, looks: Ints) -> Stranger:
    shares = rows["sm_share"].to_numpy(np.float64)
    known = shares[~np.isnan(shares)]
    ts, last = column(rows, "ts"), rows.iloc[-1]
    absent = int((~np.isin(looks, ts)).sum())
    return Stranger(
        use=use,
        pid=int(last["pid"]),
        name=said(last["name"]),
        user=said(last["user"]),
        memory_bytes=int(rows["memory_bytes"].max()),
        sm_share=float(known.sum()) / (len(known) + absent) if len(known) else None,
        seen=(int(ts.min()), int(ts.max())),
    )


def said(value: object) -> str | None:
    return value if isinstance(value, str) else None


def crowded(trace: Trace) -> list[tuple[DeviceUse, list[DeviceUse]]]:
    """Devices with more than one rank of the job while others of the same host have none of
    anybody: (device, empty ones).
    """
    found = []
    for use in trace.fact(device_use):
        empty = [
            one
            for one in trace.fact(all_devices)
            if one.host == use.host and not holders(trace, one)
        ]
        if len(use.ranks) > 1 and use.facts.parent < 0 and empty:
            found.append((use, [one for one in empty if one.facts.parent < 0]))
    return [pair for pair in found if pair[1]]


def holders(trace: Trace, use: DeviceUse) -> int:
    """How many processes of anybody were on a device."""
    listed = table(trace, "device_processes")
    if listed is None:
        return 0
    return int(((listed["host"] == use.host) & (listed["device"] == use.device)).sum())


def strays(trace: Trace) -> list[tuple[int, DeviceUse, DeviceUse, int]]:
    """Ranks that also hold memory of a device where another rank works: (rank, its own device, the
    other's, bytes there).

    The usual cause is `torch.load` or `.cuda()` before the rank has set its device: every rank then
    has a context on device 0.
    """
    listed, processes = table(trace, "device_processes"), table(trace, "processes")
    if listed is None or processes is None:
        return []
    ranks = dict(zip(column(processes, "process"), column(processes, "rank"), strict=True))
    uses = {(one.host, one.device): one for one in trace.fact(device_use)}
    mine = listed[listed["process"] >= 0]
    largest = (
        mine.groupby(["host", "device", "process"], observed=True)["memory_bytes"]
        .max()
        .reset_index()
    )
    found = []
    for process, rows in largest.groupby("process"):
        if len(rows) < 2:
            continue
        order = rows.sort_values("memory_bytes", ascending=False)
        home = uses.get(_place(order.iloc[0]))
        for _, row in order.iloc[1:].iterrows():
            other = uses.get(_place(row))
            if home is not None and other is not None and len(other.processes) > 1:
                found.append((int(ranks.get(process, -1)), home, other, int(row["memory_bytes"])))
    return found


def _place(row: "pd.Series[int]") -> tuple[str, int]:
    return str(row["host"]), int(row["device"])
