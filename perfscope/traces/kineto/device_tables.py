"""Builds the tables of device work from a Kineto trace: kernels, copies, collectives."""

import json
import math
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import EventGroup, joined_groups
from perfscope.traces.kineto.columns import MISSING, CodedNames
from perfscope.traces.naming import (
    BYTES_OF,
    classify_names,
    collective_kind,
    copy_direction,
    kernel_kind,
)
from perfscope.traces.trace import dtype_of_names, make_table

# MTIA writes everything that its queues did into one category: programs, transfers and waits.
MTIA_TRANSFER: Final = "dma_request"
MTIA_WAITS: Final = ("event_record", "event_wait")
COMMON_COLUMNS: Final = ("ts", "dur", "pid", "tid", "device", "stream", "correlation")
LARGEST_SIZE: Final = 1 << 31
LARGEST_PRODUCT: Final = 1 << 62


@dataclass(frozen=True)
class StartedBy:
    """What started each event of a device."""

    process: Ints
    launch: Ints
    """Row of `launches`, -1 unknown."""


def name_column(codes: NDArray[np.int32], names: list[str]) -> "pd.Categorical[str]":
    """Return codes and names as a column of a table."""
    return pd.Categorical.from_codes(cast("list[int]", codes), dtype=dtype_of_names(names))


def names_matching(column: CodedNames, *wanted: str) -> NDArray[np.bool_]:
    """Return which rows of a column have one of these names."""
    codes = [code for code, name in enumerate(column.names) if name in wanted]
    return np.isin(column.codes, codes)


def split_mtia_queues(kernels: EventGroup, copies: EventGroup) -> tuple[EventGroup, EventGroup]:
    """Return (kernels, copies), with MTIA's transfers among the copies and without its waits."""
    name = kernels.names("name")
    if not any(other in name.names for other in (MTIA_TRANSFER, *MTIA_WAITS)):
        return kernels, copies
    is_transfer = names_matching(name, MTIA_TRANSFER)
    is_wait = names_matching(name, *MTIA_WAITS)
    transfers = kernels.where(is_transfer)
    transfers.columns["name"] = transfers.names("direction")
    transfers.columns["bytes"] = np.full(len(transfers), -1, np.int64)
    wanted = list(copies.columns) or [*COMMON_COLUMNS, "name", "bytes"]
    transfers = EventGroup({name: transfers.columns[name] for name in wanted})
    return kernels.where(~is_transfer & ~is_wait), joined_groups([copies, transfers])


def kineto_kernel_table(
    kernels: EventGroup, started_by: StartedBy, by_graph: NDArray[np.bool_]
) -> pd.DataFrame:
    """Return table `kernels`, in the order of the events."""
    name = kernels.names("name")
    kinds, kind_names = classify_names(name.codes, name.names, kernel_kind)
    return make_table(
        "kernels",
        {
            "process": started_by.process,
            "device": device_numbers(kernels),
            "stream": stream_numbers(kernels),
            "ts": kernels.numbers("ts"),
            "dur": kernels.numbers("dur"),
            "name": name_column(name.codes, name.names),
            "kind": name_column(kinds, kind_names),
            "correlation": kernels.numbers("correlation"),
            "launch": started_by.launch,
            "graph": by_graph,
            "blocks": size_products(kernels.names("grid")),
            "threads": size_products(kernels.names("block")),
            "occupancy_percent": kernels.numbers("occupancy"),
        },
    )


def size_products(sizes: CodedNames) -> Ints:
    """Return the product of the three sizes `[x, y, z]` of each row, -1 where they are unknown."""
    return np.array([*map(size_product, sizes.names), MISSING], np.int64)[sizes.codes]


def size_product(text: str) -> int:
    """Return the product of a JSON list of sizes, -1 for any other text."""
    try:
        sizes = json.loads(text)
    except (ValueError, RecursionError):
        return MISSING
    if not isinstance(sizes, list) or not sizes:
        return MISSING
    if not all(type(size) is int and 0 < size < LARGEST_SIZE for size in sizes):
        return MISSING
    product = math.prod(sizes)
    return product if product < LARGEST_PRODUCT else MISSING


def device_numbers(group: EventGroup) -> Ints:
    """Return the device of each event: its argument, else its pid, which is the device number for
    events of a device.
    """
    argument = group.numbers("device")
    return np.where(argument >= 0, argument, group.numbers("pid"))


