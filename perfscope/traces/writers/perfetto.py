"""Chrome's trace event format with the names that the PyTorch profiler uses. ui.perfetto.dev opens
it, and perfscope reads it back.

A thread is a thread of its process. A device of a process is written as a process, and its streams
as threads. Arrows connect launches with the work that they started. Times are microseconds with
three decimals.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import pandas as pd

from perfscope.traces.encoded_json import encoded_json
from perfscope.traces.naming import BYTES_OF
from perfscope.traces.trace import Trace
from perfscope.traces.tracks import (
    EventTrack,
    Slices,
    TrackLayout,
    lay_out_tracks,
    valid_utf8,
)
from perfscope.traces.writer import Writer

ROWS_AT_ONCE: Final = 1 << 15
BUFFER_BYTES: Final = 1 << 20
FIRST_DEVICE_PID: Final = 1 << 23
"""Pids from here on stand for devices. Linux uses smaller ones."""
FIRST_REPLACED_PID: Final = 2 * FIRST_DEVICE_PID
"""Pids from here on stand for processes without a pid of their own."""
LANE_STEP: Final = 1 << 24
"""Added to the tid for each further lane. Tids and streams are smaller."""
DEVICE_SORT_INDEX: Final = 1_000_000
CATEGORY_OF_TABLE: Final = {
    "ops": "cpu_op",
    "launches": "cuda_runtime",
    "ranges": "user_annotation",
    "loader": "user_annotation",
    "fetches": "fetch",
    "kernels": "kernel",
    "copies": "gpu_memcpy",
}
CATEGORY_OF_RANGE: Final = {"python": "python_function", "overhead": "overhead"}
DEVICE_TYPE: Final = 1
"""c10::DeviceType of CUDA and HIP."""
DEVICE_PROPERTIES: Final = {
    "id": "device",
    "name": "name",
    "totalGlobalMem": "memory_bytes",
    "numSms": "multiprocessors",
}
"""Name in the file -> column of `devices`."""
COLLECTIVE_COLUMNS: Final = (
    "kind",
    "in_bytes",
    "out_bytes",
    "dtype",
    "group",
    "group_size",
)
ARGUMENTS: Final[dict[str, dict[str, str]]] = {
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
"""Table -> its columns that become arguments of events -> the names of the arguments, those of the
PyTorch profiler where it has one.
"""
Arguments = dict[str, Any]
Place = tuple[int, int]
"""(pid, tid) of an event in the file."""


class WritableFile(Protocol):
    """An open file, compressed or not."""

    def write(self, data: Any, /) -> Any: ...


class PerfettoEvent(msgspec.Struct, omit_defaults=True):
    """One event. Fields that are None are not written."""

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
    args: Arguments | None = None


def write_perfetto(trace: Trace, path: Path) -> None:
    """Write one file, compressed when its name ends in .gz."""
    is_compressed = path.name.endswith(".gz")
    with gzip.open(path, "wb", compresslevel=4) if is_compressed else open(path, "wb") as file:
        zero_ns, host = trace.manifest.zero_realtime_ns, valid_utf8(trace.manifest.host)
        file.write(b'{"schemaVersion":1,"displayTimeUnit":"ns",')
        file.write(b'"baseTimeNanoseconds":%d,"host_name":' % zero_ns)
        file.write(encoded_json(host))
        for key, value in file_facts(trace).items():
            file.write(b"," + encoded_json(key) + b":" + encoded_json(value))
        file.write(b',"traceEvents":[\n')
        write_events(file, EventWriter(trace).all_events())
        file.write(b"\n]}\n")


def write_events(file: WritableFile, events: Iterator[PerfettoEvent]) -> None:
    """Write one event per line, with commas between them."""
    encoder, buffer, separator = msgspec.json.Encoder(), bytearray(), b""
    for event in events:
        buffer += separator + encoder.encode(event)
        separator = b",\n"
        if len(buffer) > BUFFER_BYTES:
            file.write(buffer)
            buffer.clear()
    file.write(buffer)


def file_facts(trace: Trace) -> dict[str, Any]:
    """Return the devices and the rank, as the PyTorch profiler writes them."""
    facts: dict[str, Any] = {}
    devices, ranks = trace.table("devices"), trace.table("ranks")
    if devices is not None:
        rows = devices.drop_duplicates("device")
        columns = [rows[column].tolist() for column in DEVICE_PROPERTIES.values()]
        facts["deviceProperties"] = [
            known_values(dict(zip(DEVICE_PROPERTIES, cells, strict=True)))
            for cells in zip(*columns, strict=True)
        ]
    if ranks is not None and len(ranks) == 1:
        rank, world_size, backend = ranks[["rank", "world_size", "backend"]].iloc[0]
        info = {
            "rank": rank,
            "world_size": world_size if world_size > 0 else None,
            "backend": backend,
        }
        facts["distributedInfo"] = known_values(info)
    return facts


def is_known(value: Any) -> bool:
    """Return whether a value is neither missing nor a negative number."""
    is_negative = isinstance(value, int | np.integer) and value < 0
    return not pd.isna(value) and not is_negative


def known_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the known values, as texts and whole numbers of Python."""
    return {
        key: valid_utf8(value) if isinstance(value, str) else int(value)
        for key, value in values.items()
        if is_known(value)
    }


