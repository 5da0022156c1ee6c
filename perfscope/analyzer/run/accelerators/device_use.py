"""The devices of the hosts: which of them the job uses, for which ranks, and the means of their
counters over the steady steps.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from perfscope.analyzer.run.accelerators.counter_series import (
    device_series,
    readings_within,
    time_mean,
)
from perfscope.analyzer.run.loops.steps import steady_steps
from perfscope.analyzer.run.resources.host_load import window
from perfscope.analyzer.run.table_access import column, manifest, table, uses_device
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.trace import Trace

ROUNDING = 0.01
"""The driver reports utilization in whole percent."""


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
    """Return the codes of the job's processes on a device, and whether the driver lists them.

    Where it does not, the processes are known if the probe says which devices its process uses.
    """
    listed = table(trace, "device_processes")
    if listed is None or not len(listed) or lists_other_pids(trace, host):
        used = devices_of_process(trace)
        if used is not None:
            is_used = facts.uuid is not None and facts.uuid.removeprefix("GPU-") in used
            return ((main_processes_of(trace)[0],) if is_used else ()), True
        return (), devices > 1
    of_device = (listed["host"] == host) & (listed["device"] == facts.device)
    of_job = listed[of_device & (listed["process"] >= 0)]
    return tuple(int(code) for code in np.unique(column(of_job, "process"))), True


def lists_other_pids(trace: Trace, host: str) -> bool:
    """Return whether the driver's lists of processes on a host do not show the job.

    In a container with pids of its own the driver lists pids of the host, which are unknown inside,
    or nothing at all. Then no process of the job is listed although it uses a device, and the lists
    name processes that do not exist here.
    """
    listed = table(trace, "device_processes")
    if listed is None or not uses_device(trace):
        return False
    of_host = listed[listed["host"] == host]
    if not len(of_host) or (column(of_host, "process") >= 0).any():
        return False
    return bool(of_host["name"].isna().any())


def devices_of_process(trace: Trace) -> list[str] | None:
    """Return the UUIDs of the devices that the only main process uses.

    None where its probe did not report them, and in jobs of several processes.
    """
    torch = manifest(trace).torch
    if torch is None or not torch.devices or len(main_processes_of(trace)) != 1:
        return None
    return torch.devices


def main_processes_of(trace: Trace) -> list[int]:
    """Return the codes of the main processes."""
    rows = table(trace, "processes")
    return [] if rows is None else column(rows[rows["role"] == "main"], "process").tolist()


def ranks_of_processes(trace: Trace, processes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the ranks of these processes, in order."""
    rows = table(trace, "processes")
    if rows is None:
        return ()
    mains = rows[rows["process"].isin(processes) & (rows["role"] == "main")]
    return tuple(int(rank) for rank in np.unique(column(mains, "rank")))


@dataclass(frozen=True)
class CountedIdle:
    """The share of the steady steps in which no device of a process runs a kernel, and its error.

    The driver counts any kernel, and rounds each reading to a percent.
    """

    share: float
    error: float


def counted_idle(trace: Trace, process: int) -> CountedIdle | None:
    """Return the idle time of a process's devices by the driver's counters.

    None where it was not read for all of its devices, or which devices it uses is not known.
    """
    uses = [use for use in trace.fact(device_use) if process in use.processes or not use.certain]
    busy = [use.means["kernel_time_share"] for use in uses if "kernel_time_share" in use.means]
    guessed = sum(not use.certain for use in uses)
    if not busy or len(busy) < len(uses) or guessed > 1:
        return None
    busiest = max(uses, key=lambda use: use.means["kernel_time_share"])
    readings = busiest.readings(trace, "kernel_time_share")["value"].to_numpy(np.float64)
    spread = float(readings.std() / np.sqrt(len(readings))) if len(readings) else 0.0
    return CountedIdle(1.0 - max(busy), ROUNDING + spread)
