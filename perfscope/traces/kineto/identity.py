"""Who is who in a trace: processes, ranks, threads, devices."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import Group
from perfscope.traces.kineto.columns import integer, told
from perfscope.traces.kineto.device_tables import device_of
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.trace import framed

MOST_RANKS = 1 << 31


class Identity:
    """The processes of a file: codes from 0, the one that runs most operators first."""

    def __init__(self, pids: Ints, around: dict[str, Any], meta: list[Any], path: Path) -> None:
        self.pids, self.around, self.meta, self.path = pids, around, meta, path
        self.order = np.argsort(pids, kind="stable")

    def processes(self, group: Group) -> Ints:
        """The process code of each row; 0 for a pid that runs nothing."""
        pid = group.numbers("pid")
        if not len(self.pids):
            return np.zeros(len(pid), np.int64)
        at = np.minimum(np.searchsorted(self.pids[self.order], pid), len(self.pids) - 1)
        found = self.order[at]
        return np.where(self.pids[found] == pid, found, 0)

    def of_launch(self, launch: Ints, process: Ints) -> Ints:
        """The process that started each row, the first where that is not known."""
        return np.append(process, 0)[launch]

    def distributed(self, name: str) -> Any:
        info = self.around.get("distributedInfo")
        return info.get(name) if isinstance(info, dict) else None

    def rank(self) -> int:
        said = self.distributed("rank")
        if isinstance(said, int) and not isinstance(said, bool) and 0 <= said < MOST_RANKS:
            return said
        named = RANK_IN_NAME.search(self.path.name)
        return int(named[1]) if named else 0

    def process_table(self) -> pd.DataFrame:
        count = max(len(self.pids), 1)
        pids = self.pids if len(self.pids) else np.array([-1])
        names = {
            integer(pid): told(value) or ""
            for pid, _, what, value in self.meta
            if what == "process_name"
        }
        host = self.around.get("host_name")
        return framed(
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
                "rank": np.full(count, self.rank()),
                "local_rank": np.full(count, -1),
                "worker": np.full(count, -1),
                "name": [names.get(int(pid), "python") for pid in pids],
            },
        )

    def rank_table(self) -> pd.DataFrame:
        world, backend = self.distributed("world_size"), self.distributed("backend")
        return framed(
            "ranks",
            {
                "process": [0],
                "rank": [self.rank()],
                "world_size": [world if isinstance(world, int) and abs(world) < MOST_RANKS else -1],
                "backend": [backend if isinstance(backend, str) else None],
                "source": [path_text(self.path)],
                "clock_offset_ns": [0],
                "clock_residual_ns": [-1],
            },
        )

    def thread_table(self) -> pd.DataFrame | None:
        codes = {int(pid): code for code, pid in enumerate(self.pids)}
        rows = [
            (codes[integer(pid)], integer(tid), told(value) or "")
            for pid, tid, what, value in self.meta
            if what == "thread_name" and integer(pid) in codes and integer(tid) >= 0
        ]
        if not rows:
            return None
        process, tid, name = zip(
            *dict(zip([row[:2] for row in rows], rows, strict=True)).values(), strict=True
        )
        main = [one == int(self.pids[code]) for code, one in zip(process, tid, strict=True)]
        return framed("threads", {"process": process, "tid": tid, "name": name, "main": main})

    def device_table(self, kernels: Group, copies: Group) -> pd.DataFrame | None:
        used = np.unique(np.concatenate([device_of(kernels), device_of(copies)]))
        if not len(used):
            return None
        listed = self.around.get("deviceProperties")
        known = (
            {integer(one.get("id")): one for one in listed if isinstance(one, dict)}
            if isinstance(listed, list)
            else {}
        )
        rows = [known.get(int(device), {}) for device in used]
        if not any(
            rows
        ):  # ROCm numbers the devices of kernels its own way: where all listed are alike, these are like them  # noqa: E501
            alike = {
                (told(one.get("name")), told(one.get("numSms")), told(one.get("totalGlobalMem")))
                for one in known.values()
            }
            rows = [next(iter(known.values()))] * len(used) if len(alike) == 1 else rows
        return framed(
            "devices",
            {
                "process": np.zeros(len(used), np.int64),
                "device": used,
                "name": [self.product(row) for row in rows],
                "kind": [self.kind()] * len(used),
                "memory_bytes": [integer(row.get("totalGlobalMem")) for row in rows],
                "multiprocessors": [integer(row.get("numSms")) for row in rows],
            },
        )

    def product(self, properties: dict[str, Any]) -> str | None:
        name = properties.get("name")
        return name if isinstance(name, str) and name else None

    def kind(self) -> str:
        if of_amd(self.around):
            return "hip"
        return (
            "mtia"
            if any((told(value) or "").startswith("MTIA") for *_, value in self.meta)
            else "cuda"
        )


def identified(
    ops: Group, launches: Group, ranges: Group, around: dict[str, Any], meta: list[Any], path: Path
) -> Identity:
    """The processes seen in these rows."""
    seen = np.concatenate([group.numbers("pid") for group in (ops, launches, ranges)])
    pids, counts = np.unique(seen[seen >= 0], return_counts=True)
    return Identity(pids[np.argsort(-counts, kind="stable")], around, meta, path)


def of_amd(around: dict[str, Any]) -> bool:
    return any(name.startswith(("hip_", "roctracer")) for name in around)


def listed_devices(around: dict[str, Any]) -> list[DeviceFacts]:
    """Every device of the host that the process saw, used or not."""
    listed = around.get("deviceProperties")
    kind = "hip" if of_amd(around) else "cuda"
    return [
        DeviceFacts(
            device=integer(row.get("id")),
            name=name,
            kind=kind,
            memory_bytes=integer(row.get("totalGlobalMem")),
            multiprocessors=integer(row.get("numSms")),
        )
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, dict) and isinstance(name := row.get("name"), str) and name
    ]
