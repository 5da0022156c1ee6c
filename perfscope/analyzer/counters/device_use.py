"""The devices of the hosts: which of them the job uses, for which ranks, and what their counters
say over the steady steps.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.series import device_series, mean, within
from perfscope.analyzer.run.host_load import window
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class DeviceUse:
    """One device over [begin_ns, end_ns): the steady steps, or everything recorded.

    `ranks`: of the job's processes on it, in order. `certain` is False where the driver does not
    say who uses a device and this is the only one. `means` are over time; `missing` says why of
    what could not be read.
    """

    host: str
    facts: DeviceFacts
    begin_ns: int
    end_ns: int
    processes: tuple[int, ...]
    ranks: tuple[int, ...]
    certain: bool
    means: dict[str, float] = field(default_factory=dict)

    @property
    def device(self) -> int:
        """Its number on its host."""
        return self.facts.device

    @property
    def span_s(self) -> float:
        """Length of the window, seconds."""
        return (self.end_ns - self.begin_ns) / 1e9

    def why_missing(self, *names: str) -> str:
        """Why none of these counters was read, `not measurable on this device, because ...`."""
        reasons = self.facts.missing
        told = next(
            (why for name, why in reasons.items() if any(one in name for one in names)),
            "it was not read",
        )
        return f"not measurable on this device ({self.facts.name}), because: {told}"


def all_devices(trace: Trace) -> list[DeviceUse]:
    """Every device of every host of the recording, in order; empty where none was read."""
    series = trace.fact(device_series)
    begin, end = window(trace)
    found = []
    for manifest in trace.manifests:
        for facts in manifest.devices:
            own = series[(series["host"] == manifest.host) & (series["device"] == facts.device)]
            processes, certain = users(trace, manifest.host, facts, len(manifest.devices))
            names = own["name"].unique().tolist()
            means = {
                n: mean(within(own, manifest.host, facts.device, n, begin, end)) for n in names
            }
            known = {name: value for name, value in means.items() if value is not None}
            ranks = ranks_of(trace, processes)
            found.append(
                DeviceUse(manifest.host, facts, begin, end, processes, ranks, certain, known)
            )
    return found


def device_use(trace: Trace) -> list[DeviceUse]:
    """The devices that the job uses; a MIG instance stands for its whole device."""
    return [one for one in trace.fact(all_devices) if one.processes or not one.certain]


def users(
    trace: Trace, host: str, facts: DeviceFacts, devices: int
) -> tuple[tuple[int, ...], bool]:
    """Codes of the job's processes on a device, and whether the driver says so."""
    listed = table(trace, "device_processes")
    if listed is not None and len(listed):
        own = listed[
            (listed["host"] == host) & (listed["device"] == facts.device) & (listed["process"] >= 0)
        ]
        return tuple(int(code) for code in np.unique(column(own, "process"))), True
    return (), devices > 1


def ranks_of(trace: Trace, processes: tuple[int, ...]) -> tuple[int, ...]:
    """The ranks of these processes."""
    rows = table(trace, "processes")
    if rows is None:
        return ()
    own: pd.DataFrame = rows[rows["process"].isin(processes) & (rows["role"] == "main")]
    return tuple(int(rank) for rank in np.unique(column(own, "rank")))
