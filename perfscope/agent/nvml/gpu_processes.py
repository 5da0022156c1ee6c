"""The processes that use a device.

The driver reports pids, which it translates to our pid namespace (old drivers do not). Processes of
the job get their number in the recording, others the name and user that /proc shows.
"""

import contextlib
import itertools
import os
import pathlib
import pwd
import time
from collections.abc import Mapping
from typing import Any, Final

import pynvml

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.nvml.device_reader import DeviceReader
from perfscope.agent.nvml.session import NvmlSession

NODES: Final = pathlib.Path("/sys/devices/system/node")
LAST_CORE_FIELD: Final = 36
"""Index in /proc/PID/stat, counted after the name, of the core the process last ran on (field 39).
"""
FIRST_INTERVAL_US: Final = 1_000_000

JobProcesses = Mapping[int, TargetProcess]
Row = dict[str, Any]


class GpuProcesses:
    """Reads rows of the stream "device.processes"."""

    def __init__(self) -> None:
        self.read_until_us: dict[int, int] = {}
        """The time of the newest utilization sample read, by device."""
        self.nodes = read_core_nodes()
        self.job_pids: dict[int, list[int]] = {}
        """The processes of the job on each device, as the driver last listed them."""

    def read(
        self, nvml: NvmlSession, device: DeviceReader, job: JobProcesses, now_ns: int
    ) -> list[Row]:
        """Return a row for each process that the driver lists on the device."""
        listed = nvml.query(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, device.handle)
        if listed is None and nvml.last == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            listed = nvml.query(pynvml.nvmlDeviceGetComputeRunningProcesses_v2, device.handle)
        if listed is None:
            device.facts.missing.setdefault("processes", nvml.reason)
            return []
        pids = [int(process.pid) for process in listed]
        self.job_pids[device.number] = [pid for pid in pids if pid in job]
        shares = self.read_shares(nvml, device) if listed else None
        rows = []
        for process in listed:
            memory = getattr(process, "usedGpuMemory", None)
            row = self.row(device.number, int(process.pid), job, now_ns)
            row["user"] = owner_name(int(process.pid))
            row["memory_bytes"] = -1 if memory is None else int(memory)
            row["sm_share"] = None if shares is None else shares.get(int(process.pid), 0.0)
            rows.append(row)
        return rows

    def locate(self, job: JobProcesses, now_ns: int) -> list[Row]:
        """Return a row for each process of the job on a device, with the NUMA node it runs on now.

        This does not call the driver; the fields that only the driver knows are left unknown.
        """
        return [
            self.row(device, pid, job, now_ns)
            for device, pids in self.job_pids.items()
            for pid in pids
            if pid in job
        ]

    def row(self, device: int, pid: int, job: JobProcesses, now_ns: int) -> Row:
        """Return a row with the fields that need no call of the driver."""
        target = job.get(pid)
        return {
            "ts": now_ns,
            "device": device,
            "process": target.process if target is not None else -1,
            "pid": pid,
            "name": target.name if target is not None else process_name(pid),
            "user": None,
            "memory_bytes": -1,
            "sm_share": None,
            "cpu_node": self.node_of(pid) if target is not None else -1,
        }

    def read_shares(self, nvml: NvmlSession, device: DeviceReader) -> dict[int, float] | None:
        """Return the share of time in which kernels of each process ran since the last call, by
        pid; None where the driver does not tell.

        The driver has one sample per period, and none of a process in a period without its kernels.
        """
        now_us = int(time.time() * 1e6)
        since_us = self.read_until_us.get(device.number, now_us - FIRST_INTERVAL_US)
        samples = nvml.query(pynvml.nvmlDeviceGetProcessUtilization, device.handle, since_us)
        if samples is None and nvml.last != pynvml.NVML_ERROR_NOT_FOUND:
            device.facts.missing.setdefault("sm_share of processes", nvml.reason)
            return None
        if not samples:
            self.read_until_us[device.number] = now_us
            return {}
        times_us = {int(sample.timeStamp) for sample in samples}
        self.read_until_us[device.number] = max(times_us)
        count = count_periods(times_us, since_us)
        shares: dict[int, float] = {}
        for sample in samples:
            pid = int(sample.pid)
            shares[pid] = shares.get(pid, 0.0) + sample.smUtil / 100.0 / count
        return shares

    def node_of(self, pid: int) -> int:
        """Return the NUMA node of the core that the main thread of a process ran on last."""
        text = proc.read(f"/proc/{pid}/stat")
        if text is None:
            return -1
        fields = text[text.rindex(")") + 2 :].split()
        if len(fields) <= LAST_CORE_FIELD:
            return -1
        return self.nodes.get(int(fields[LAST_CORE_FIELD]), -1)


def count_periods(times_us: set[int], since_us: int) -> int:
    """Return the number of sampling periods from `since_us` to the last of these samples.

    The period is the smallest time between two samples.
    """
    ordered = sorted(times_us)
    gaps = [second - first for first, second in itertools.pairwise(ordered)]
    if not gaps:
        return 1
    return max(round((ordered[-1] - since_us) / min(gaps)), len(ordered))


def process_name(pid: int) -> str | None:
    """Return the command name of a process; None when it cannot be seen."""
    text = proc.read(f"/proc/{pid}/comm")
    return None if text is None else text.strip()


def owner_name(pid: int) -> str | None:
    """Return the name, or else the number, of the user that a process runs as."""
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def read_core_nodes() -> dict[int, int]:
    """Return the NUMA node of each core."""
    nodes: dict[int, int] = {}
    for folder in NODES.glob("node[0-9]*"):
        node = int(folder.name[4:])
        with contextlib.suppress(OSError, ValueError):
            for part in (folder / "cpulist").read_text().strip().split(","):
                first, _, last = part.partition("-")
                for core in range(int(first), int(last or first) + 1):
                    nodes[core] = node
    return nodes
