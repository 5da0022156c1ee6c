"""Builds the tables of the host from a Kineto trace: operators, launches, ranges, loader waits,
allocations.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import EventGroup
from perfscope.traces.kineto.columns import MISSING, CodedNames
from perfscope.traces.kineto.device_tables import name_column
from perfscope.traces.naming import LOADER_WAIT, PROFILER_STEP, classify_names, launch_kind
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import make_empty_nvtx_columns, make_table

DEVICE_TYPES: Final = (1, 6, 9, 12, 13, 15, 18, 19, 20)
"""c10::DeviceType of CUDA, HIP, XLA, XPU, MPS, HPU, IPU, MTIA and privateuse1, which have memory of
their own.
"""
RANGE_KINDS: Final = ["annotation", "python", "overhead", "step"]
RANGE_KIND_OF_CATEGORY: Final = {"python_function": 1, "overhead": 2}
STEP_KIND: Final = 3
TEXT_COLUMNS: Final = {
    "shapes": "dims",
    "dtypes": "types",
    "strides": "strides",
    "concrete": "concrete",
}
"""Columns of `ops` -> those of the group."""


def enclosing_operators(ops: EventGroup, launches: EventGroup) -> tuple[Ints, Ints]:
    """Return (the row of the operator around each operator, that around each launch), -1 for
    none.
    """
    both = {
        name: np.concatenate([ops.numbers(name), launches.numbers(name)])
        for name in ("pid", "tid", "ts", "dur")
    }
    pid, tid = pd.factorize(both["pid"])[0], pd.factorize(both["tid"])[0]
    thread = pid * (tid.max(initial=0) + 1) + tid
    is_operator = np.arange(len(both["ts"])) < len(ops)
    row = enclosing(thread, both["ts"], both["ts"] + both["dur"], is_operator)
    return row[: len(ops)], row[len(ops) :]


def kineto_op_table(ops: EventGroup, process: Ints, parent: Ints) -> pd.DataFrame:
    """Return table `ops`, in the order of the events."""
    name = ops.names("name")
    texts = {column: ops.names(source) for column, source in TEXT_COLUMNS.items()}
    return make_table(
        "ops",
        {
            **event_columns(ops, process),
            "name": name_column(name.codes, name.names),
            "parent": parent,
            "sequence": ops.numbers("sequence"),
            "forward_tid": ops.numbers("forward_tid"),
            **{column: name_column(text.codes, text.names) for column, text in texts.items()},
        },
    )


def kineto_launch_table(launches: EventGroup, process: Ints, op: Ints) -> pd.DataFrame:
    """Return table `launches`, in the order of the events."""
    name = launches.names("name")
    kinds, kind_names = classify_names(name.codes, name.names, launch_kind)
    return make_table(
        "launches",
        {
            **event_columns(launches, process),
            "name": name_column(name.codes, name.names),
            "kind": name_column(kinds, kind_names),
            "correlation": launches.numbers("correlation"),
            "op": op,
        },
    )


def event_columns(group: EventGroup, process: Ints) -> dict[str, Ints]:
    """Return the columns that every table of the host has."""
    return {"process": process, **{name: group.numbers(name) for name in ("tid", "ts", "dur")}}


def kineto_range_table(ranges: EventGroup, process: Ints) -> pd.DataFrame:
    """Return table `ranges`: annotations, profiler steps, Python functions and the overhead of the
    profiler.
    """
    name, category = ranges.names("name"), ranges.names("cat")
    kind_of_category = [RANGE_KIND_OF_CATEGORY.get(text, 0) for text in category.names]
    kind = np.array([*kind_of_category, 0], np.int32)[category.codes]
    kind = np.where(is_profiler_step(name) & (kind == 0), STEP_KIND, kind).astype(np.int32)
    missing = np.full(len(ranges), MISSING, np.int64)
    return make_table(
        "ranges",
        {
            **event_columns(ranges, process),
            "category": name_column(kind, RANGE_KINDS),
            "name": name_column(name.codes, name.names),
            "object": missing,
            "value": missing,
            **make_empty_nvtx_columns(len(ranges)),
        },
    )


def name_mask(name: CodedNames, matches: Callable[[str], Any]) -> NDArray[np.bool_]:
    """Return for which rows `matches` is true of the name. It is called once per different name."""
    is_match = [bool(matches(text)) for text in name.names]
    return np.array([*is_match, False], bool)[name.codes]


def is_profiler_step(name: CodedNames) -> NDArray[np.bool_]:
    """Return which events are the profiler's marks of steps."""
    return name_mask(name, PROFILER_STEP.match)


def is_loader_wait(name: CodedNames) -> NDArray[np.bool_]:
    """Return which events are waits for a data loader of PyTorch."""
    return name_mask(name, LOADER_WAIT.match)


def kineto_loader_table(waits: EventGroup, process: Ints) -> pd.DataFrame | None:
    """Return table `loader`: the waits for batches that torch annotates. None without any.

    The trace says nothing of the queue, and of the workers only whether there are any.
    """
    if not len(waits):
        return None
    is_in_process = name_mask(waits.names("name"), lambda text: "SingleProcess" in text)
    zero = np.zeros(len(waits), np.int64)
    missing = np.full(len(waits), MISSING, np.int64)
    return make_table(
        "loader",
        {
            **event_columns(waits, process),
            "kind": ["next"] * len(waits),
            "iterator": zero,
            "loader": zero,
            "workers": np.where(is_in_process, 0, MISSING),
            "prefetch": missing,
            "persistent": missing,
            "iterable": missing,
            "queue_depth": missing,
            "end": zero,
            "cpu_before_ns": missing,
            "cpu_after_ns": missing,
        },
    )


def kineto_memory_table(allocations: EventGroup, process: Ints) -> pd.DataFrame | None:
    """Return table `memory`: allocations on accelerators; None without any."""
    on_device = np.isin(allocations.numbers("device_type"), DEVICE_TYPES)
    allocations, process = allocations.where(on_device), process[on_device]
    if not len(allocations):
        return None
    return make_table(
        "memory",
        {
            "process": process,
            "device": allocations.numbers("device_id"),
            "ts": allocations.numbers("ts"),
            "bytes": allocations.numbers("memory_bytes"),
            "allocated_bytes": allocations.numbers("allocated"),
            "reserved_bytes": allocations.numbers("reserved"),
        },
    )
