"""Who is who in an export: processes, ranks, threads, devices.

Nsight packs host, virtual machine, pid and thread into one number: 24 bits each for pid and thread.
What stands above the thread names a process even where pids of two hosts coincide.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import RANK_IN_NAME, path_text
from perfscope.traces.nsys.database import Database, Rows
from perfscope.traces.trace import framed

TID_BITS = 24
LOW_24 = (1 << TID_BITS) - 1
ASSIGNED = re.compile(r'^(\w+)="?(-?[0-9]{1,9})"?$')


def process_key(ids: Ints) -> Ints:
    """The part of packed ids that names the process; -1 for none."""
    return np.where(ids == -1, -1, ids >> TID_BITS)


def thread_id(ids: Ints) -> Ints:
    return np.where(ids == -1, -1, ids & LOW_24)


@dataclass
class Member:
    """What a process told of its place in the job, -1 unknown."""

    rank: int = -1
    world_size: int = -1


class Identity:
    """The processes of an export: codes from 0, first those that use a device, in the order of
    their ranks.
    """

    def __init__(self, keys: list[int], leading: int, database: Database, path: Path) -> None:
        self.keys, self.leading, self.path = np.array(keys, np.int64), max(leading, 1), path
        self.order = np.argsort(self.keys, kind="stable")
        listed = database.rows("PROCESSES", "globalPid", "pid", "name")
        self.pids = {
            key >> TID_BITS: pid
            for key, pid, _ in listed
            if isinstance(key, int) and isinstance(pid, int)
        }
        self.called = {
            key >> TID_BITS: str(name) for key, _, name in listed if isinstance(key, int)
        }
        self.host = next(
            (value for _, value in database.settings("TARGET_INFO_SYSTEM_ENV", "Hostname")), ""
        )
        self.cards = {
            row[:2]: row[2]
            for row in numbers(database, "TARGET_INFO_CUDA_DEVICE", "pid", "cudaId", "gpuId")
        }
        self.environment = environment(database)
        self.members: dict[int, Member] = {}

    def processes(self, ids: Ints) -> Ints:
        """The process code of each packed id; 0 where there is none."""
        if not len(self.keys):
            return np.zeros(len(ids), np.int64)
        key = process_key(ids)
        at = np.minimum(np.searchsorted(self.keys[self.order], key), len(self.keys) - 1)
        found = self.order[at]
        return np.where(self.keys[found] == key, found, 0)

    def pid(self, code: int) -> int:
        key = int(self.keys[code])
        return self.pids.get(key, key & LOW_24)

    def devices(self, process: Ints, device: Ints) -> Ints:
        """Numbers of devices on the host. A process counts only those it may see: two may both call
        theirs 0.
        """
        if not self.cards or not len(device):
            return device
        pairs, place = np.unique(np.stack([process, device]), axis=1, return_inverse=True)
        card = [self.cards.get((self.pid(int(code)), int(one)), int(one)) for code, one in pairs.T]
        return np.array(card, np.int64)[place.ravel()]

    def rank(self, code: int) -> int:
        """As the process said, else (alone in its file) its environment or the file's name, else
        its place in order.
        """
        said = self.members.get(code, Member()).rank
        if said >= 0 or code >= self.leading:
            return said
        if self.leading > 1:
            return code
        in_name = RANK_IN_NAME.search(self.path.name)
        return self.environment.get("RANK", int(in_name[1]) if in_name else 0)

    def world_size(self, code: int) -> int:
        said = self.members.get(code, Member()).world_size
        if said > 0:
            return said
        return self.environment.get("WORLD_SIZE", self.leading if self.leading > 1 else -1)

    def process_table(self) -> pd.DataFrame:
        count = len(self.keys)
        pids = [self.pid(code) for code in range(count)]
        return framed(
            "processes",
            {
                "process": np.arange(count),
                "host": [self.host] * count,
                "boot_id": [""] * count,
                "pid": pids,
                "ns_pid": pids,
                "start_ticks": np.full(count, -1),
                "parent": np.full(count, -1),
                "role": ["main" if code < self.leading else "other" for code in range(count)],
                "rank": [self.rank(code) for code in range(count)],
                "local_rank": np.full(count, -1),
                "worker": np.full(count, -1),
                "name": [self.called.get(int(key), "process") for key in self.keys],
            },
        )

    def rank_table(self, communicates: bool) -> pd.DataFrame:
        codes = range(min(self.leading, len(self.keys)))
        return framed(
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
        known = {int(key): code for code, key in enumerate(self.keys)}
        strings = database.all_strings()
        rows = {
            (known[key], tid): strings[name]
            for name, packed in numbers(database, "ThreadNames", "nameId", "globalTid")
            if (key := packed >> TID_BITS) in known
            and (tid := packed & LOW_24) >= 0
            and name in strings
        }
        if not rows:
            return None
        columns = {
            "process": [code for code, _ in rows],
            "tid": [tid for _, tid in rows],
            "name": list(rows.values()),
        }
        return framed("threads", {**columns, "main": [tid == self.pid(code) for code, tid in rows]})

    def device_table(
        self, database: Database, used: list[tuple[Ints, Ints]]
    ) -> pd.DataFrame | None:
        """`used`: processes and devices of all rows that ran on one."""
        pairs = np.concatenate([np.stack(one, axis=1) for one in used])
        pairs = np.unique(pairs[pairs[:, 1] >= 0], axis=0)
        if not len(pairs):
            return None
        columns = ("id", "name", "totalMemory", "smCount")
        known = {
            card[0]: card
            for card in database.rows("TARGET_INFO_GPU", *columns)
            if isinstance(card[0], int)
        }
        rows = [known.get(int(device), (-1, None, -1, -1)) for _, device in pairs]
        return framed(
            "devices",
            {
                "process": pairs[:, 0],
                "device": pairs[:, 1],
                "name": [row[1] if isinstance(row[1], str) and row[1] else None for row in rows],
                "kind": ["cuda"] * len(rows),
                "memory_bytes": [row[2] if isinstance(row[2], int) else -1 for row in rows],
                "multiprocessors": [row[3] if isinstance(row[3], int) else -1 for row in rows],
            },
        )


def numbers(database: Database, table: str, *columns: str) -> list[tuple[int, ...]]:
    """The rows of a small table in which all these columns are whole numbers."""
    return [
        row
        for row in database.rows(table, *columns)
        if all(isinstance(value, int) for value in row)
    ]


def environment(database: Database) -> dict[str, int]:
    """Numbers in the environment that the profiler was started in: torchrun's RANK and WORLD_SIZE
    where it started nsys.
    """
    wanted = ("RANK", "WORLD_SIZE")
    rows = [
        row
        for name in wanted
        for row in database.settings("META_DATA_CAPTURE", "*:ENVIRONMENT_VARIABLE", f"{name}=*")
    ]
    set_to = (ASSIGNED.match(value) for _, value in rows)
    return {found[1]: int(found[2]) for found in set_to if found and found[1] in wanted}


def identified(
    on_device: list[Rows], on_host: list[Rows], database: Database, path: Path
) -> Identity:
    """The processes of these rows: those with work on a device by device and id, then the others,
    busiest first.
    """
    lowest: dict[int, int] = {}
    for rows in on_device:
        keys, devices = process_key(rows.numbers("globalPid")), rows.numbers("deviceId")
        for key in np.unique(keys[keys >= 0]).tolist():
            lowest[key] = min(lowest.get(key, 1 << 62), int(devices[keys == key].min()))
    leading = sorted(lowest, key=lambda key: (lowest[key], key))
    host = np.concatenate(
        [process_key(rows.numbers("globalTid")) for rows in on_host] + [np.empty(0, np.int64)]
    )
    keys, counts = np.unique(host[host >= 0], return_counts=True)
    others = [key for key in keys[np.argsort(-counts, kind="stable")].tolist() if key not in lowest]
    return Identity([*leading, *others] or [-1], len(leading), database, path)
