"""Tables of what ran on the devices: kernels, whole graphs, copies, collectives, allocations."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import by_name, collective_kind, direction, kernel_kind
from perfscope.traces.nsys.database import Database, Named, Rows, named
from perfscope.traces.nsys.identity import Identity, process_key
from perfscope.traces.nsys.payloads import Said
from perfscope.traces.trace import framed

GRID, BLOCK = ("gridX", "gridY", "gridZ"), ("blockX", "blockY", "blockZ")
WHERE = ("globalPid", "deviceId", "streamId", "correlationId")
COPY_KINDS = {
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
MEMORY_KINDS = {
    0: "Pageable",
    1: "Pinned",
    2: "Device",
    3: "Array",
    4: "Managed",
    5: "Device Static",
}
ON_DEVICE = ("Device", "Device Static", "Array")
OPERATIONS = {0: "Allocation", 1: "Deallocation"}
TORCH_CALL = "nccl:"
"""torch's range around a collective, in the words of its API: an all-to-all that NCCL does as sends
and receives.
"""


@dataclass
class OnDevice:
    """Rows that ran on a device with what is known of each: its process, its device's number, the
    launch that started it.
    """

    rows: Rows
    process: Ints
    device: Ints
    launch: Ints

    def shared(self) -> dict[str, Ints]:
        return {
            "process": self.process,
            "device": self.device,
            "stream": self.rows.numbers("streamId"),
            "ts": self.rows.numbers("start"),
            "dur": self.rows.numbers("dur"),
            "correlation": self.rows.numbers("correlationId"),
            "launch": self.launch,
        }


def kernel_rows(database: Database) -> Rows:
    """Kernels, and graphs that were recorded whole; the column `graph` is 1 for what a graph launch
    started.
    """
    kernels = database.events(
        "CUPTI_ACTIVITY_KIND_KERNEL",
        (*WHERE, "graphNodeId", *GRID, *BLOCK),
        ("demangledName", "shortName", "mangledName"),
    )
    names = kernels.names
    name = names["demangledName"].either(names["shortName"]).either(names["mangledName"])
    kernels.columns["graph"] = (kernels.columns.pop("graphNodeId") > 0).astype(np.int64)
    graphs = database.events("CUPTI_ACTIVITY_KIND_GRAPH_TRACE", (*WHERE, "graphId"))
    numbers, place = np.unique(graphs.columns.pop("graphId"), return_inverse=True)
    whole = named(
        place.ravel(), [f"graph {one}" if one >= 0 else "graph" for one in numbers.tolist()]
    )
    graphs.columns["graph"] = np.ones(len(graphs), np.int64)
    graphs.columns |= dict.fromkeys((*GRID, *BLOCK), np.full(len(graphs), -1, np.int64))
    columns = {
        key: np.concatenate([column, graphs.columns[key]])
        for key, column in kernels.columns.items()
    }
    codes = np.concatenate([name.codes, whole.codes + len(name.texts)])
    together = Rows(columns, {"name": named(codes, [*name.texts, *whole.texts])})
    found = together.where(np.argsort(columns["start"], kind="stable"))
    found.left_out = kernels.left_out + graphs.left_out
    return found


def copy_rows(database: Database) -> Rows:
    """Copies and memsets, told apart by the column `copyKind`: -2 for a memset."""
    wanted = (*WHERE, "bytes", "copyKind", "srcKind", "dstKind")
    copies = database.events("CUPTI_ACTIVITY_KIND_MEMCPY", wanted)
    memsets = database.events("CUPTI_ACTIVITY_KIND_MEMSET", wanted)
    memsets.columns["copyKind"] = np.full(len(memsets), -2, np.int64)
    columns = {
        key: np.concatenate([column, memsets.columns[key]])
        for key, column in copies.columns.items()
    }
    found = Rows(columns, {}).where(np.argsort(columns["start"], kind="stable"))
    found.left_out = copies.left_out + memsets.left_out
    return found


def kernel_table(kernels: OnDevice, by_graph: NDArray[np.bool_]) -> pd.DataFrame:
    """Table `kernels`, in the order of the rows."""
    name = kernels.rows.names["name"]
    kinds, meant = by_name(name.codes, name.texts, kernel_kind)
    columns = kernels.shared() | {"name": name.category(), "kind": Named(kinds, meant).category()}
    graph = {"graph": (kernels.rows.numbers("graph") > 0) | by_graph}
    sizes = {"blocks": product_of(kernels.rows, GRID), "threads": product_of(kernels.rows, BLOCK)}
    return framed(
        "kernels",
        columns | graph | sizes | {"occupancy_percent": np.full(len(by_graph), -1, np.int64)},
    )


def product_of(rows: Rows, names: tuple[str, ...]) -> Ints:
    """Of a launch's three sizes; -1 where one is not known."""
    sizes = np.stack([rows.numbers(name) for name in names])
    known = ((sizes > 0) & (sizes < 1 << 31)).all(axis=0)
    product = np.prod(np.where(known, sizes, 1).astype(np.float64), axis=0)
    return np.where(known & (product < 1 << 62), product, -1).astype(np.int64)


