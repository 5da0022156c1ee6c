"""A trace as a folder of tables: what the formats with one file a table share."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import pandas as pd

from perfscope.traces.run.held_folder import create_run_folder
from perfscope.traces.schema import SCHEMA_VERSION, TABLES
from perfscope.traces.trace import Trace

HEADING = "# Tables of a trace, exported by perfscope"


def write_tables(
    trace: Trace, folder: Path, suffix: str, write: Callable[[str, pd.DataFrame, BinaryIO], None]
) -> None:
    """Write every table, `manifests.json` with who was recorded, and a README.md that says what
    every column holds.

    The folder is created and then held open: whoever owns the one above cannot lead the files
    elsewhere. Raises OSError.
    """
    there = {name: frame for name in TABLES if (frame := trace.table(name)) is not None}
    held = create_run_folder(folder)
    try:
        for name, frame in there.items():
            with open(held.create(f"{name}{suffix}"), "wb") as file:
                write(name, frame, file)
        with open(held.create("manifests.json"), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(list(trace.manifests)), indent=2))
        with open(held.create("README.md"), "wb") as file:
            file.write(readme(trace, there, suffix).encode("utf-8", "replace"))
        if not held.is_at(folder):
            raise OSError(errno.ESTALE, "the folder was replaced while it was written")
    finally:
        held.close()


def readme(trace: Trace, there: dict[str, pd.DataFrame], suffix: str) -> str:
    lines = [HEADING, ""]
    lines.append(
        f"Format {SCHEMA_VERSION}. `ts` and `dur` are nanoseconds from the job's time zero,"
        " which is"
    )
    lines.append(
        f"{trace.manifest.zero_realtime_ns} ns of Unix time (0: not known). A missing number is -1,"
        " a missing name empty."
    )
    lines.append(
        "`process` refers to `processes`; `launch`, `op`, `parent` and `kernel` are row numbers,"
        " from 0."
    )
    for name, frame in there.items():
        lines += [
            "",
            f"## {name}{suffix}: {len(frame)} rows",
            "",
            "| column | type | unit | what it holds |",
            "|---|---|---|---|",
        ]
        types = {"category": "name"}
        lines += [
            f"| {c.name} | {types.get(c.dtype, c.dtype)} | {c.unit} | {c.comment} |"
            for c in TABLES[name]
        ]
    lines += ["", "## Not there", ""]
    lines += [
        f"- {name}: {' '.join(trace.why_absent(name).split())}"
        for name in TABLES
        if name not in there
    ]
    return "\n".join(lines) + "\n"
