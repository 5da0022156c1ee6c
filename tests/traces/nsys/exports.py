"""Small exports of Nsight Systems, with the tables and columns of older and newer versions.

`OLD`: about 2020, before process tables, enumerations and graph nodes; every field is NOT NULL, and
a missing field has its default. `NEW`: 2024 and later. `COLUMNS`: the tables of both. The types are
those that the exporter declares.
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
"""The number of the first virtual machine, with which packed ids of Nsight begin."""


def pid_of(pid: int) -> int:
    """Return a packed process id."""
    return HOST | pid << 24


def tid_of(pid: int, tid: int) -> int:
    """Return a packed thread id."""
    return pid_of(pid) | tid


def export(path: Path, schema: dict[str, str] = NEW, **tables: Rows) -> Path:
    """Write a file with these rows; a text where the schema has the id of a name gets an id.

    Only the tables of `tables` are created.
    """
    strings: dict[str, int] = {}
    missing = 0 if schema is OLD else None
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in tables.items():
            columns = [(*column.split(":"), "INTEGER")[:2] for column in schema[table].split()]
            create_table(connection, table, columns)
            for row in rows:
                assert set(row) <= {name for name, _ in columns}, f"{table}: {set(row)}"
                cells = [cell_value(strings, name, row.get(name, missing)) for name, _ in columns]
                connection.execute(
                    f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(cells))})', cells
                )
        if "StringIds" not in tables:
            create_table(connection, "StringIds", [("id", "INTEGER"), ("value", "TEXT")])
            connection.executemany(
                "INSERT INTO StringIds VALUES (?, ?)",
                [(key, text) for text, key in strings.items()],
            )
        connection.commit()
    return path


def create_table(
    connection: sqlite3.Connection, table: str, columns: list[tuple[str, ...]]
) -> None:
    written = ",\n".join(f'"{name}" {kind}' for name, kind in columns)
    connection.execute(f'CREATE TABLE "{table}" (-- A comment, as the exporter writes.\n{written})')


def cell_value(strings: dict[str, int], column: str, cell: Any) -> Any:
    """Return the id of a text in a column of ids, and any other cell as it is."""
    has_ids = column.endswith(("Name", "nameId", "textId", "TextId"))
    if has_ids and isinstance(cell, str):
        return strings.setdefault(cell, len(strings) + 1)
    return cell
