"""The processes, ranks, threads and devices of a Kineto trace."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import EventGroup
from perfscope.traces.kineto.columns import as_text, integer
from perfscope.traces.kineto.device_tables import device_numbers
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.trace import make_table

MOST_RANKS: Final = 1 << 31


@dataclass(frozen=True)
class FileFacts:
    """What a file says other than its events."""

    around: dict[str, Any]
    """The members of the outermost JSON object."""
    meta: list[Any]
    """Metadata events: (pid, tid, what, value)."""
    path: Path

    def distributed(self, name: str) -> Any:
        """Return a member of `distributedInfo`, None where it is missing."""
        info = self.around.get("distributedInfo")
        return info.get(name) if isinstance(info, dict) else None

    def rank(self) -> int:
        """Return the rank of the file, else that in its name, else 0."""
        rank = self.distributed("rank")
        if isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank < MOST_RANKS:
            return rank
        in_name = RANK_IN_NAME.search(self.path.name)
        return int(in_name[1]) if in_name else 0

    def device_properties(self) -> list[dict[str, Any]]:
        """Return the properties of every device that the process saw, used or not."""
        listed = self.around.get("deviceProperties")
        return [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []

    def device_kind(self) -> str:
        """Return hip, mtia or cuda."""
        if is_amd(self.around):
            return "hip"
        labels = (as_text(value) or "" for *_, value in self.meta)
        return "mtia" if any(label.startswith("MTIA") for label in labels) else "cuda"


class KinetoProcesses:
    """The processes of a file, with codes from 0. Code 0 is the process with most events."""

    def __init__(self, pids: Ints, facts: FileFacts) -> None:
        self.pids, self.facts = pids, facts
        self.order = np.argsort(pids, kind="stable")

    def codes(self, group: EventGroup) -> Ints:
        """Return the process code of each event; 0 for a pid without host events."""
        pid = group.numbers("pid")
        if not len(self.pids):
            return np.zeros(len(pid), np.int64)
        at = np.minimum(np.searchsorted(self.pids[self.order], pid), len(self.pids) - 1)
        code = self.order[at]
        return np.where(self.pids[code] == pid, code, 0)

    def process_table(self) -> pd.DataFrame:
        """Return table `processes`."""
        count = max(len(self.pids), 1)
        pids = self.pids if len(self.pids) else np.array([-1])
        names = {
            integer(pid): as_text(value) or ""
            for pid, _, what, value in self.facts.meta
            if what == "process_name"
        }
        host = self.facts.around.get("host_name")
        return make_table(
            "processes",
            {
                "process": np.arange(count),
                "host": [host if isinstance(host, str) else ""] * count,
                "boot_id": [""] * count,
                "pid": pids,
                "ns_pid": pids,
                "start_ticks": np.full(count, -1),
                "parent": np.full(count, -1),
                "role": ["main"] + ["other"] * (count - 1),
                "rank": np.full(count, self.facts.rank()),
                "local_rank": np.full(count, -1),
                "worker": np.full(count, -1),
                "name": [names.get(int(pid), "python") for pid in pids],
            },
        )

    def rank_table(self) -> pd.DataFrame:
        """Return table `ranks`."""
        world_size = self.facts.distributed("world_size")
        backend = self.facts.distributed("backend")
        is_plausible = isinstance(world_size, int) and abs(world_size) < MOST_RANKS
        return make_table(
            "ranks",
            {
                "process": [0],
                "rank": [self.facts.rank()],
                "world_size": [world_size if is_plausible else -1],
                "backend": [backend if isinstance(backend, str) else None],
                "source": [path_text(self.facts.path)],
                "clock_offset_ns": [0],
                "clock_residual_ns": [-1],
            },
        )

    def thread_table(self) -> pd.DataFrame | None:
        """Return table `threads`, None without any names of threads."""
        code_of_pid = {int(pid): code for code, pid in enumerate(self.pids)}
        names: dict[tuple[int, int], str] = {}
        for pid, tid, what, value in self.facts.meta:
            code = code_of_pid.get(integer(pid))
            if what == "thread_name" and code is not None and integer(tid) >= 0:
                names[code, integer(tid)] = as_text(value) or ""
        if not names:
            return None
        return make_table(
            "threads",
            {
                "process": [code for code, _ in names],
                "tid": [tid for _, tid in names],
                "name": list(names.values()),
                "main": [tid == int(self.pids[code]) for code, tid in names],
            },
        )

    def device_table(self, kernels: EventGroup, copies: EventGroup) -> pd.DataFrame | None:
        """Return table `devices`: those on which something ran; None without any."""
        used = np.unique(np.concatenate([device_numbers(kernels), device_numbers(copies)]))
        if not len(used):
            return None
        properties = {integer(row.get("id")): row for row in self.facts.device_properties()}
        rows = [properties.get(int(device), {}) for device in used]
        if not any(rows) and are_alike(list(properties.values())):
            # ROCm numbers the devices of kernels in its own way. Where all listed devices are
            # alike, the used ones are like them.
            rows = [next(iter(properties.values()))] * len(used)
        return make_table(
            "devices",
            {
                "process": np.zeros(len(used), np.int64),
                "device": used,
                "name": [product_name(row) for row in rows],
                "kind": [self.facts.device_kind()] * len(used),
                "memory_bytes": [integer(row.get("totalGlobalMem")) for row in rows],
                "multiprocessors": [integer(row.get("numSms")) for row in rows],
            },
        )


def kineto_processes(host_groups: list[EventGroup], facts: FileFacts) -> KinetoProcesses:
    """Return the processes of these host events, the one with most events first."""
    all_pids = np.concatenate([group.numbers("pid") for group in host_groups])
    pids, counts = np.unique(all_pids[all_pids >= 0], return_counts=True)
    return KinetoProcesses(pids[np.argsort(-counts, kind="stable")], facts)


def product_name(properties: dict[str, Any]) -> str | None:
    """Return the product name of a device, None where it is unknown."""
    name = properties.get("name")
    return name if isinstance(name, str) and name else None


def are_alike(devices: list[dict[str, Any]]) -> bool:
    """Return whether these devices have the same name, number of SMs and memory."""
    keys = ("name", "numSms", "totalGlobalMem")
    kinds = {tuple(as_text(device.get(key)) for key in keys) for device in devices}
    return len(kinds) == 1


def is_amd(around: dict[str, Any]) -> bool:
    """Return whether a trace was recorded with ROCm."""
    return any(name.startswith(("hip_", "roctracer")) for name in around)


def listed_devices(facts: FileFacts) -> list[DeviceFacts]:
    """Return every device of the host that the process saw, used or not."""
    kind = "hip" if is_amd(facts.around) else "cuda"
    devices = []
    for row in facts.device_properties():
        name = product_name(row)
        if name is not None:
            devices.append(
                DeviceFacts(
                    device=integer(row.get("id")),
                    name=name,
                    kind=kind,
                    memory_bytes=integer(row.get("totalGlobalMem")),
                    multiprocessors=integer(row.get("numSms")),
                )
            )
    return devices