def copy_table(copies: OnDevice, database: Database) -> pd.DataFrame:
    """Table `copies`, in the order of the rows."""
    kind_of = database.labels("ENUM_CUDA_MEMCPY_OPER", COPY_KINDS) | {-2: "memset"}
    numbers, place = np.unique(copies.rows.numbers("copyKind"), return_inverse=True)
    ways = named(place.ravel(), [way(kind_of.get(one)) for one in numbers.tolist()])
    missing = np.full(len(place), -1, np.int64)
    return framed(
        "copies",
        copies.shared()
        | {
            "tid": missing,
            "direction": ways.category(),
            "bytes": copies.rows.numbers("bytes"),
            "pinned": pinnedness(copies.rows, ways, database),
            "non_blocking": missing,
        },
    )


def way(label: str | None) -> str | None:
    """The direction of a kind of copy as Nsight labels it (`Unified Host-to-Device`), None for one
    it does not know.
    """
    if label is None or "Unknown" in label:
        return None
    plain = label.replace("-", "").replace("Array", "Device")
    return "h2h" if "HosttoHost" in plain else direction(plain)


def pinnedness(rows: Rows, ways: Named, database: Database) -> Ints:
    """Of the host's side: 1 pinned, 0 pageable, -1 not said, or not between host and device.

    Without the table of kinds the numbers are believed only where the other side is a device by
    them: CUPTI counts otherwise.
    """
    kinds = database.labels("ENUM_CUDA_MEM_KIND", MEMORY_KINDS)
    of_way = np.array([*ways.texts, ""], object)[ways.codes]
    source, target = rows.numbers("srcKind"), rows.numbers("dstKind")
    host = np.where(of_way == "h2d", source, np.where(of_way == "d2h", target, -1))
    there = np.where(of_way == "h2d", target, source)
    sure = np.isin(there, [number for number, label in kinds.items() if label in ON_DEVICE])
    pinned = np.isin(host, [number for number, label in kinds.items() if label == "Pinned"])
    pageable = np.isin(host, [number for number, label in kinds.items() if label == "Pageable"])
    return np.where(sure & pinned, 1, np.where(sure & pageable, 0, -1)).astype(np.int64)


def collective_table(
    kernels: OnDevice, ops: pd.DataFrame | None, launch_op: Ints, said: Said
) -> pd.DataFrame | None:
    """Table `collectives`: the kernels that communicate; None without any."""
    name = kernels.rows.names["name"]
    talks = np.array([kernel_kind(one) == "communication" for one in name.texts] + [False], bool)[
        name.codes
    ]
    at = np.flatnonzero(talks)
    if not len(at):
        return None
    said = said.of(kernels.launch[at])
    kind = as_torch_calls_it(ops, np.append(launch_op, -1)[kernels.launch[at]])
    codes, kinds = by_name(name.codes[at], name.texts, collective_kind)
    kind = kind.either(Named(codes, kinds))
    columns = {key: column[at] for key, column in kernels.shared().items()}
    sent, received = sizes(kind, said.message_bytes, said.group_size)
    return framed(
        "collectives",
        columns
        | {
            "kind": kind.category(),
            "in_bytes": sent,
            "out_bytes": received,
            "dtype": [None] * len(at),
            "group": said.group.category(),
            "group_size": said.group_size,
            "kernel": at,
        },
    )


