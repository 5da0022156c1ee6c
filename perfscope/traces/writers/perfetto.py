"""Chrome's trace event format in the words of the PyTorch profiler: ui.perfetto.dev opens it, and
so do we.

Threads are threads of their process; a device of a process is a process of its own, its streams are
the threads. Arrows lead from launches to what they started. Times are microseconds with nanoseconds
behind the point.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pandas as pd

from perfscope.traces.naming import BYTES_OF
from perfscope.traces.trace import Trace
from perfscope.traces.tracks import Layout, Slices, Track, clean, laid_out
from perfscope.traces.writer import Writer

ROWS_AT_ONCE = 1 << 15
FIRST_OF_DEVICES = 1 << 23
"""Numbers of processes that stand for devices: above every pid that Linux gives out."""
LANE_STEP = 1 << 24
"""Added to a tid for each further lane: above every tid and stream."""
CATEGORY = {
    "ops": "cpu_op",
    "launches": "cuda_runtime",
    "ranges": "user_annotation",
    "loader": "user_annotation",
    "fetches": "fetch",
    "kernels": "kernel",
    "copies": "gpu_memcpy",
}
OF_RANGES = {"python": "python_function", "overhead": "overhead"}
DEVICE_TYPE = 1
"""c10::DeviceType of CUDA and HIP."""


class Writable(Protocol):
    """An open file, packed or not."""

    def write(self, data: Any, /) -> Any: ...


class Event(msgspec.Struct, omit_defaults=True):
    """One event; what is None is not written."""

    ph: str
    name: str
    pid: int
    tid: int
    ts: float | None = None
    dur: float | None = None
    cat: str | None = None
    id: int | None = None
    bp: str | None = None
    s: str | None = None
    args: dict[str, Any] | None = None


def write_perfetto(trace: Trace, path: Path) -> None:
    """Writes one file, packed when its name ends in .gz."""
    with (
        gzip.open(path, "wb", compresslevel=4) if path.name.endswith(".gz") else open(path, "wb")
    ) as file:
        file.write(b'{"schemaVersion":1,"displayTimeUnit":"ns",')
        file.write(b'"baseTimeNanoseconds":%d,"host_name":' % trace.manifest.zero_realtime_ns)
        file.write(msgspec.json.encode(clean(trace.manifest.host)))
        for key, value in around(trace).items():
            file.write(b"," + msgspec.json.encode(key) + b":" + msgspec.json.encode(value))
        file.write(b',"traceEvents":[\n')
        separated(file, Events(trace).all())
        file.write(b"\n]}\n")


def separated(file: Writable, events: Iterator[Event]) -> None:
    """One event a line, with commas between, a bufferful at a time."""
    encoder, buffer, first = msgspec.json.Encoder(), bytearray(), True
    for event in events:
        if not first:
            buffer += b",\n"
        first = False
        buffer += encoder.encode(event)
        if len(buffer) > 1 << 20:
            file.write(buffer)
            buffer.clear()
    file.write(buffer)


def around(trace: Trace) -> dict[str, Any]:
    """Devices and the rank, as the PyTorch profiler tells them."""
    found: dict[str, Any] = {}
    devices, ranks = trace.table("devices"), trace.table("ranks")
    if devices is not None:
        rows = devices.drop_duplicates("device")
        names = ("id", "name", "totalGlobalMem", "numSms")
        cells = zip(
            rows["device"], rows["name"], rows["memory_bytes"], rows["multiprocessors"], strict=True
        )
        found["deviceProperties"] = [
            {
                key: clean(v) if isinstance(v, str) else int(v)
                for key, v in zip(names, row, strict=True)
                if known(v)
            }
            for row in cells
        ]
    if ranks is not None and len(ranks) == 1:
        rank, world, backend = ranks[["rank", "world_size", "backend"]].iloc[0]
        info = {
            "rank": int(rank),
            "world_size": int(world) if world > 0 else None,
            "backend": backend if known(backend) else None,
        }
        found["distributedInfo"] = {key: value for key, value in info.items() if known(value)}
    return found


def known(value: Any) -> bool:
    return not pd.isna(value) and not (isinstance(value, int | np.integer) and value < 0)


class Events:
    """The events of a trace in the format's order: names first, then table by table."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.layout: Layout = laid_out(trace)
        self.pids = pids(trace, self.layout)
        self.where = [self.place(track) for track in self.layout.tracks]

    def place(self, track: Track) -> tuple[int, int]:
        """(pid, tid) of a track as written."""
        return self.pids[track.process, track.device], max(track.number, 0)

    def all(self) -> Iterator[Event]:
        yield from self.names()
        for slices in self.layout.slices:
            yield from self.of_slices(slices)
        yield from self.arrows()
        yield from self.memory()
        yield from self.counters()

    def names(self) -> Iterator[Event]:
        processes, threads = self.trace.table("processes"), self.trace.table("threads")
        called = (
            {}
            if processes is None
            else dict(zip(processes["process"], processes["name"], strict=True))
        )
        rank = (
            {}
            if processes is None
            else dict(zip(processes["process"], processes["rank"], strict=True))
        )
        for (process, device), pid in self.pids.items():
            text = clean(called.get(process, "process"))
            label = (
                f"{text}, rank {rank.get(process, 0)}" if device < 0 else f"GPU {device} of {text}"
            )
            yield Event("M", "process_name", pid, 0, args={"name": text if device < 0 else label})
            yield Event(
                "M",
                "process_labels",
                pid,
                0,
                args={"labels": label if device < 0 else f"GPU {device}"},
            )
            yield Event(
                "M",
                "process_sort_index",
                pid,
                0,
                args={"sort_index": process if device < 0 else 1_000_000 + device},
            )
        if threads is not None:
            for process, tid, name in zip(
                threads["process"], threads["tid"], threads["name"], strict=True
            ):
                if (int(process), -1) in self.pids:
                    yield Event(
                        "M",
                        "thread_name",
                        self.pids[int(process), -1],
                        int(tid),
                        args={"name": clean(name)},
                    )
        for track, (pid, tid) in zip(self.layout.tracks, self.where, strict=True):
            if track.device >= 0:
                yield Event("M", "thread_name", pid, tid, args={"name": f"stream {track.number}"})

    def of_slices(self, slices: Slices) -> Iterator[Event]:
        frame = self.trace.table(slices.table)
        assert frame is not None
        collectives = self.collectives() if slices.table == "kernels" else None
        for begin in range(0, len(slices), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            rows = frame.iloc[slices.rows[part]]
            categories = categories_of(slices.table, rows)
            more = arguments(slices.table, rows)
            if collectives is not None:
                more = [
                    a | collectives.get(row, {})
                    for a, row in zip(more, slices.rows[part].tolist(), strict=True)
                ]
            columns = (slices.track, slices.lane, slices.codes, slices.ts, slices.dur)
            cells = zip(
                *(column[part].tolist() for column in columns), categories, more, strict=True
            )
            for track, lane, code, ts, dur, category, args in cells:
                pid, tid = self.where[track]
                yield Event(
                    "X",
                    slices.names[code],
                    pid,
                    tid + lane * LANE_STEP,
                    ts / 1e3,
                    dur / 1e3,
                    category,
                    args=args,
                )

    def collectives(self) -> dict[int, dict[str, Any]]:
        """What is known of the kernels that communicate, by row of `kernels`."""
        frame = self.trace.table("collectives")
        if frame is None:
            return {}
        names = ("kernel", "kind", "in_bytes", "out_bytes", "dtype", "group", "group_size")
        return {
            int(row[0]): said_of_collective(*row[1:])
            for row in zip(*(frame[name] for name in names), strict=True)
        }

    def arrows(self) -> Iterator[Event]:
        """From the launch to what it started."""
        launches = next((one for one in self.layout.slices if one.table == "launches"), None)
        if launches is None:
            return
        number = 0
        for slices in self.layout.slices:
            frame = self.trace.table(slices.table)
            if slices.table not in ("kernels", "copies") or frame is None:
                continue
            launch = frame["launch"].to_numpy()[slices.rows]
            for at in np.flatnonzero(launch >= 0).tolist():
                number += 1
                row = int(launch[at])
                for phase, side, index in (("s", launches, row), ("f", slices, at)):
                    pid, tid = self.where[side.track[index]]
                    tid += int(side.lane[index]) * LANE_STEP
                    ts = int(side.ts[index]) / 1e3
                    yield Event(
                        phase,
                        "launch",
                        pid,
                        tid,
                        ts,
                        cat="ac2g",
                        id=number,
                        bp="e" if phase == "f" else None,
                    )

    def memory(self) -> Iterator[Event]:
        frame = self.trace.table("memory")
        if frame is None:
            return
        names = ("process", "device", "ts", "bytes", "allocated_bytes", "reserved_bytes")
        for process, device, ts, size, used, held in zip(
            *(frame[name].tolist() for name in names), strict=True
        ):
            args = {
                "Device Type": DEVICE_TYPE,
                "Device Id": device,
                "Bytes": size,
                "Total Allocated": used,
                "Total Reserved": held,
            }
            pid = self.pids[process, -1]
            yield Event("i", "[memory]", pid, 0, ts / 1e3, s="t", args=args)
            level = {
                key: value for key, value in (("allocated", used), ("reserved", held)) if value >= 0
            }
            if level:
                yield Event("C", f"memory of GPU {device}", pid, 0, ts / 1e3, args=level)

    def counters(self) -> Iterator[Event]:
        frame = self.trace.table("counters")
        if frame is None:
            return
        rows = frame[np.isfinite(frame["value"])]
        for process, ts, name, value in zip(
            rows["process"], rows["ts"], rows["name"], rows["value"], strict=True
        ):
            pid = self.pids.get((int(process), -1))
            if pid is not None:
                yield Event("C", clean(name), pid, 0, int(ts) / 1e3, args={"value": float(value)})


def pids(trace: Trace, layout: Layout) -> dict[tuple[int, int], int]:
    """The number that each process, and each device of one, is written with; -1 stands for no
    device.
    """
    processes, found = trace.table("processes"), {}
    own = (
        {}
        if processes is None
        else dict(zip(processes["process"].tolist(), processes["pid"].tolist(), strict=True))
    )
    used = set()
    for process in sorted({*own, *(track.process for track in layout.tracks)}):
        pid = own.get(process, -1)
        if pid < 0 or pid in used:  # two hosts of a job may have the same
            pid = FIRST_OF_DEVICES * 2 + process
        used.add(pid)
        found[process, -1] = pid
    devices = sorted(
        {(track.process, track.device) for track in layout.tracks if track.device >= 0}
    )
    return found | {pair: FIRST_OF_DEVICES + at for at, pair in enumerate(devices)}


def categories_of(table: str, rows: pd.DataFrame) -> list[str]:
    if table == "ranges":
        return [OF_RANGES.get(str(one), CATEGORY[table]) for one in rows["category"]]
    if table == "copies":
        host = (rows["device"] < 0).tolist()
        memset = (rows["direction"] == "memset").tolist()
        return [
            "copy_call" if h else "gpu_memset" if m else CATEGORY[table]
            for h, m in zip(host, memset, strict=True)
        ]
    return [CATEGORY[table]] * len(rows)


def arguments(table: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The arguments of each event: under the profiler's names where it has some; what is unknown is
    left out.
    """
    titles = ARGUMENTS[table]
    columns = [rows[name].astype(object).tolist() for name in titles]
    found = []
    for cells in zip(*columns, strict=True):
        found.append(
            {
                title: plain(title, v)
                for title, v in zip(titles.values(), cells, strict=True)
                if known(v)
            }
        )
    return found


ARGUMENTS: dict[str, dict[str, str]] = {
    "ops": {
        "sequence": "Sequence number",
        "forward_tid": "Fwd thread id",
        "shapes": "Input Dims",
        "dtypes": "Input type",
    },
    "launches": {"correlation": "correlation"},
    "kernels": {
        "correlation": "correlation",
        "device": "device",
        "stream": "stream",
        "graph": "graph",
    },
    "copies": {
        "correlation": "correlation",
        "device": "device",
        "stream": "stream",
        "bytes": "bytes",
    },
    "ranges": {
        "category": "category",
        "object": "object",
        "value": "value",
        "label": "label",
        "payload": "payload",
    },
    "loader": {"workers": "workers", "queue_depth": "queue depth"},
    "fetches": {
        "worker": "worker",
        "dataset_ns": "dataset ns",
        "collate_ns": "collate ns",
        "read_bytes": "read bytes",
    },
}


def plain(title: str, value: Any) -> Any:
    """A value as JSON has it; shapes and types are JSON already."""
    if not isinstance(value, str):
        return bool(value) if isinstance(value, bool | np.bool_) else int(value)
    if title.startswith("Input "):
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError:
            return clean(value)
        return msgspec.Raw(value.encode())
    return clean(value)


def said_of_collective(
    kind: Any, sent: int, received: int, dtype: Any, group: Any, ranks: int
) -> dict[str, Any]:
    """As the profiler writes it: elements and their type; bytes are elements of one byte where the
    type is not known.
    """
    size = BYTES_OF.get(str(dtype).lower(), 0)
    whole = size and all(number < 0 or number % size == 0 for number in (sent, received))
    said = {
        "Collective name": kind,
        "In msg nelems": sent // size if whole and sent >= 0 else sent,
        "Out msg nelems": received // size if whole and received >= 0 else received,
        "dtype": dtype if whole else "Byte",
        "Process Group Name": group,
        "Group size": ranks,
    }
    return {
        key: clean(value) if isinstance(value, str) else int(value)
        for key, value in said.items()
        if known(value)
    }


WRITER = Writer(name="perfetto", suffix=".perfetto.json.gz", write=write_perfetto)
