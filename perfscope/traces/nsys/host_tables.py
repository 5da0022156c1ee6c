"""Builds the tables of the host other than NVTX: calls of CUDA, of the operating system and of
libraries, and the overhead of the profiler.
"""

import re
from typing import Final

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import LOADER_WAIT, classify_names, launch_kind
from perfscope.traces.nsys.database import Database, NameColumn, Rows, name_column_of
from perfscope.traces.nsys.identity import NsysProcesses
from perfscope.traces.nsys.nvtx import nsys_range_table, row_columns
from perfscope.traces.trace import make_table

VERSION_SUFFIX: Final = re.compile(r"_v\d{4,}(?:_pt[sd]z)?$")
"""The version that Nsight appends to the names of runtime calls."""
OVERHEAD_TYPES: Final = {
    2: "Driver JIT compiler (CUDA)",
    3: "Buffer flush (Profiler)",
    4: "Instrumentation (Profiler)",
    5: "Resource creation/destruction (Profiler)",
    6: "Runtime module loading (CUDA)",
    7: "Lazy function loading (CUDA)",
    8: "Command buffer full (CUDA)",
}
LIBRARY_TABLES: Final = (
    ("OSRT_API", "os"),
    ("CUDNN_EVENTS", "library"),
    ("CUBLAS_EVENTS", "library"),
)
OVERHEAD_TABLES: Final = ("PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD")
RUNTIME_TABLE: Final = "CUPTI_ACTIVITY_KIND_RUNTIME"


def runtime_calls(database: Database) -> Rows:
    """Return the calls of the CUDA runtime and driver."""
    calls = database.events(RUNTIME_TABLE, ("globalTid", "correlationId"), ("nameId",))
    name = calls.names["nameId"]
    plain = [VERSION_SUFFIX.sub("", text) for text in name.texts]
    calls.names["name"] = name_column_of(name.codes, plain)
    return calls


def nsys_launch_table(calls: Rows, processes: NsysProcesses, op: Ints) -> pd.DataFrame:
    """Return table `launches`, in the order of the calls."""
    name = calls.names["name"]
    codes, kinds = classify_names(name.codes, name.texts, launch_kind)
    return make_table(
        "launches",
        {
            **row_columns(calls, processes.codes(calls.numbers("globalTid"))),
            "name": name.category(),
            "kind": NameColumn(codes, kinds).category(),
            "correlation": calls.numbers("correlationId"),
            "op": op,
        },
    )


def library_and_overhead_ranges(
    database: Database, processes: NsysProcesses
) -> tuple[list[pd.DataFrame], int]:
    """Return tables `ranges` of calls of the system and of libraries, and of the profiler's
    overhead; and how many events were left out.
    """
    frames, left_out = [], 0
    for table, category in LIBRARY_TABLES:
        rows = database.events(table, ("globalTid",), ("nameId",))
        categories = name_column_of(np.zeros(len(rows), np.int32), [category])
        frames.append(nsys_range_table(rows, processes, categories, rows.names["nameId"]))
        left_out += rows.left_out
    for table in OVERHEAD_TABLES:
        rows = database.events(table, ("globalTid", "overheadType"), ("nameId",))
        frames.append(overhead_ranges(rows, database, processes))
        left_out += rows.left_out
    return [frame for frame in frames if len(frame)], left_out


def overhead_ranges(rows: Rows, database: Database, processes: NsysProcesses) -> pd.DataFrame:
    """Return table `ranges` of the overhead of the profiler and of the CUDA driver."""
    labels = database.labels("ENUM_CUPTI_OVERHEAD_TYPE", OVERHEAD_TYPES)
    types, place = np.unique(rows.numbers("overheadType"), return_inverse=True)
    texts = [labels.get(number) for number in types.tolist()]
    categories = [
        "driver" if text is not None and text.endswith("(CUDA)") else "overhead" for text in texts
    ]
    names = name_column_of(place, texts).with_fallback(rows.names["nameId"])
    return nsys_range_table(rows, processes, name_column_of(place, categories), names)


def nsys_loader_table(ranges: Rows, processes: NsysProcesses) -> pd.DataFrame | None:
    """Return table `loader` from torch's annotations of its waits for batches. None without any.

    The export says nothing of the queue, and of the workers only whether there are any.
    """
    name = ranges.names["name"]
    is_wait = [bool(LOADER_WAIT.match(text)) for text in name.texts]
    waits = ranges.where(np.array([*is_wait, False], bool)[name.codes])
    if not len(waits):
        return None
    workers_of_name = [0 if "SingleProcess" in text else -1 for text in name.texts]
    workers = np.array([*workers_of_name, -1], np.int64)[waits.names["name"].codes]
    missing, zero = np.full(len(waits), -1, np.int64), np.zeros(len(waits), np.int64)
    return make_table(
        "loader",
        {
            **row_columns(waits, processes.codes(waits.numbers("globalTid"))),
            "kind": ["next"] * len(waits),
            "iterator": zero,
            "loader": zero,
            "workers": workers,
            "prefetch": missing,
            "persistent": missing,
            "iterable": missing,
            "queue_depth": missing,
            "end": zero,
            "cpu_before_ns": missing,
            "cpu_after_ns": missing,
        },
    )
