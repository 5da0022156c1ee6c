"""Who uses a device: the processes that the driver lists; those of the job by their code, the
others by name where it is seen.
"""

import contextlib
import os
import pathlib
import pwd
import time
from collections.abc import Mapping
from typing import Any, Final

import pynvml

from perfscope.agent.collector import TargetProcess
from perfscope.agent.host import proc
from perfscope.agent.nvml.device_reader import Card
from perfscope.agent.nvml.door import Door

NODES: Final = pathlib.Path("/sys/devices/system/node")
PROCESSOR: Final = 36
"""Place in /proc/PID/stat, counted behind the name, of the core that the process ran on last (field
39).
"""


class Holders:
    """The processes on the devices. Pids are the driver's: it translates them to our pid namespace,
    older drivers do not.
    """

    def __init__(self) -> None:
        self.seen_us: dict[int, int] = {}
        self.nodes = cores_of_nodes()
        self.last: dict[int, list[int]] = {}

    def rows(
        self, door: Door, card: Card, job: Mapping[int, TargetProcess], now_ns: int
    ) -> list[dict[str, Any]]:
        """A row of `device.processes` for each process on the device."""
        running = door.query(pynvml.nvmlDeviceGetComputeRunningProcesses_v3, card.handle)
        if running is None and door.last == pynvml.NVML_ERROR_FUNCTION_NOT_FOUND:
            running = door.query(pynvml.nvmlDeviceGetComputeRunningProcesses_v2, card.handle)
        if running is None:
            card.facts.missing.setdefault("processes", door.reason)
            return []
        self.last[card.number] = [int(one.pid) for one in running if int(one.pid) in job]
        shares = self.shares(door, card) if running else {}
        return [self.row(card.number, one, job, shares, now_ns) for one in running]

    def places(self, job: Mapping[int, TargetProcess], now_ns: int) -> list[dict[str, Any]]:
        """Where the job's processes run now, between two of the driver's lists; what only the
        driver says is left unknown.
        """
        known = [
            (device, pid, job[pid])
            for device, pids in self.last.items()
            for pid in pids
            if pid in job
        ]
        return [
            {
                "ts": now_ns,
                "device": device,
                "process": target.process,
                "pid": pid,
                "name": target.name,
                "user": None,
                "memory_bytes": -1,
                "sm_share": None,
                "cpu_node": self.node_of(pid),
            }
            for device, pid, target in known
        ]

    def shares(self, door: Door, card: Card) -> dict[int, float]:
        """pid -> share of the time in which its kernels ran, since the last look."""
        since_us = self.seen_us.get(card.number, int(time.time() * 1e6) - 1_000_000)
        samples = door.query(pynvml.nvmlDeviceGetProcessUtilization, card.handle, since_us)
        if samples is None:
            if door.last != pynvml.NVML_ERROR_NOT_FOUND:
                card.facts.missing.setdefault("sm_share of processes", door.reason)
            return {}
        sums: dict[int, list[float]] = {}
        for one in samples:
            sums.setdefault(int(one.pid), []).append(one.smUtil / 100.0)
        self.seen_us[card.number] = max((int(one.timeStamp) for one in samples), default=since_us)
        return {pid: sum(values) / len(values) for pid, values in sums.items()}

    def row(
        self,
        device: int,
        one: Any,
        job: Mapping[int, TargetProcess],
        shares: dict[int, float],
        now_ns: int,
    ) -> dict[str, Any]:
        pid, target = int(one.pid), job.get(int(one.pid))
        memory = getattr(one, "usedGpuMemory", None)
        return {
            "ts": now_ns,
            "device": device,
            "process": target.process if target is not None else -1,
            "pid": pid,
            "name": target.name if target is not None else name_of(pid),
            "user": user_of(pid),
            "memory_bytes": -1 if memory is None else int(memory),
            "sm_share": shares.get(pid),
            "cpu_node": self.node_of(pid) if target is not None else -1,
        }

    def node_of(self, pid: int) -> int:
        """NUMA node of the core that the main thread of a process ran on last."""
        text = proc.read(f"/proc/{pid}/stat")
        if text is None:
            return -1
        fields = text[text.rindex(")") + 2 :].split()
        return self.nodes.get(int(fields[PROCESSOR]), -1) if len(fields) > PROCESSOR else -1


def name_of(pid: int) -> str | None:
    """The command of a process that is not of the job; None when it cannot be seen from here."""
    text = proc.read(f"/proc/{pid}/comm")
    return None if text is None else text.strip()


def user_of(pid: int) -> str | None:
    """Who runs it."""
    with contextlib.suppress(OSError):
        uid = os.stat(f"/proc/{pid}").st_uid
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(uid).pw_name
        return str(uid)
    return None


def cores_of_nodes() -> dict[int, int]:
    """core -> NUMA node."""
    cores: dict[int, int] = {}
    for folder in NODES.glob("node[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            for part in (folder / "cpulist").read_text().strip().split(","):
                first, _, last = part.partition("-")
                cores.update(
                    dict.fromkeys(range(int(first), int(last or first) + 1), int(folder.name[4:]))
                )
    return cores
