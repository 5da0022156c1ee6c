"""Writes small exports of Nsight Systems, in the tables and columns of older and newer versions.

`OLD`: about 2020, before process tables, enumerations and graph nodes; every field is NOT NULL, a missing one its default.
`NEW`: 2024 and later. What both share stands in `COLUMNS`; the types are as the exporter declares them.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

COLUMNS: dict[str, dict[str, str]] = {
    "StringIds": {"id": "INTEGER NOT NULL PRIMARY KEY", "value": "TEXT NOT NULL"},
    "ThreadNames": {"nameId": "INTEGER", "priority": "INTEGER", "globalTid": "INTEGER"},
    "CUPTI_ACTIVITY_KIND_RUNTIME": dict.fromkeys(
        ("start", "end", "eventClass", "globalTid", "correlationId", "nameId", "returnValue", "callchainId"), "INTEGER"
    ),
    "CUPTI_ACTIVITY_KIND_KERNEL": dict.fromkeys(
        (
            *("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid"),
            *("demangledName", "shortName", "gridX", "blockX"),
        ),
        "INTEGER",
    ),
    "CUPTI_ACTIVITY_KIND_MEMCPY": dict.fromkeys(
        (
            *("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid"),
            *("bytes", "copyKind", "srcKind", "dstKind"),
        ),
        "INTEGER",
    ),
    "CUPTI_ACTIVITY_KIND_MEMSET": dict.fromkeys(
        ("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid", "value", "bytes"), "INTEGER"
    ),
    "NVTX_EVENTS": {
        **dict.fromkeys(("start", "end", "eventType", "rangeId", "category", "color"), "INTEGER"),
        "text": "TEXT",
        **dict.fromkeys(("globalTid", "endGlobalTid", "textId", "domainId"), "INTEGER"),
    },
    "OSRT_API": dict.fromkeys(("start", "end", "eventClass", "globalTid", "nameId", "returnValue"), "INTEGER"),
    "PROFILER_OVERHEAD": dict.fromkeys(("start", "end", "globalTid", "nameId", "overheadType"), "INTEGER"),
    "TARGET_INFO_GPU": {
        "id": "INTEGER",
        "name": "TEXT",
        "busLocation": "TEXT",
        "totalMemory": "INTEGER",
        "smCount": "INTEGER",
    },
}
NEW: dict[str, dict[str, str]] = {
    **COLUMNS,
    "CUPTI_ACTIVITY_KIND_KERNEL": COLUMNS["CUPTI_ACTIVITY_KIND_KERNEL"]
    | {"greenContextId": "INTEGER", "mangledName": "INTEGER", "graphNodeId": "INTEGER"},
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": dict.fromkeys(
        (
            *("start", "end", "deviceId", "contextId", "streamId", "correlationId", "globalPid"),
            *("graphId", "graphExecId"),
        ),
        "INTEGER",
    ),
    "NVTX_EVENTS": COLUMNS["NVTX_EVENTS"] | {"jsonTextId": "INTEGER", "jsonText": "TEXT", "binaryData": "TEXT"},
    "CUDA_GPU_MEMORY_USAGE_EVENTS": dict.fromkeys(
        ("start", "globalPid", "deviceId", "contextId", "address", "bytes", "memKind", "memoryOperationType"), "INTEGER"
    ),
    "CUPTI_ACTIVITY_KIND_OVERHEAD": COLUMNS["PROFILER_OVERHEAD"] | {"correlationId": "INTEGER"},
    "PROCESSES": {"globalPid": "INTEGER", "pid": "INTEGER", "name": "TEXT"},
    "TARGET_INFO_CUDA_DEVICE": {"gpuId": "INTEGER", "cudaId": "INTEGER", "pid": "INTEGER", "uuid": "TEXT"},
    "TARGET_INFO_SYSTEM_ENV": {"globalVid": "INTEGER", "name": "TEXT", "value": "TEXT"},
    "TARGET_INFO_SESSION_START_TIME": {"utcEpochNs": "INTEGER", "systemClockNs": "INTEGER"},
    "ANALYSIS_DETAILS": {"duration": "INTEGER", "startTime": "INTEGER", "stopTime": "INTEGER"},
    "META_DATA_CAPTURE": {"name": "TEXT", "value": "TEXT"},
    **{
        f"ENUM_{name}": {"id": "INTEGER NOT NULL PRIMARY KEY", "name": "TEXT", "label": "TEXT"}
        for name in (
            "CUDA_MEMCPY_OPER",
            "CUDA_MEM_KIND",
            "CUDA_DEV_MEM_EVENT_OPER",
            "NSYS_EVENT_TYPE",
            "CUPTI_OVERHEAD_TYPE",
        )
    },
}
OLD = {
    **COLUMNS,
    "CUPTI_ACTIVITY_KIND_KERNEL": {
        name: "INT NOT NULL" for name in COLUMNS["CUPTI_ACTIVITY_KIND_KERNEL"] if name != "globalPid"
    },
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


def export(path: Path, schema: dict[str, dict[str, str]] = NEW, **tables: Rows) -> Path:
    """A file with these rows; text where the schema wants the id of a name becomes one. Tables without rows are not made."""
    strings: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in tables.items():
            columns = schema[table]
            make(connection, table, columns)
            empty = 0 if any("NOT NULL" in kind for kind in columns.values()) else None
            for row in rows:
                assert set(row) <= set(columns), f"{table} has no {set(row) - set(columns)}"
                cells = [number(strings, name, row.get(name, empty)) for name in columns]
                connection.execute(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(cells))})', cells)
        if "StringIds" not in tables:
            make(connection, "StringIds", schema["StringIds"])
            connection.executemany(
                "INSERT INTO StringIds VALUES (?, ?)", [(key, text) for text, key in strings.items()]
            )
        connection.commit()
    return path


def make(connection: sqlite3.Connection, table: str, columns: dict[str, str]) -> None:
    written = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    connection.execute(f'CREATE TABLE "{table}" (-- As the exporter writes it.\n {written})')


def number(strings: dict[str, int], column: str, cell: Any) -> Any:
    of_names = column.endswith(("Name", "nameId", "textId", "TextId"))
    return strings.setdefault(cell, len(strings) + 1) if of_names and isinstance(cell, str) else cell
