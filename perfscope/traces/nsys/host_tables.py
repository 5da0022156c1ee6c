"""Tables of what ran on the host beside NVTX: calls into CUDA, into the operating system, and what
both cost the profiler.
"""

import re

import numpy as np
import pandas as pd

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import LOADER_WAIT, by_name, launch_kind
from perfscope.traces.nsys.database import Database, Named, Rows, named
from perfscope.traces.nsys.identity import Identity
from perfscope.traces.nsys.nvtx import range_table, where_and_when
from perfscope.traces.trace import framed

VERSION = re.compile(r"_v\d{4,}(?:_pt[sd]z)?$")
"""The version that Nsight appends to the names of runtime calls."""
OVERHEADS = {
    2: "Driver JIT compiler (CUDA)",
    3: "Buffer flush (Profiler)",
    4: "Instrumentation (Profiler)",
    5: "Resource creation/destruction (Profiler)",
    6: "Runtime module loading (CUDA)",
    7: "Lazy function loading (CUDA)",
    8: "Command buffer full (CUDA)",
}
LIBRARIES = (("OSRT_API", "os"), ("CUDNN_EVENTS", "library"), ("CUBLAS_EVENTS", "library"))
CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"


def runtime_calls(database: Database) -> Rows:
    """Calls of the CUDA runtime and driver."""
    calls = database.events(CALLS, ("globalTid", "correlationId"), ("nameId",))
    name = calls.names["nameId"]
    calls.names["name"] = named(name.codes, [VERSION.sub("", text) for text in name.texts])
    return calls


def launch_table(calls: Rows, who: Identity, op: Ints) -> pd.DataFrame:
    """Table `launches`, in the order of the calls."""
    name = calls.names["name"]
    codes, kinds = by_name(name.codes, name.texts, launch_kind)
    return framed(
        "launches",
        {
            **where_and_when(calls, who.processes(calls.numbers("globalTid"))),
            "name": name.category(),
            "kind": Named(codes, kinds).category(),
            "correlation": calls.numbers("correlationId"),
            "op": op,
        },
    )


def other_ranges(database: Database, who: Identity) -> tuple[list[pd.DataFrame], int]:
    """Tables `ranges` of calls into the system and libraries and of the profiler's own work; how
    many rows are left out.
    """
    frames, left_out = [], 0
    for table, category in LIBRARIES:
        rows = database.events(table, ("globalTid",), ("nameId",))
        all_one = named(np.zeros(len(rows), np.int32), [category])
        frames.append(range_table(rows, who, all_one, rows.names["nameId"]))
        left_out += rows.left_out
    for table in ("PROFILER_OVERHEAD", "CUPTI_ACTIVITY_KIND_OVERHEAD"):
        rows = database.events(table, ("globalTid", "overheadType"), ("nameId",))
        labels = database.labels("ENUM_CUPTI_OVERHEAD_TYPE", OVERHEADS)
        types, place = np.unique(rows.numbers("overheadType"), return_inverse=True)
        texts = [labels.get(one) for one in types.tolist()]
        owner = [
            "driver" if text is not None and text.endswith("(CUDA)") else "overhead"
            for text in texts
        ]
        name = named(place, texts).either(rows.names["nameId"])
        frames.append(range_table(rows, who, named(place, owner), name))
        left_out += rows.left_out
    return [frame for frame in frames if len(frame)], left_out


def loader_table(ranges: Rows, who: Identity) -> pd.DataFrame | None:
    """Table `loader` of torch's own annotations, None without any; nothing is known of queue and
    workers.
    """
    name = ranges.names["name"]
    waits = np.array([bool(LOADER_WAIT.match(text)) for text in name.texts] + [False], bool)[
        name.codes
    ]
    rows = ranges.where(waits)
    if not len(rows):
        return None
    alone = np.array([0 if "SingleProcess" in text else -1 for text in name.texts] + [-1], np.int64)
    missing, none = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    return framed(
        "loader",
        {
            **where_and_when(rows, who.processes(rows.numbers("globalTid"))),
            "kind": ["next"] * len(rows),
            "iterator": none,
            "loader": none,
            "workers": alone[rows.names["name"].codes],
            "prefetch": missing,
            "queue_depth": missing,
            "end": none,
            "cpu_before_ns": missing,
            "cpu_after_ns": missing,
        },
    )
