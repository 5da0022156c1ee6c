"""Tables of what ran on the accelerators: kernels, copies, collectives."""

import json
import math
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import Group, joined
from perfscope.traces.kineto.columns import Coded
from perfscope.traces.naming import (
    BYTES_OF,
    by_name,
    collective_kind,
    direction,
    kernel_kind,
)
from perfscope.traces.trace import framed

DMA = "dma_request"
NO_WORK = ("event_record", "event_wait")
"""MTIA's category holds everything its queues did: transfers and waits beside programs."""


def category(codes: NDArray[np.int32], names: list[str]) -> "pd.Categorical[str]":
    """A column of names."""
    return pd.Categorical.from_codes(cast("list[int]", codes), categories=pd.Index(names))


def separated(kernels: Group, copies: Group) -> tuple[Group, Group]:
    """MTIA's transfers to the copies, its waits to nobody."""
    name = kernels.names("name")
    if not any(other in name.names for other in (DMA, *NO_WORK)):
        return kernels, copies
    is_copy = np.isin(name.codes, [at for at, one in enumerate(name.names) if one == DMA])
    no_work = np.isin(name.codes, [at for at, one in enumerate(name.names) if one in NO_WORK])
    transfers = kernels.where(is_copy)
    transfers.columns["name"] = transfers.names("direction")
    transfers.columns["bytes"] = np.full(len(transfers), -1, np.int64)
    wanted = copies.columns or {
        name: transfers.columns[name] for name in (*SHARED, "name", "bytes")
    }
    transfers = Group({name: transfers.columns[name] for name in wanted})
    return kernels.where(~is_copy & ~no_work), joined([copies, transfers])


SHARED = ("ts", "dur", "pid", "tid", "device", "stream", "correlation")


def kernel_table(
    group: Group, process: Ints, launch: Ints, graph: NDArray[np.bool_]
) -> pd.DataFrame:
    """Table `kernels`, in the order of the group."""
    name = group.names("name")
    kinds, kind_names = by_name(name.codes, name.names, kernel_kind)
    return framed(
        "kernels",
        {
            "process": process,
            "device": device_of(group),
            "stream": stream_of(group),
            "ts": group.numbers("ts"),
            "dur": group.numbers("dur"),
            "name": category(name.codes, name.names),
            "kind": category(kinds, kind_names),
            "correlation": group.numbers("correlation"),
            "launch": launch,
            "graph": graph,
            "blocks": product_of(group.names("grid")),
            "threads": product_of(group.names("block")),
            "occupancy_percent": group.numbers("occupancy"),
        },
    )


def product_of(sizes: Coded) -> Ints:
    """Of each row's three sizes, `[x, y, z]`; -1 where they are not known."""
    return np.array([*map(product, sizes.names), -1], np.int64)[sizes.codes]


def product(text: str) -> int:
    try:
        sizes = json.loads(text)
    except (ValueError, RecursionError):
        return -1
    if (
        not isinstance(sizes, list)
        or not sizes
        or not all(type(one) is int and 0 < one < 1 << 31 for one in sizes)
    ):
        return -1
    found = math.prod(sizes)
    return found if found < 1 << 62 else -1


def device_of(group: Group) -> Ints:
    """The device a row ran on: as said, else the number that stands where a host row has its
    process.
    """
    said = group.numbers("device")
    return np.where(said >= 0, said, group.numbers("pid"))


def stream_of(group: Group) -> Ints:
    said = group.numbers("stream")
    return np.where(said >= 0, said, group.numbers("tid"))


def copy_table(group: Group, process: Ints, launch: Ints) -> pd.DataFrame:
    """Table `copies`, in the order of the group."""
    name = group.names("name")
    ways, way_names = by_name(name.codes, name.names, direction)
    pinned = np.array([pinnedness(one) for one in name.names] + [-1], np.int64)[name.codes]
    return framed(
        "copies",
        {
            "process": process,
            "tid": np.full(len(group), -1, np.int64),
            "ts": group.numbers("ts"),
            "dur": group.numbers("dur"),
            "direction": category(ways, way_names),
            "bytes": group.numbers("bytes"),
            "pinned": pinned,
            "non_blocking": np.full(len(group), -1, np.int64),
            "device": device_of(group),
            "stream": stream_of(group),
            "correlation": group.numbers("correlation"),
            "launch": launch,
        },
    )


def pinnedness(name: str) -> int:
    """From `Memcpy HtoD (Pageable -> Device)`: 0 pageable, 1 pinned, -1 not said (ROCm) or no host
    memory.
    """
    if "Pageable" in name:
        return 0
    return 1 if "Pinned" in name else -1


def collective_table(group: Group, process: Ints) -> pd.DataFrame | None:
    """Table `collectives`: the kernels that communicate, with what the trace says of them; None
    without any.
    """
    name = group.names("name")
    talks = np.array([kernel_kind(one) == "communication" for one in name.names] + [False], bool)[
        name.codes
    ]
    rows = np.flatnonzero(talks)
    if not len(rows):
        return None
    group, process = group.where(rows), process[rows]
    dtype, each = group.names("dtype"), element_bytes(group.names("dtype"))
    sizes = {}
    for column, said in (("in_bytes", "sent"), ("out_bytes", "received")):
        elements = group.numbers(said)
        sizes[column] = np.where((elements >= 0) & (each > 0), elements * each, -1)
    kind, kind_names = what_is_done(group)
    groups, group_names = group_of(group)
    return framed(
        "collectives",
        {
            "process": process,
            "device": device_of(group),
            "stream": stream_of(group),
            "ts": group.numbers("ts"),
            "dur": group.numbers("dur"),
            "kind": category(kind, kind_names),
            **sizes,
            "dtype": category(dtype.codes, dtype.names),
            "group": category(groups, group_names),
            "group_size": group.numbers("group_size"),
            "kernel": rows,
        },
    )


def element_bytes(dtype: Coded) -> Ints:
    table = [BYTES_OF.get(one.lower().removeprefix("c10::"), -1) for one in dtype.names] + [-1]
    return np.array(table, np.int64)[dtype.codes]


def what_is_done(group: Group) -> tuple[NDArray[np.int32], list[str]]:
    """The kind: as the metadata names the collective (`_allgather_base`), else as the kernel's name
    does.
    """
    said, kernel = group.names("collective"), group.names("name")
    texts = [*said.names, *kernel.names]
    codes = np.where(said.codes >= 0, said.codes, kernel.codes + len(said.names)).astype(np.int32)
    return by_name(codes, texts, collective_kind)


def group_of(group: Group) -> tuple[NDArray[np.int32], list[str]]:
    """The process group: `name [ranks]` as far as told."""
    name, ranks = group.names("group"), group.names("ranks")
    pairs = np.stack([name.codes, ranks.codes], axis=1)
    unique, place = np.unique(pairs, axis=0, return_inverse=True)
    texts = [
        " ".join(
            part
            for part in (name.names[n] if n >= 0 else "", ranks.names[r] if r >= 0 else "")
            if part
        )
        for n, r in unique
    ]
    different = {text: code for code, text in enumerate(dict.fromkeys(filter(None, texts)))}
    codes = np.array([different.get(text, -1) for text in texts], np.int32)
    return codes[place.ravel()], list(different)
