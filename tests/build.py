"""Builder of small traces: rows as dicts; columns that are not given have their missing value."""

from typing import Any

import msgspec
import pandas as pd

from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.schema_columns import Column
from perfscope.traces.trace import Trace, make_table
from perfscope.traces.trace_kind import PROFILER_DEPTH, TraceKind

Rows = list[dict[str, Any]]
MAIN = {
    "process": 0,
    "pid": 100,
    "ns_pid": 100,
    "role": "main",
    "rank": 0,
    "local_rank": 0,
    "name": "train.py",
}
FACTS: dict[str, Any] = {
    "job_id": "job",
    "host": "host",
    "boot_id": "boot",
    "zero_monotonic_ns": 0,
    "zero_realtime_ns": 0,
    "tool_version": "0",
    "command": ["python", "train.py"],
    "target_pid": 100,
    "depth": "probe",
    "usable_cores": {"cores": 4.0, "affinity": 4},
    "torch": {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": False},
    "finished": True,
}


def missing(column: Column) -> Any:
    """Return the value of this column that means unknown."""
    if column.name == "process" or column.name == "ts":
        return 0
    return {"category": None, "bool": False, "float64": float("nan")}.get(column.dtype, -1)


def table(name: str, rows: Rows) -> pd.DataFrame:
    """Return one table of the schema, from rows that may lack columns."""
    unknown = {key for row in rows for key in row} - {column.name for column in TABLES[name]}
    assert not unknown, f"{name} has no columns {sorted(unknown)}"
    return make_table(
        name,
        {
            column.name: [row.get(column.name, missing(column)) for row in rows]
            for column in TABLES[name]
        },
    )


def trace(
    *, manifest: dict[str, Any] | None = None, absent: dict[str, str] | None = None, **tables: Rows
) -> Trace:
    """Return a Trace of these tables; by default with one main process of code 0 and rank 0."""
    rows = {"processes": [MAIN], **tables}
    frames = {name: table(name, its_rows) for name, its_rows in rows.items()}
    timed = [frame for frame in frames.values() if "ts" in frame and len(frame)]
    first = [int(frame["ts"].min()) for frame in timed]
    last = [int((frame["ts"] + frame.get("dur", 0)).max()) for frame in timed]
    reasons = {
        name: (absent or {}).get(name, "not recorded in this test")
        for name in TABLES
        if name not in frames
    }
    # what only a profiler records makes it a profiler's trace, unless a test says that windows did
    profiled = {"depth": PROFILER_DEPTH} if {"ops", "kernels", "launches"} & tables.keys() else {}
    described = msgspec.convert({**FACTS, **profiled, **(manifest or {})}, Manifest)
    kind = TraceKind.PROFILER if described.depth == PROFILER_DEPTH else TraceKind.RECORDING
    span_ns = (min(first, default=0), max(last, default=0))
    return Trace(frames, reasons, [described], kind=kind, span_ns=span_ns)