class EventWriter:
    """Yields the events of a trace: first names, then the events of each table."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.layout: TrackLayout = lay_out_tracks(trace)
        self.pids = file_pids(trace, self.layout)
        self.places = [self.place_of(track) for track in self.layout.tracks]

    def place_of(self, track: EventTrack) -> Place:
        """Return the (pid, tid) of a track in the file."""
        return self.pids[track.process, track.device], max(track.number, 0)

    def all_events(self) -> Iterator[PerfettoEvent]:
        """Yield all events."""
        yield from self.process_names()
        yield from self.thread_names()
        for slices in self.layout.slices:
            yield from self.slice_events(slices)
        yield from self.launch_arrows()
        yield from self.memory_events()
        yield from self.counter_events()

    def process_names(self) -> Iterator[PerfettoEvent]:
        """Yield the names of processes and devices, and their order."""
        processes = self.trace.table("processes")
        names: dict[int, str] = {}
        ranks: dict[int, int] = {}
        if processes is not None:
            names = dict(zip(processes["process"], processes["name"], strict=True))
            ranks = dict(zip(processes["process"], processes["rank"], strict=True))
        for (process, device), pid in self.pids.items():
            text = valid_utf8(names.get(process, "process"))
            if device < 0:
                label, sort_index = f"{text}, rank {ranks.get(process, 0)}", process
            else:
                label, sort_index = f"GPU {device}", DEVICE_SORT_INDEX + device
                text = f"GPU {device} of {text}"
            yield metadata_event("process_name", (pid, 0), {"name": text})
            yield metadata_event("process_labels", (pid, 0), {"labels": label})
            yield metadata_event("process_sort_index", (pid, 0), {"sort_index": sort_index})

    def thread_names(self) -> Iterator[PerfettoEvent]:
        """Yield the names of threads and streams."""
        threads = self.trace.table("threads")
        if threads is not None:
            columns = (threads["process"], threads["tid"], threads["name"])
            for process, tid, name in zip(*columns, strict=True):
                pid = self.pids.get((int(process), -1))
                if pid is not None:
                    arguments = {"name": valid_utf8(name)}
                    yield metadata_event("thread_name", (pid, int(tid)), arguments)
        for track, place in zip(self.layout.tracks, self.places, strict=True):
            if track.device >= 0:
                yield metadata_event("thread_name", place, {"name": f"stream {track.number}"})

    def slice_events(self, slices: Slices) -> Iterator[PerfettoEvent]:
        """Yield the events of one table that have a duration."""
        table = self.trace.table(slices.table)
        assert table is not None
        collectives = self.collective_arguments() if slices.table == "kernels" else {}
        for begin in range(0, len(slices), ROWS_AT_ONCE):
            part = slice(begin, begin + ROWS_AT_ONCE)
            row_numbers = slices.rows[part].tolist()
            rows = table.iloc[slices.rows[part]]
            categories = event_categories(slices.table, rows)
            arguments = event_arguments(slices.table, rows)
            if collectives:
                arguments = [
                    args | collectives.get(row, {})
                    for args, row in zip(arguments, row_numbers, strict=True)
                ]
            columns = (slices.track, slices.lane, slices.codes, slices.ts, slices.dur)
            cells = (column[part].tolist() for column in columns)
            for track, lane, code, ts, dur, category, args in zip(
                *cells, categories, arguments, strict=True
            ):
                pid, tid = self.places[track]
                yield PerfettoEvent(
                    ph="X",
                    name=slices.names[code],
                    pid=pid,
                    tid=tid + lane * LANE_STEP,
                    ts=ts / 1e3,
                    dur=dur / 1e3,
                    cat=category,
                    args=args,
                )

    def collective_arguments(self) -> dict[int, Arguments]:
        """Return the arguments of kernels that communicate, by row of `kernels`."""
        table = self.trace.table("collectives")
        if table is None:
            return {}
        columns = [table[name].tolist() for name in COLLECTIVE_COLUMNS]
        return {
            int(kernel): collective_metadata(dict(zip(COLLECTIVE_COLUMNS, cells, strict=True)))
            for kernel, *cells in zip(table["kernel"], *columns, strict=True)
        }

    def launch_arrows(self) -> Iterator[PerfettoEvent]:
        """Yield arrows from launches to the work that they started."""
        launches = [slices for slices in self.layout.slices if slices.table == "launches"]
        if not launches:
            return
        number = 0
        for slices in self.layout.slices:
            table = self.trace.table(slices.table)
            if slices.table not in ("kernels", "copies") or table is None:
                continue
            launch_rows = table["launch"].to_numpy()[slices.rows]
            for at in np.flatnonzero(launch_rows >= 0).tolist():
                number += 1
                yield self.arrow_end("s", number, launches[0], int(launch_rows[at]))
                yield self.arrow_end("f", number, slices, at)

    def arrow_end(self, phase: str, number: int, slices: Slices, at: int) -> PerfettoEvent:
        """Return the start (`s`) or the end (`f`) of an arrow, at one of the slices."""
        pid, tid = self.places[slices.track[at]]
        return PerfettoEvent(
            ph=phase,
            name="launch",
            pid=pid,
            tid=tid + int(slices.lane[at]) * LANE_STEP,
            ts=int(slices.ts[at]) / 1e3,
            cat="ac2g",
            id=number,
            bp="e" if phase == "f" else None,
        )

    def memory_events(self) -> Iterator[PerfettoEvent]:
        """Yield allocations, and the memory in use as counters."""
        table = self.trace.table("memory")
        if table is None:
            return
        names = ("process", "device", "ts", "bytes", "allocated_bytes", "reserved_bytes")
        columns = (table[name].tolist() for name in names)
        for process, device, ts, size, allocated, reserved in zip(*columns, strict=True):
            pid, us = self.pids[process, -1], ts / 1e3
            args = {
                "Device Type": DEVICE_TYPE,
                "Device Id": device,
                "Bytes": size,
                "Total Allocated": allocated,
                "Total Reserved": reserved,
            }
            yield PerfettoEvent("i", "[memory]", pid, 0, us, s="t", args=args)
            levels = {"allocated": allocated, "reserved": reserved}
            known_levels = {key: level for key, level in levels.items() if level >= 0}
            if known_levels:
                name = f"memory of GPU {device}"
                yield PerfettoEvent("C", name, pid, 0, us, args=known_levels)

    def counter_events(self) -> Iterator[PerfettoEvent]:
        """Yield the counters of processes."""
        table = self.trace.table("counters")
        if table is None:
            return
        rows = table[np.isfinite(table["value"])]
        columns = (rows[name] for name in ("process", "ts", "name", "value"))
        for process, ts, name, value in zip(*columns, strict=True):
            pid = self.pids.get((int(process), -1))
            if pid is not None:
                args = {"value": float(value)}
                yield PerfettoEvent("C", valid_utf8(name), pid, 0, int(ts) / 1e3, args=args)


def metadata_event(name: str, place: Place, args: Arguments) -> PerfettoEvent:
    """Return a metadata event, such as the name of a process."""
    pid, tid = place
    return PerfettoEvent("M", name, pid, tid, args=args)


def file_pids(trace: Trace, layout: TrackLayout) -> dict[tuple[int, int], int]:
    """Return the pid in the file of each (process, device); device -1 is the process itself."""
    processes = trace.table("processes")
    recorded: dict[int, int] = {}
    if processes is not None:
        pids = processes["pid"].tolist()
        recorded = dict(zip(processes["process"].tolist(), pids, strict=True))
    result: dict[tuple[int, int], int] = {}
    used_pids = set()
    for process in sorted({*recorded, *(track.process for track in layout.tracks)}):
        pid = recorded.get(process, -1)
        if pid < 0 or pid in used_pids:  # two hosts of a job may use the same pid
            pid = FIRST_REPLACED_PID + process
        used_pids.add(pid)
        result[process, -1] = pid
    devices = {(track.process, track.device) for track in layout.tracks if track.device >= 0}
    for number, process_and_device in enumerate(sorted(devices)):
        result[process_and_device] = FIRST_DEVICE_PID + number
    return result


def event_categories(table: str, rows: pd.DataFrame) -> list[str]:
    """Return the category of each event."""
    default = CATEGORY_OF_TABLE[table]
    if table == "ranges":
        return [CATEGORY_OF_RANGE.get(str(category), default) for category in rows["category"]]
    if table == "copies":
        is_call_on_host = (rows["device"] < 0).to_numpy()
        is_memset = (rows["direction"] == "memset").to_numpy()
        device_category = np.where(is_memset, "gpu_memset", default)
        categories: list[str] = np.where(is_call_on_host, "copy_call", device_category).tolist()
        return categories
    return [default] * len(rows)


def event_arguments(table: str, rows: pd.DataFrame) -> list[Arguments]:
    """Return the arguments of each event; unknown values are left out."""
    names = ARGUMENTS[table]
    columns = [rows[column].astype(object).tolist() for column in names]
    return [
        {
            name: json_value(name, value)
            for name, value in zip(names.values(), cells, strict=True)
            if is_known(value)
        }
        for cells in zip(*columns, strict=True)
    ]


def json_value(name: str, value: Any) -> Any:
    """Return a value as msgspec encodes it. Shapes and types of inputs are JSON text already."""
    if not isinstance(value, str):
        return bool(value) if isinstance(value, bool | np.bool_) else int(value)
    if name.startswith("Input "):
        try:
            msgspec.json.decode(value)
        except msgspec.DecodeError:
            return valid_utf8(value)
        return msgspec.Raw(value.encode())
    return valid_utf8(value)


def collective_metadata(collective: dict[str, Any]) -> Arguments:
    """Return the metadata of a collective as the profiler writes it: numbers of elements, and their
    type. Where the type is unknown, the elements are bytes.
    """
    in_bytes, out_bytes = collective["in_bytes"], collective["out_bytes"]
    element_bytes = BYTES_OF.get(str(collective["dtype"]).lower(), 0)
    known_sizes = [size for size in (in_bytes, out_bytes) if size >= 0]
    is_whole = element_bytes > 0 and all(size % element_bytes == 0 for size in known_sizes)
    divisor = element_bytes if is_whole else 1
    metadata = {
        "Collective name": collective["kind"],
        "In msg nelems": in_bytes // divisor if in_bytes >= 0 else in_bytes,
        "Out msg nelems": out_bytes // divisor if out_bytes >= 0 else out_bytes,
        "dtype": collective["dtype"] if is_whole else "Byte",
        "Process Group Name": collective["group"],
        "Group size": collective["group_size"],
    }
    return known_values(metadata)


WRITER = Writer(name="perfetto", suffix=".perfetto.json.gz", write=write_perfetto)
