"""The processes, ranks, threads and devices of an export of Nsight Systems.

Nsight packs host, virtual machine, pid and thread into one number, with 24 bits each for pid and
thread. The bits above the thread identify a process, also where two hosts use the same pid.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.nsys.database import Database, Rows
from perfscope.traces.trace import make_table

TID_BITS: Final = 24
LOW_24: Final = (1 << TID_BITS) - 1
ASSIGNMENT: Final = re.compile(r'^(\w+)="?(-?[0-9]{1,9})"?$')
RANK_VARIABLES: Final = ("RANK", "WORLD_SIZE")
"""What torchrun sets in the environment of its processes."""


def process_key(ids: Ints) -> Ints:
    """Return the part of packed ids that identifies the process, -1 for none."""
    return np.where(ids == -1, -1, ids >> TID_BITS)


def thread_id(ids: Ints) -> Ints:
    """Return the thread of packed ids, -1 for none."""
    return np.where(ids == -1, -1, ids & LOW_24)


@dataclass
class RankOfProcess:
    """The rank of a process and the size of its job, as NCCL reported them; -1 unknown."""

    rank: int = -1
    world_size: int = -1


class NsysProcesses:
    """The processes of an export, with codes from 0: first those that use a device, in the order of
    their ranks.
    """

    def __init__(
        self, keys: list[int], device_process_count: int, database: Database, path: Path
    ) -> None:
        self.keys, self.path = np.array(keys, np.int64), path
        self.rank_count = max(device_process_count, 1)
        self.order = np.argsort(self.keys, kind="stable")
        self.pids: dict[int, int] = {}
        self.names: dict[int, str] = {}
        for key, pid, name in database.rows("PROCESSES", "globalPid", "pid", "name"):
            if isinstance(key, int):
                self.names[key >> TID_BITS] = str(name)
                if isinstance(pid, int):
                    self.pids[key >> TID_BITS] = pid
        hosts = database.settings("TARGET_INFO_SYSTEM_ENV", "Hostname")
        self.host = hosts[0][1] if hosts else ""
        devices = integer_rows(database, "TARGET_INFO_CUDA_DEVICE", "pid", "cudaId", "gpuId")
        self.device_of_cuda_id = {(pid, cuda_id): gpu_id for pid, cuda_id, gpu_id in devices}
        self.environment = rank_environment(database)
        self.reported: dict[int, RankOfProcess] = {}
        """Process code -> its rank, filled while the payloads of NCCL are read."""

    def codes(self, ids: Ints) -> Ints:
        """Return the process code of each packed id, 0 where the process is unknown."""
        if not len(self.keys):
            return np.zeros(len(ids), np.int64)
        key = process_key(ids)
        at = np.minimum(np.searchsorted(self.keys[self.order], key), len(self.keys) - 1)
        code = self.order[at]
        return np.where(self.keys[code] == key, code, 0)

    def pid(self, code: int) -> int:
        """Return the pid of a process."""
        key = int(self.keys[code])
        return self.pids.get(key, key & LOW_24)

    def host_devices(self, process: Ints, cuda_id: Ints) -> Ints:
        """Return the numbers of devices on their host.

        A process numbers only the devices that it can see, so two processes may both call theirs 0.
        """
        if not self.device_of_cuda_id or not len(cuda_id):
            return cuda_id
        pairs, place = np.unique(np.stack([process, cuda_id]), axis=1, return_inverse=True)
        devices = [
            self.device_of_cuda_id.get((self.pid(int(code)), int(number)), int(number))
            for code, number in pairs.T
        ]
        return np.array(devices, np.int64)[place.ravel()]

    def rank(self, code: int) -> int:
        """Return the rank of a process: as NCCL reported it, else by the order of the processes.

        For the only process of a file it comes from the environment, else from the file name.
        """
        reported = self.reported.get(code, RankOfProcess()).rank
        if reported >= 0 or code >= self.rank_count:
            return reported
        if self.rank_count > 1:
            return code
        in_name = RANK_IN_NAME.search(self.path.name)
        return self.environment.get("RANK", int(in_name[1]) if in_name else 0)

    def world_size(self, code: int) -> int:
        """Return the number of ranks of the job, -1 unknown."""
        reported = self.reported.get(code, RankOfProcess()).world_size
        if reported > 0:
            return reported
        in_file = self.rank_count if self.rank_count > 1 else -1
        return self.environment.get("WORLD_SIZE", in_file)

    def process_table(self) -> pd.DataFrame:
        """Return table `processes`."""
        count = len(self.keys)
        pids = [self.pid(code) for code in range(count)]
        return make_table(
            "processes",
            {
                "process": np.arange(count),
                "host": [self.host] * count,
                "boot_id": [""] * count,
                "pid": pids,
                "ns_pid": pids,
                "start_ticks": np.full(count, -1),
                "parent": np.full(count, -1),
                "role": ["main" if code < self.rank_count else "other" for code in range(count)],
                "rank": [self.rank(code) for code in range(count)],
                "local_rank": np.full(count, -1),
                "worker": np.full(count, -1),
                "name": [self.names.get(int(key), "process") for key in self.keys],
            },
        )

    def rank_table(self, *, communicates: bool) -> pd.DataFrame:
        """Return table `ranks`."""
        codes = range(min(self.rank_count, len(self.keys)))
        return make_table(
            "ranks",
            {
                "process": list(codes),
                "rank": [self.rank(code) for code in codes],
                "world_size": [self.world_size(code) for code in codes],
                "backend": ["nccl" if communicates else None for _ in codes],
                "source": [path_text(self.path) for _ in codes],
                "clock_offset_ns": [0 for _ in codes],
                "clock_residual_ns": [-1 for _ in codes],
            },
        )

    def thread_table(self, database: Database) -> pd.DataFrame | None:
        """Return table `threads`, None without any names of threads."""
        code_of_key = {int(key): code for code, key in enumerate(self.keys)}
        strings = database.all_strings()
        names: dict[tuple[int, int], str] = {}
        for name_id, packed in integer_rows(database, "ThreadNames", "nameId", "globalTid"):
            code = code_of_key.get(packed >> TID_BITS)
            if code is not None and name_id in strings:
                names[code, packed & LOW_24] = strings[name_id]
        if not names:
            return None
        return make_table(
            "threads",
            {
                "process": [code for code, _ in names],
                "tid": [tid for _, tid in names],
                "name": list(names.values()),
                "main": [tid == self.pid(code) for code, tid in names],
            },
        )

    def device_table(
        self, database: Database, used: list[tuple[Ints, Ints]]
    ) -> pd.DataFrame | None:
        """Return table `devices`. `used` holds (processes, devices) of rows that ran on one."""
        pairs = np.concatenate([np.stack(columns, axis=1) for columns in used])
        pairs = np.unique(pairs[pairs[:, 1] >= 0], axis=0)
        if not len(pairs):
            return None
        cards = {}
        for number, *facts in database.rows(
            "TARGET_INFO_GPU", "id", "name", "totalMemory", "smCount"
        ):
            if isinstance(number, int):
                cards[number] = facts
        rows = [cards.get(int(device), [None, -1, -1]) for _, device in pairs]
        return make_table(
            "devices",
            {
                "process": pairs[:, 0],
                "device": pairs[:, 1],
                "name": [name if isinstance(name, str) and name else None for name, _, _ in rows],
                "kind": ["cuda"] * len(rows),
                "memory_bytes": [size if isinstance(size, int) else -1 for _, size, _ in rows],
                "multiprocessors": [count if isinstance(count, int) else -1 for *_, count in rows],
            },
        )


def integer_rows(database: Database, table: str, *columns: str) -> list[tuple[int, ...]]:
    """Return the rows of a small table in which all these columns are whole numbers."""
    rows = database.rows(table, *columns)
    return [row for row in rows if all(isinstance(value, int) for value in row)]


def rank_environment(database: Database) -> dict[str, int]:
    """Return RANK and WORLD_SIZE from the environment in which the profiler was started, where
    torchrun started it.
    """
    variables = {}
    for name in RANK_VARIABLES:
        for _, value in database.settings(
            "META_DATA_CAPTURE", "*:ENVIRONMENT_VARIABLE", f"{name}=*"
        ):
            assignment = ASSIGNMENT.match(value)
            if assignment and assignment[1] in RANK_VARIABLES:
                variables[assignment[1]] = int(assignment[2])
    return variables


def nsys_processes(
    on_device: Sequence[Rows], on_host: Sequence[Rows], database: Database, path: Path
) -> NsysProcesses:
    """Return the processes of these rows: those with device work in the order of their devices,
    then the others, busiest first.
    """
    first_device: dict[int, int] = {}
    for rows in on_device:
        keys, devices = process_key(rows.numbers("globalPid")), rows.numbers("deviceId")
        for key in np.unique(keys[keys >= 0]).tolist():
            first_device[key] = min(first_device.get(key, 1 << 62), int(devices[keys == key].min()))
    with_device = sorted(first_device, key=lambda key: (first_device[key], key))
    host_keys = np.concatenate(
        [process_key(rows.numbers("globalTid")) for rows in on_host] + [np.empty(0, np.int64)]
    )
    keys, counts = np.unique(host_keys[host_keys >= 0], return_counts=True)
    busiest_first = keys[np.argsort(-counts, kind="stable")].tolist()
    others = [key for key in busiest_first if key not in first_device]
    return NsysProcesses([*with_device, *others] or [-1], len(with_device), database, path)
