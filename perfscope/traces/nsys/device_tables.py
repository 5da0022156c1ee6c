"""Builds the tables of device work from an export of Nsight Systems: kernels, graphs, copies,
collectives, allocations.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import (
    classify_names,
    collective_kind,
    copy_direction,
    kernel_kind,
)
from perfscope.traces.nsys.database import Database, NameColumn, Rows, name_column_of
from perfscope.traces.nsys.identity import NsysProcesses, process_key
from perfscope.traces.nsys.payloads import NcclFacts
from perfscope.traces.trace import make_table

GRID: Final = ("gridX", "gridY", "gridZ")
BLOCK: Final = ("blockX", "blockY", "blockZ")
DEVICE_COLUMNS: Final = ("globalPid", "deviceId", "streamId", "correlationId")
COPY_COLUMNS: Final = (*DEVICE_COLUMNS, "bytes", "copyKind", "srcKind", "dstKind")
KERNEL_NAMES: Final = ("demangledName", "shortName", "mangledName")
MEMORY_COLUMNS: Final = ("globalPid", "deviceId", "bytes", "memKind", "memoryOperationType")
GRAPH_TABLE: Final = "CUPTI_ACTIVITY_KIND_GRAPH_TRACE"
MEMSET: Final = -2
"""The `copyKind` of a memset, which Nsight keeps in a table of its own."""
COPY_KINDS: Final = {
    1: "Host-to-Device",
    2: "Device-to-Host",
    3: "Host-to-Array",
    4: "Array-to-Host",
    5: "Array-to-Array",
    6: "Array-to-Device",
    7: "Device-to-Array",
    8: "Device-to-Device",
    9: "Host-to-Host",
    10: "Peer-to-Peer",
    11: "Unified Host-to-Device",
    12: "Unified Device-to-Host",
    13: "Unified Device-to-Device",
}
MEMORY_KINDS: Final = {
    0: "Pageable",
    1: "Pinned",
    2: "Device",
    3: "Array",
    4: "Managed",
    5: "Device Static",
}
DEVICE_MEMORY: Final = ("Device", "Device Static", "Array")
MEMORY_OPERATIONS: Final = {0: "Allocation", 1: "Deallocation"}
TORCH_COLLECTIVE: Final = "nccl:"
"""The beginning of torch's ranges around collectives. They have the kind that the program called:
an all-to-all, where NCCL only sends and receives.
"""
LARGEST_SIZE: Final = 1 << 31
LARGEST_PRODUCT: Final = 1 << 62


@dataclass
class DeviceRows:
    """Rows that ran on a device, each with its process, the number of its device on the host, and
    the row of the launch that started it.
    """

    rows: Rows
    process: Ints
    device: Ints
    launch: Ints

    def columns(self) -> dict[str, Ints]:
        """Return the columns that all tables of device work have."""
        return {
            "process": self.process,
            "device": self.device,
            "stream": self.rows.numbers("streamId"),
            "ts": self.rows.numbers("start"),
            "dur": self.rows.numbers("dur"),
            "correlation": self.rows.numbers("correlationId"),
            "launch": self.launch,
        }


def read_kernel_rows(database: Database) -> Rows:
    """Return kernels, and graphs that were recorded as a whole. `graph` is 1 for what a graph
    launch started.
    """
    kernels = database.events(
        "CUPTI_ACTIVITY_KIND_KERNEL", (*DEVICE_COLUMNS, "graphNodeId", *GRID, *BLOCK), KERNEL_NAMES
    )
    demangled, short, mangled = (kernels.names[name] for name in KERNEL_NAMES)
    kernels.names = {"name": demangled.with_fallback(short).with_fallback(mangled)}
    kernels.columns["graph"] = (kernels.columns.pop("graphNodeId") > 0).astype(np.int64)
    graphs = database.events(GRAPH_TABLE, (*DEVICE_COLUMNS, "graphId"))
    ids, place = np.unique(graphs.columns.pop("graphId"), return_inverse=True)
    names = [f"graph {number}" if number >= 0 else "graph" for number in ids.tolist()]
    graphs.names = {"name": name_column_of(place.ravel(), names)}
    graphs.columns["graph"] = np.ones(len(graphs), np.int64)
    graphs.columns |= dict.fromkeys((*GRID, *BLOCK), np.full(len(graphs), -1, np.int64))
    return joined_rows(kernels, graphs)


def read_copy_rows(database: Database) -> Rows:
    """Return copies, and memsets with the `copyKind` MEMSET."""
    copies = database.events("CUPTI_ACTIVITY_KIND_MEMCPY", COPY_COLUMNS)
    memsets = database.events("CUPTI_ACTIVITY_KIND_MEMSET", COPY_COLUMNS)
    memsets.columns["copyKind"] = np.full(len(memsets), MEMSET, np.int64)
    return joined_rows(copies, memsets)


def joined_rows(first: Rows, second: Rows) -> Rows:
    """Return the rows of two tables with the same columns, in the order of their start."""
    columns = {
        name: np.concatenate([column, second.columns[name]])
        for name, column in first.columns.items()
    }
    names = {}
    for name, column in first.names.items():
        other = second.names[name]
        codes = np.concatenate([column.codes, other.codes + len(column.texts)])
        names[name] = name_column_of(codes, [*column.texts, *other.texts])
    joined = Rows(columns, names).where(np.argsort(columns["start"], kind="stable"))
    joined.left_out = first.left_out + second.left_out
    return joined


def nsys_kernel_table(kernels: DeviceRows, by_graph_launch: NDArray[np.bool_]) -> pd.DataFrame:
    """Return table `kernels`, in the order of the rows."""
    name = kernels.rows.names["name"]
    codes, kinds = classify_names(name.codes, name.texts, kernel_kind)
    return make_table(
        "kernels",
        {
            **kernels.columns(),
            "name": name.category(),
            "kind": NameColumn(codes, kinds).category(),
            "graph": (kernels.rows.numbers("graph") > 0) | by_graph_launch,
            "blocks": column_products(kernels.rows, GRID),
            "threads": column_products(kernels.rows, BLOCK),
            "occupancy_percent": np.full(len(kernels.rows), -1, np.int64),
        },
    )


def column_products(rows: Rows, names: tuple[str, ...]) -> Ints:
    """Return the product of these columns in each row, -1 where one of them is unknown."""
    sizes = np.stack([rows.numbers(name) for name in names])
    known = ((sizes > 0) & (sizes < LARGEST_SIZE)).all(axis=0)
    product = np.prod(np.where(known, sizes, 1).astype(np.float64), axis=0)
    return np.where(known & (product < LARGEST_PRODUCT), product, -1).astype(np.int64)


def nsys_copy_table(copies: DeviceRows, database: Database) -> pd.DataFrame:
    """Return table `copies`, in the order of the rows."""
    labels = database.labels("ENUM_CUDA_MEMCPY_OPER", COPY_KINDS) | {MEMSET: "memset"}
    kinds, place = np.unique(copies.rows.numbers("copyKind"), return_inverse=True)
    directions = [direction_of_label(labels.get(number)) for number in kinds.tolist()]
    direction = name_column_of(place.ravel(), directions)
    missing = np.full(len(copies.rows), -1, np.int64)
    return make_table(
        "copies",
        {
            **copies.columns(),
            "tid": missing,
            "direction": direction.category(),
            "bytes": copies.rows.numbers("bytes"),
            "pinned": pinned_host_memory(copies.rows, direction, database),
            "non_blocking": missing,
        },
    )


def direction_of_label(label: str | None) -> str | None:
    """Return the direction of a kind of copy as Nsight labels it (`Unified Host-to-Device`), None
    for one that it does not know.
    """
    if label is None or "Unknown" in label:
        return None
    plain = label.replace("-", "").replace("Array", "Device")
    return "h2h" if "HosttoHost" in plain else copy_direction(plain)


def pinned_host_memory(rows: Rows, direction: NameColumn, database: Database) -> Ints:
    """Return for each copy whether the host memory is pinned (1) or pageable (0); -1 unknown, or
    not a copy between host and device.

    The numbers of the kinds of memory differ between CUPTI and Nsight. So they are used only where
    they say that the other side of the copy is a device.
    """
    labels = database.labels("ENUM_CUDA_MEM_KIND", MEMORY_KINDS)
    text = np.array([*direction.texts, ""], object)[direction.codes]
    source, target = rows.numbers("srcKind"), rows.numbers("dstKind")
    host_kind = np.where(text == "h2d", source, np.where(text == "d2h", target, -1))
    device_kind = np.where(text == "h2d", target, source)
    is_certain = np.isin(device_kind, kinds_labeled(labels, *DEVICE_MEMORY))
    is_pinned = np.isin(host_kind, kinds_labeled(labels, "Pinned"))
    is_pageable = np.isin(host_kind, kinds_labeled(labels, "Pageable"))
    known = np.where(is_pinned, 1, np.where(is_pageable, 0, -1))
    return np.where(is_certain, known, -1).astype(np.int64)


def kinds_labeled(labels: dict[int, str], *wanted: str) -> list[int]:
    """Return the numbers with one of these labels."""
    return [number for number, label in labels.items() if label in wanted]


def nsys_collective_table(
    kernels: DeviceRows, ops: pd.DataFrame | None, op_of_call: Ints, facts: NcclFacts
) -> pd.DataFrame | None:
    """Return table `collectives`: the kernels that communicate. None without any."""
    name = kernels.rows.names["name"]
    communicates = [kernel_kind(text) == "communication" for text in name.texts]
    rows = np.flatnonzero(np.array([*communicates, False], bool)[name.codes])
    if not len(rows):
        return None
    launch = kernels.launch[rows]
    facts = facts.of_calls(launch)
    codes, kinds = classify_names(name.codes[rows], name.texts, collective_kind)
    called_by_torch = kind_called_by_torch(ops, np.append(op_of_call, -1)[launch])
    kind = called_by_torch.with_fallback(NameColumn(codes, kinds))
    in_bytes, out_bytes = rank_bytes(kind, facts.message_bytes, facts.group_size)
    return make_table(
        "collectives",
        {
            **{key: column[rows] for key, column in kernels.columns().items()},
            "kind": kind.category(),
            "in_bytes": in_bytes,
            "out_bytes": out_bytes,
            "dtype": [None] * len(rows),
            "group": facts.group.category(),
            "group_size": facts.group_size,
            "kernel": rows,
        },
    )


def kind_called_by_torch(ops: pd.DataFrame | None, op: Ints) -> NameColumn:
    """Return the kind of collective that torch called, from the innermost operator around each
    launch that is a range of torch around a collective. `op` is the operator around each launch.
    """
    if ops is None or not len(ops):
        return name_column_of(np.full(len(op), -1), [])
    names = [str(name) for name in ops["name"].cat.categories]
    kinds = [collective_kind(name) if name.startswith(TORCH_COLLECTIVE) else None for name in names]
    is_collective = np.array([*(kind is not None for kind in kinds), False], bool)
    # The last entry of each array is that of row -1, no operator.
    name_code = np.append(ops["name"].cat.codes.to_numpy(np.int64), -1)
    parent = np.append(ops["parent"].to_numpy(), -1)
    for _ in range(len(ops)):
        goes_up = (op >= 0) & ~is_collective[name_code[op]]
        if not goes_up.any():
            break
        op = np.where(goes_up, parent[op], op)
    return name_column_of(name_code[op], kinds)


def rank_bytes(kind: NameColumn, message_bytes: Ints, group_size: Ints) -> tuple[Ints, Ints]:
    """Return (input, output) bytes of a rank from NCCL's message size, -1 unknown.

    The message size is what one rank sends; for a reduce-scatter it is what one rank receives.
    """
    name = np.array([*kind.texts, ""], object)[kind.codes]
    is_known = (message_bytes >= 0) & (group_size > 0)
    all_ranks = np.where(is_known, message_bytes * group_size, -1)
    both_equal = np.isin(name, ["all_reduce", "broadcast", "all_to_all"])
    sends = both_equal | np.isin(name, ["all_gather", "reduce", "send", "gather"])
    receives = both_equal | np.isin(name, ["recv", "reduce_scatter", "scatter"])
    in_bytes = np.where(sends, message_bytes, -1)
    out_bytes = np.where(receives, message_bytes, -1)
    return (
        np.where(name == "reduce_scatter", all_ranks, in_bytes),
        np.where(name == "all_gather", all_ranks, out_bytes),
    )


def nsys_memory_table(
    database: Database, processes: NsysProcesses
) -> tuple[pd.DataFrame | None, int]:
    """Return table `memory`: the allocations of device memory from the driver. None without any.

    Also returns how many events were left out.
    """
    rows = database.events("CUDA_GPU_MEMORY_USAGE_EVENTS", MEMORY_COLUMNS, end="start")
    left_out = rows.left_out
    memory_labels = database.labels("ENUM_CUDA_MEM_KIND", MEMORY_KINDS)
    on_device = [*kinds_labeled(memory_labels, *DEVICE_MEMORY), -1]
    rows = rows.where(np.isin(rows.numbers("memKind"), on_device))
    if not len(rows):
        return None, left_out
    operations = database.labels("ENUM_CUDA_DEV_MEM_EVENT_OPER", MEMORY_OPERATIONS)
    frees = [
        number
        for number, label in operations.items()
        if label.lower().startswith(("dealloc", "free"))
    ]
    is_free = np.isin(rows.numbers("memoryOperationType"), frees)
    size = np.where(is_free, -rows.numbers("bytes"), rows.numbers("bytes"))
    process = processes.codes(rows.numbers("globalPid"))
    device = processes.host_devices(process, rows.numbers("deviceId"))
    in_use = pd.Series(size).groupby([process, device]).cumsum()
    lowest = in_use.groupby([process, device]).transform("min")
    # A free without its allocation shows that the recording began later than the program. How much
    # was in use before is unknown.
    reserved = np.where(lowest < 0, -1, in_use)
    columns = {
        "process": process,
        "device": device,
        "ts": rows.numbers("start"),
        "bytes": size,
        "allocated_bytes": np.full(len(size), -1),
        "reserved_bytes": reserved,
    }
    return make_table("memory", columns), left_out


def launch_of_rows(rows: Rows, calls: Rows) -> Ints:
    """Return the call that started each row, -1 unknown.

    It is found by process and correlation id; by the id alone for rows without a process in an
    export of one process.
    """
    wanted, ids = rows.numbers("correlationId"), calls.numbers("correlationId")
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    process_of_row = process_key(rows.numbers("globalPid"))
    process_of_call = process_key(calls.numbers("globalTid"))
    by_both = first_equal(np.stack([process_of_call, ids]), np.stack([process_of_row, wanted]))
    has_one_process = len(np.unique(process_of_call)) <= 1
    by_id = first_equal(np.stack([ids]), np.stack([wanted])) if has_one_process else by_both
    launch = np.where(process_of_row >= 0, by_both, by_id)
    return np.where(wanted > 0, launch, -1)


def first_equal(keys: Ints, wanted: Ints) -> Ints:
    """Return for each column of `wanted` the position of the first equal column of `keys`, -1 for
    none.
    """
    if len(keys) > 1:
        index, targets = (
            pd.MultiIndex.from_arrays(list(keys)),
            pd.MultiIndex.from_arrays(list(wanted)),
        )
    else:
        index, targets = pd.Index(keys[0]), pd.Index(wanted[0])
    is_first = ~index.duplicated()
    at = index[is_first].get_indexer(targets)
    return np.where(at >= 0, np.append(np.flatnonzero(is_first), -1)[at], -1)
