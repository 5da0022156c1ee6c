"""Writes the tables of large traces into the user's cache folder, and reads them back: one folder
per trace, with an Arrow file per table.

When the cache exceeds its bound, the least recently used folders are removed. Errors are not
reported: a trace that cannot be cached is read from its file again.
"""

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather

from perfscope.traces.cache.cache_folder import TABLES as FOLDER
from perfscope.traces.cache.cache_folder import create_cache_folder, table_folder
from perfscope.traces.encoded_json import encoded_json
from perfscope.traces.regular_file import is_regular
from perfscope.traces.run_folder.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace, index_of_columns
from perfscope.traces.trace_kind import TraceKind

MOST_BYTES: Final = 4 << 30
ABOUT: Final = "about.json"
FOLDER_NAME: Final = re.compile(r"[0-9a-f]{32}")
DAMAGED: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    msgspec.MsgspecError,
    MemoryError,
)


class About(msgspec.Struct):
    """The attributes of a Trace other than its tables."""

    kind: TraceKind
    absent: dict[str, str]
    manifests: list[Manifest]
    span_ns: tuple[int, int]
    damaged_records: int
    tables: list[str]


def recalled(path: Path) -> Trace | None:
    """Return the cached Trace of a file, None where it is not cached or the cache is damaged."""
    try:
        folder = table_folder(path)
        if folder is None:
            return None
        about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
        tables = {name: read_cached_table(name, folder) for name in about.tables}
        os.utime(folder)
    except DAMAGED:
        return None
    return Trace(
        tables,
        about.absent,
        about.manifests,
        kind=about.kind,
        span_ns=about.span_ns,
        damaged_records=about.damaged_records,
        path=path,
    )


def read_cached_table(name: str, folder: Path) -> pd.DataFrame:
    """Return one table. Raises one of `DAMAGED` when it does not match the schema."""
    columns = TABLES[name]
    table = feather.read_table(folder / f"{name}.arrow", memory_map=False)
    table.validate(full=True)
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    expected = [(column.name, column.dtype) for column in columns]
    if expected != [(column, str(frame[column].dtype)) for column in frame.columns]:
        raise ValueError(name)
    frame.columns = index_of_columns(name)
    return frame


def keep(trace: Trace, path: Path, key: str | None) -> None:
    """Cache the tables of the trace that was read from `path`, whose `key_before_reading` is `key`.

    Does nothing where that fails, where the cache is not safe, and where the file has changed.
    """
    scratch = None
    try:
        root, folder = create_cache_folder(FOLDER), table_folder(path)
        if root is None or folder is None or folder.name != key:
            return
        scratch = root / secrets.token_hex(16)
        scratch.mkdir(mode=0o700)
        # Lets `remove_oldest_folders` recognize the folder if this process is killed now.
        (scratch / ABOUT).touch()
        write_cached_tables(trace, scratch)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        scratch = None
        remove_oldest_folders(root)
    except DAMAGED:
        pass
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def write_cached_tables(trace: Trace, folder: Path) -> None:
    """Write all tables into a folder, `about.json` last. Raises one of `DAMAGED`."""
    names = [name for name in TABLES if trace.has(name)]
    for name in names:
        table = pa.Table.from_pandas(trace.table(name), preserve_index=False)
        feather.write_feather(table, str(folder / f"{name}.arrow"), compression="lz4")
    absent = {name: trace.why_absent(name) for name in TABLES if name not in names}
    about = About(
        trace.kind, absent, list(trace.manifests), trace.span_ns, trace.damaged_records, names
    )
    (folder / ABOUT).write_bytes(encoded_json(about))


def remove_oldest_folders(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the least recently used folders until the rest is within the bound.

    Only folders that `keep` created are counted and removed: those named with 32 hex digits that
    contain an `about.json`.
    """
    folders = []
    for entry in root.iterdir():
        is_folder = entry.is_dir() and not entry.is_symlink()
        if is_folder and FOLDER_NAME.fullmatch(entry.name) and is_regular(entry / ABOUT):
            folders.append(entry)
    folders.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    total_bytes = 0
    for folder in folders:
        total_bytes += sum(file.lstat().st_size for file in folder.iterdir())
        if total_bytes > most_bytes:
            shutil.rmtree(folder, ignore_errors=True)
