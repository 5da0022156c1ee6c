"""Writes a trace as a folder with one file per table, for the formats that have such files."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import pandas as pd

from perfscope.traces.encoded_json import encoded_json
from perfscope.traces.run_folder.open_folder import create_run_folder
from perfscope.traces.schema import SCHEMA_VERSION, TABLES
from perfscope.traces.trace import Trace

HEADING = "# Tables of a trace, exported by perfscope"
Tables = dict[str, pd.DataFrame]


def write_tables(
    trace: Trace, folder: Path, suffix: str, write: Callable[[str, pd.DataFrame, BinaryIO], None]
) -> None:
    """Write every table with `write`, the manifests, and a README.md that describes the columns.

    The folder stays open after it was created, so that nobody who can rename it can redirect the
    files. Raises OSError.
    """
    tables = {name: table for name in TABLES if (table := trace.table(name)) is not None}
    held = create_run_folder(folder)
    try:
        for name, table in tables.items():
            with open(held.create(f"{name}{suffix}"), "wb") as file:
                write(name, table, file)
        manifests = encoded_json(list(trace.manifests))
        with open(held.create("manifests.json"), "wb") as file:
            file.write(msgspec.json.format(manifests, indent=2))
        with open(held.create("README.md"), "wb") as file:
            file.write(readme_text(trace, tables, suffix).encode("utf-8", "replace"))
        if not held.is_at(folder):
            raise OSError(errno.ESTALE, "the folder was replaced while it was written")
    finally:
        held.close()


def readme_text(trace: Trace, tables: Tables, suffix: str) -> str:
    """Return the README.md of the folder."""
    sections = [introduction(trace)]
    sections += [table_section(name, len(table), suffix) for name, table in tables.items()]
    absent = [
        f"- {name}: {' '.join(trace.why_absent(name).split())}"
        for name in TABLES
        if name not in tables
    ]
    sections.append("\n".join(["## Absent tables", "", *absent]))
    return "\n\n".join(sections) + "\n"


def introduction(trace: Trace) -> str:
    """Return the heading of the README.md and what applies to all tables."""
    zero_ns = trace.manifest.zero_realtime_ns
    return f"""{HEADING}

Format {SCHEMA_VERSION}. `ts` and `dur` are nanoseconds. `ts` counts from the job's time zero,
which is {zero_ns} ns of Unix time (0: unknown). A missing number is -1, a missing name is empty.
`process` refers to `processes`. `launch`, `op`, `parent` and `kernel` are row numbers, from 0."""


def table_section(name: str, row_count: int, suffix: str) -> str:
    """Return the section of one table."""
    lines = [
        f"## {name}{suffix}: {row_count} rows",
        "",
        "| column | type | unit | meaning |",
        "|---|---|---|---|",
    ]
    for column in TABLES[name]:
        type_name = "name" if column.dtype == "category" else column.dtype
        lines.append(f"| {column.name} | {type_name} | {column.unit} | {column.comment} |")
    return "\n".join(lines)
