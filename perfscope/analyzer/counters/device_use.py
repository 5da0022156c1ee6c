"""The devices of the hosts: which of them the job uses, for which ranks, and the means of their
counters over the steady steps.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfscope.analyzer.counters.series import device_series, readings_within, time_mean
from perfscope.analyzer.run.host_load import window
from perfscope.analyzer.run.steps import steady_steps
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace


@dataclass(frozen=True)
class DeviceUse:
    """One device over [begin_ns, end_ns): the steady steps, or the whole recording without steps.

    `processes` are the job's processes on it, `ranks` their ranks in order. `certain` is False
    where the driver does not list processes and this is the only device. `means` are over time.
    `over_steps`: the window is that of steady steps.
    """

    host: str
    facts: DeviceFacts
    begin_ns: int
    end_ns: int
    processes: tuple[int, ...]
    ranks: tuple[int, ...]
    certain: bool
    means: dict[str, float] = field(default_factory=dict)
    over_steps: bool = False

    @property
    def device(self) -> int:
        """Its number on its host."""
        return self.facts.device

    @property
    def span_s(self) -> float:
        """Length of the window, in seconds."""
        return (self.end_ns - self.begin_ns) / 1e9

    @property
    def window_ns(self) -> tuple[int, int]:
        """The window, (begin, end) in ns."""
        return self.begin_ns, self.end_ns

    def readings(self, trace: Trace, name: str) -> pd.DataFrame:
        """Return the rows of `device_series` of one of its counters in its window."""
        series = trace.fact(device_series)
        return readings_within(series, self.host, self.device, name, self.window_ns)

    def why_missing(self, *names: str) -> str:
        """Return why none of these counters was read."""
        reasons = self.facts.missing.items()
        matching = (why for counter, why in reasons if any(name in counter for name in names))
        reason = next(matching, "it was not read")
        return f"not measurable on this device ({self.facts.name}), because: {reason}"


def all_devices(trace: Trace) -> list[DeviceUse]:
    """Return every device of every host of the recording, in order; empty where none was read."""
    return [
        use_of_device(trace, manifest.host, facts, len(manifest.devices))
        for manifest in trace.manifests
        for facts in manifest.devices
    ]


def use_of_device(trace: Trace, host: str, facts: DeviceFacts, devices: int) -> DeviceUse:
    """Return one of the `devices` of a host, with the means of its counters."""
    begin_ns, end_ns = window(trace)
    series = trace.fact(device_series)
    of_device = series[(series["host"] == host) & (series["device"] == facts.device)]
    means = {}
    for name in of_device["name"].unique().tolist():
        rows = readings_within(of_device, host, facts.device, name, (begin_ns, end_ns))
        mean = time_mean(rows)
        if mean is not None:
            means[name] = mean
    processes, certain = processes_on_device(trace, host, facts, devices)
    return DeviceUse(
        host,
        facts,
        begin_ns,
        end_ns,
        processes,
        ranks_of_processes(trace, processes),
        certain,
        means,
        over_steps=bool(len(trace.fact(steady_steps))),
    )


def device_use(trace: Trace) -> list[DeviceUse]:
    """Return the devices that the job uses; a MIG instance counts as its whole device."""
    return [use for use in trace.fact(all_devices) if use.processes or not use.certain]


def processes_on_device(
    trace: Trace, host: str, facts: DeviceFacts, devices: int
) -> tuple[tuple[int, ...], bool]:
    """Return the codes of the job's processes on a device, and whether the driver lists them."""
    listed = table(trace, "device_processes")
    if listed is None or not len(listed):
        return (), devices > 1
    of_device = (listed["host"] == host) & (listed["device"] == facts.device)
    of_job = listed[of_device & (listed["process"] >= 0)]
    return tuple(int(code) for code in np.unique(column(of_job, "process"))), True


def ranks_of_processes(trace: Trace, processes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ranks of these processes, in order."""
    rows = table(trace, "processes")
    if rows is None:
        return ()
    mains = rows[rows["process"].isin(processes) & (rows["role"] == "main")]
    return tuple(int(rank) for rank in np.unique(column(mains, "rank")))