def as_torch_calls_it(ops: pd.DataFrame | None, op: Ints) -> Named:
    """The kind of collective from the innermost operator around the launch that begins with
    `nccl:`.
    """
    if ops is None or not len(ops):
        return named(np.full(len(op), -1), [])
    texts = [str(one) for one in ops["name"].cat.categories]
    meant = [collective_kind(one) if one.startswith(TORCH_CALL) else None for one in texts]
    of_row = np.append(ops["name"].cat.codes.to_numpy(np.int64), -1)
    parent = np.append(ops["parent"].to_numpy(), -1)
    is_call = np.array([one is not None for one in meant] + [False], bool)
    for _ in range(len(ops)):
        climb = (op >= 0) & ~is_call[of_row[op]]
        if not climb.any():
            break
        op = np.where(climb, parent[op], op)
    return named(of_row[op], meant)


def sizes(kind: Named, message: Ints, ranks: Ints) -> tuple[Ints, Ints]:
    """Bytes in and out of this rank from NCCL's message size: what one rank sends, but in a
    reduce-scatter what it gets.
    """
    name = np.array([*kind.texts, ""], object)[kind.codes]
    times = np.where((message >= 0) & (ranks > 0), message * ranks, -1)
    same = np.isin(name, ["all_reduce", "broadcast", "all_to_all"])
    sent = np.where(same | np.isin(name, ["all_gather", "reduce", "send", "gather"]), message, -1)
    received = np.where(same | np.isin(name, ["recv", "reduce_scatter", "scatter"]), message, -1)
    return np.where(name == "reduce_scatter", times, sent), np.where(
        name == "all_gather", times, received
    )


def memory_table(database: Database, who: Identity) -> tuple[pd.DataFrame | None, int]:
    """Table `memory`: what the process asked of the driver, and how much it then held; how many
    rows are left out.
    """
    wanted = ("globalPid", "deviceId", "bytes", "memKind", "memoryOperationType")
    rows = database.events("CUDA_GPU_MEMORY_USAGE_EVENTS", wanted, end="start")
    kinds = database.labels("ENUM_CUDA_MEM_KIND", MEMORY_KINDS)
    there = [number for number, label in kinds.items() if label in ON_DEVICE]
    rows = rows.where(np.isin(rows.numbers("memKind"), [*there, -1]))
    if not len(rows):
        return None, rows.left_out
    what = database.labels("ENUM_CUDA_DEV_MEM_EVENT_OPER", OPERATIONS)
    frees = [
        number for number, label in what.items() if label.lower().startswith(("dealloc", "free"))
    ]
    size = np.where(
        np.isin(rows.numbers("memoryOperationType"), frees),
        -rows.numbers("bytes"),
        rows.numbers("bytes"),
    )
    process = who.processes(rows.numbers("globalPid"))
    device = who.devices(process, rows.numbers("deviceId"))
    held = pd.Series(size).groupby([process, device])
    total, lowest = held.cumsum(), held.cumsum().groupby([process, device]).transform("min")
    columns = {"process": process, "device": device, "ts": rows.numbers("start"), "bytes": size}
    # What was freed but not seen allocated says that the recording began in the middle: then the
    # level is unknown.
    columns |= {
        "allocated_bytes": np.full(len(size), -1),
        "reserved_bytes": np.where(lowest < 0, -1, total),
    }
    return framed("memory", columns), rows.left_out


def launched(rows: Rows, calls: Rows) -> Ints:
    """The call that started each row, by process and correlation id; by the id alone where no
    process is told; -1 for none.
    """
    wanted, ids = rows.numbers("correlationId"), calls.numbers("correlationId")
    of_row, of_call = (
        process_key(rows.numbers("globalPid")),
        process_key(calls.numbers("globalTid")),
    )
    if not len(ids) or not len(wanted):
        return np.full(len(wanted), -1, np.int64)
    exact = first_match(np.stack([of_call, ids]), np.stack([of_row, wanted]))
    several = len(np.unique(of_call)) > 1
    alone = exact if several else first_match(np.stack([ids]), np.stack([wanted]))
    return np.where(
        (wanted > 0) & (of_row >= 0), exact, np.where((wanted > 0) & (of_row < 0), alone, -1)
    )


def first_match(keys: Ints, wanted: Ints) -> Ints:
    """For each column of `wanted` the first equal column of `keys`, -1 for none."""
    index = pd.MultiIndex.from_arrays(list(keys)) if len(keys) > 1 else pd.Index(keys[0])
    asked = pd.MultiIndex.from_arrays(list(wanted)) if len(wanted) > 1 else pd.Index(wanted[0])
    first = ~index.duplicated()
    at = index[first].get_indexer(asked)
    return np.where(at >= 0, np.append(np.flatnonzero(first), -1)[at], -1)