def stream_numbers(group: EventGroup) -> Ints:
    """Return the stream of each event: its argument, else its tid."""
    argument = group.numbers("stream")
    return np.where(argument >= 0, argument, group.numbers("tid"))


def kineto_copy_table(copies: EventGroup, started_by: StartedBy) -> pd.DataFrame:
    """Return table `copies`, in the order of the events."""
    name = copies.names("name")
    directions, direction_names = classify_names(name.codes, name.names, copy_direction)
    pinned = np.array([*map(pinned_in_name, name.names), MISSING], np.int64)[name.codes]
    missing = np.full(len(copies), MISSING, np.int64)
    return make_table(
        "copies",
        {
            "process": started_by.process,
            "tid": missing,
            "ts": copies.numbers("ts"),
            "dur": copies.numbers("dur"),
            "direction": name_column(directions, direction_names),
            "bytes": copies.numbers("bytes"),
            "pinned": pinned,
            "non_blocking": missing,
            "device": device_numbers(copies),
            "stream": stream_numbers(copies),
            "correlation": copies.numbers("correlation"),
            "launch": started_by.launch,
        },
    )


def pinned_in_name(name: str) -> int:
    """Return whether host memory is pinned, from a name such as `Memcpy HtoD (Pageable -> Device)`.

    1 pinned, 0 pageable, -1 not in the name (ROCm) or no host memory.
    """
    if "Pageable" in name:
        return 0
    return 1 if "Pinned" in name else MISSING


def kineto_collective_table(kernels: EventGroup, process: Ints) -> pd.DataFrame | None:
    """Return table `collectives`: the kernels that communicate, with the metadata that the trace
    has for them. None without any.
    """
    name = kernels.names("name")
    communicates = [kernel_kind(text) == "communication" for text in name.names]
    rows = np.flatnonzero(np.array([*communicates, False], bool)[name.codes])
    if not len(rows):
        return None
    collectives, process = kernels.where(rows), process[rows]
    dtype = collectives.names("dtype")
    kinds, kind_names = collective_kinds(collectives)
    groups, group_names = process_groups(collectives)
    return make_table(
        "collectives",
        {
            "process": process,
            "device": device_numbers(collectives),
            "stream": stream_numbers(collectives),
            "ts": collectives.numbers("ts"),
            "dur": collectives.numbers("dur"),
            "kind": name_column(kinds, kind_names),
            "in_bytes": message_bytes(collectives.numbers("sent"), dtype),
            "out_bytes": message_bytes(collectives.numbers("received"), dtype),
            "dtype": name_column(dtype.codes, dtype.names),
            "group": name_column(groups, group_names),
            "group_size": collectives.numbers("group_size"),
            "kernel": rows,
        },
    )


def message_bytes(elements: Ints, dtype: CodedNames) -> Ints:
    """Return the bytes of messages of so many elements, -1 where elements or type are unknown."""
    names = [name.lower().removeprefix("c10::") for name in dtype.names]
    element_bytes = [BYTES_OF.get(name, MISSING) for name in names]
    each = np.array([*element_bytes, MISSING], np.int64)[dtype.codes]
    return np.where((elements >= 0) & (each > 0), elements * each, MISSING)


def collective_kinds(collectives: EventGroup) -> tuple[NDArray[np.int32], list[str]]:
    """Return the kind of each collective: from its metadata (`_allgather_base`), else from the name
    of its kernel.
    """
    metadata, kernel = collectives.names("collective"), collectives.names("name")
    names = [*metadata.names, *kernel.names]
    of_kernel = kernel.codes + len(metadata.names)
    codes = np.where(metadata.codes >= 0, metadata.codes, of_kernel).astype(np.int32)
    return classify_names(codes, names, collective_kind)


def process_groups(collectives: EventGroup) -> tuple[NDArray[np.int32], list[str]]:
    """Return the process group of each collective, as `name [ranks]` where both are known."""
    name, ranks = collectives.names("group"), collectives.names("ranks")
    pairs = np.stack([name.codes, ranks.codes], axis=1)
    different, place = np.unique(pairs, axis=0, return_inverse=True)
    texts = []
    for name_code, ranks_code in different:
        known = [
            column.names[code]
            for column, code in ((name, name_code), (ranks, ranks_code))
            if code >= 0
        ]
        texts.append(" ".join(filter(None, known)))
    code_of_text = {text: code for code, text in enumerate(dict.fromkeys(filter(None, texts)))}
    codes = np.array([code_of_text.get(text, MISSING) for text in texts], np.int32)
    return codes[place.ravel()], list(code_of_text)
