"""Writes small exports of Nsight Systems, in the tables and columns of older and newer versions.

`OLD`: about 2020, before process tables, enumerations and graph nodes; every field is NOT NULL, a
missing one its default. `NEW`: 2024 and later. What both share stands in `COLUMNS`; the types are
as the exporter declares them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

ON_DEVICE = "start end deviceId contextId streamId correlationId globalPid"
COLUMNS = {
    "StringIds": "id value:TEXT",
    "ThreadNames": "nameId priority globalTid",
    "CUPTI_ACTIVITY_KIND_RUNTIME": (
        "start end eventClass globalTid correlationId nameId returnValue callchainId"
    ),
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{ON_DEVICE} demangledName shortName gridX blockX",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{ON_DEVICE} bytes copyKind srcKind dstKind",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{ON_DEVICE} value bytes",
    "NVTX_EVENTS": (
        "start end eventType rangeId category color text:TEXT globalTid endGlobalTid textId"
        " domainId"
    ),
    "OSRT_API": "start end eventClass globalTid nameId returnValue",
    "PROFILER_OVERHEAD": "start end globalTid nameId overheadType",
    "TARGET_INFO_GPU": "id name:TEXT busLocation:TEXT totalMemory smCount",
}
ENUMERATIONS = (
    "CUDA_MEMCPY_OPER",
    "CUDA_MEM_KIND",
    "CUDA_DEV_MEM_EVENT_OPER",
    "NSYS_EVENT_TYPE",
    "CUPTI_OVERHEAD_TYPE",
)
NEW = {
    **COLUMNS,
    "CUPTI_ACTIVITY_KIND_KERNEL": (
        f"{COLUMNS['CUPTI_ACTIVITY_KIND_KERNEL']} greenContextId mangledName graphNodeId"
    ),
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": f"{ON_DEVICE} graphId graphExecId",
    "NVTX_EVENTS": f"{COLUMNS['NVTX_EVENTS']} jsonTextId jsonText:TEXT binaryData:TEXT",
    "CUDA_GPU_MEMORY_USAGE_EVENTS": (
        "start globalPid deviceId contextId address bytes memKind memoryOperationType"
    ),
    "CUPTI_ACTIVITY_KIND_OVERHEAD": f"{COLUMNS['PROFILER_OVERHEAD']} correlationId",
    "PROCESSES": "globalPid pid name:TEXT",
    "TARGET_INFO_CUDA_DEVICE": "gpuId cudaId pid uuid:TEXT",
    "TARGET_INFO_SYSTEM_ENV": "globalVid name:TEXT value:TEXT",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs systemClockNs",
    "ANALYSIS_DETAILS": "duration startTime stopTime",
    "META_DATA_CAPTURE": "name:TEXT value:TEXT",
    **{f"ENUM_{name}": "id name:TEXT label:TEXT" for name in ENUMERATIONS},
}
OLD = {
    **COLUMNS,
    "CUPTI_ACTIVITY_KIND_KERNEL": COLUMNS["CUPTI_ACTIVITY_KIND_KERNEL"].replace(" globalPid", ""),
}
Rows = list[dict[str, Any]]
HOST = 1 << 48
"""Nsight's first virtual machine: what its packed ids begin with."""


def pid_of(pid: int) -> int:
    """A packed process id."""
    return HOST | pid << 24


def tid_of(pid: int, tid: int) -> int:
    """A packed thread id."""
    return pid_of(pid) | tid


def export(path: Path, schema: dict[str, str] = NEW, **tables: Rows) -> Path:
    """A file with these rows; text where the schema wants the id of a name becomes one. Tables
    without rows are not made.
    """
    strings: dict[str, int] = {}
    missing = 0 if schema is OLD else None
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in tables.items():
            columns = [(*one.split(":"), "INTEGER")[:2] for one in schema[table].split()]
            make(connection, table, columns)
            for row in rows:
                assert set(row) <= {name for name, _ in columns}, (
                    f"{table} has not all of {set(row)}"
                )
                cells = [number(strings, name, row.get(name, missing)) for name, _ in columns]
                connection.execute(
                    f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(cells))})', cells
                )
        if "StringIds" not in tables:
            make(connection, "StringIds", [("id", "INTEGER"), ("value", "TEXT")])
            connection.executemany(
                "INSERT INTO StringIds VALUES (?, ?)",
                [(key, text) for text, key in strings.items()],
            )
        connection.commit()
    return path


def make(connection: sqlite3.Connection, table: str, columns: list[tuple[str, ...]]) -> None:
    written = ",\n".join(f'"{name}" {kind}' for name, kind in columns)
    connection.execute(f'CREATE TABLE "{table}" (-- A comment, as the exporter writes.\n{written})')


def number(strings: dict[str, int], column: str, cell: Any) -> Any:
    of_names = column.endswith(("Name", "nameId", "textId", "TextId"))
    return (
        strings.setdefault(cell, len(strings) + 1) if of_names and isinstance(cell, str) else cell
    )
