"""Other jobs on the job's devices, devices that ranks share, and memory on the wrong device."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.device_use import DeviceUse, all_devices, device_use
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class ForeignProcess:
    """A process of another job on a device.

    `name` and `user` are None where they are not visible (another container). `sm_share` is the
    share of the time in which its kernels ran, 0 in samples without it; None unknown.
    """

    use: DeviceUse
    pid: int
    name: str | None
    user: str | None
    memory_bytes: int
    sm_share: float | None
    seen: tuple[int, int]


@dataclass(frozen=True)
class MisplacedMemory:
    """Memory that a rank which works on `home` holds on `other`, where another rank works."""

    rank: int
    home: DeviceUse
    other: DeviceUse
    size_bytes: int


def foreign_processes(trace: Trace) -> list[ForeignProcess]:
    """Return every process of another job on a device of the job, the busiest first."""
    listed = table(trace, "device_processes")
    if listed is None:
        return []
    found = []
    for use in trace.fact(device_use):
        rows = listed[(listed["host"] == use.host) & (listed["device"] == use.device)]
        is_measured = (rows["memory_bytes"] >= 0) | rows["sm_share"].notna()
        samples = np.unique(column(rows, "ts")[is_measured])
        foreign = rows[rows["process"] < 0]
        for pid in np.unique(column(foreign, "pid")):
            found.append(foreign_process(use, foreign[foreign["pid"] == pid], samples))
    return sorted(found, key=lambda other: -(other.sm_share or 0.0))


def foreign_process(use: DeviceUse, rows: pd.DataFrame, samples: Ints) -> ForeignProcess:
    """Return one process from its rows; it used nothing in the `samples` without it."""
    shares = rows["sm_share"].to_numpy(np.float64)
    known = shares[~np.isnan(shares)]
    ts, last = column(rows, "ts"), rows.iloc[-1]
    absent = int((~np.isin(samples, ts)).sum())
    return ForeignProcess(
        use=use,
        pid=int(last["pid"]),
        name=text_or_none(last["name"]),
        user=text_or_none(last["user"]),
        memory_bytes=int(rows["memory_bytes"].max()),
        sm_share=float(known.sum()) / (len(known) + absent) if len(known) else None,
        seen=(int(ts.min()), int(ts.max())),
    )


def text_or_none(value: object) -> str | None:
    """Return a cell of a text column, None where it is missing."""
    return value if isinstance(value, str) else None


def crowded_devices(trace: Trace) -> list[tuple[DeviceUse, list[DeviceUse]]]:
    """Return devices with several ranks while others of the host are free, with the free ones."""
    free = [use for use in trace.fact(all_devices) if not process_count(trace, use)]
    whole = [use for use in free if use.facts.parent < 0]
    found = []
    for use in trace.fact(device_use):
        free_on_host = [device for device in whole if device.host == use.host]
        if len(use.ranks) > 1 and use.facts.parent < 0 and free_on_host:
            found.append((use, free_on_host))
    return found


def process_count(trace: Trace, use: DeviceUse) -> int:
    """Return how many rows list a process of any job on a device."""
    listed = table(trace, "device_processes")
    if listed is None:
        return 0
    return int(((listed["host"] == use.host) & (listed["device"] == use.device)).sum())


def misplaced_memory(trace: Trace) -> list[MisplacedMemory]:
    """Return the ranks that also hold memory of a device where another rank works.

    The usual cause is `torch.load` or `.cuda()` before the rank has set its device: every rank then
    has a context on device 0.
    """
    listed, processes = table(trace, "device_processes"), table(trace, "processes")
    if listed is None or processes is None:
        return []
    ranks = dict(zip(column(processes, "process"), column(processes, "rank"), strict=True))
    uses = {(use.host, use.device): use for use in trace.fact(device_use)}
    of_job = listed[listed["process"] >= 0]
    groups = of_job.groupby(["host", "device", "process"], observed=True)
    largest = groups["memory_bytes"].max().reset_index()
    found = []
    for process, rows in largest.groupby("process"):
        order = rows.sort_values("memory_bytes", ascending=False)
        home = uses.get(device_key(order.iloc[0]))
        for _, row in order.iloc[1:].iterrows():
            other = uses.get(device_key(row))
            if home is not None and other is not None and len(other.processes) > 1:
                rank, size_bytes = int(ranks.get(process, -1)), int(row["memory_bytes"])
                found.append(MisplacedMemory(rank, home, other, size_bytes))
    return found


def device_key(row: "pd.Series[int]") -> tuple[str, int]:
    """Return the host and the device of a row."""
    return str(row["host"]), int(row["device"])
