"""The tables of a large trace, kept in the reader's own cache folder: one Arrow file per table,
found by what the trace file is.

Folders that were used longest ago are removed when the cache grows beyond its bound. What cannot be
written or read back is as if it had never been kept.
"""

import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.feather as feather

from perfscope.traces.cache.place import TABLES as FOLDER
from perfscope.traces.cache.place import create_cache_folder, table_folder
from perfscope.traces.regular_file import is_regular
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

MOST_BYTES: Final = 4 << 30
ABOUT: Final = "about.json"
NAME: Final = re.compile(r"[0-9a-f]{32}")
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
    """What a Trace has beside its tables."""

    absent: dict[str, str]
    manifests: list[Manifest]
    span_ns: tuple[int, int]
    torn: int
    tables: list[str]


def recalled(path: Path) -> Trace | None:
    """The Trace of `path` as it was kept, None when it was not or is damaged."""
    try:
        folder = table_folder(path)
        if folder is None:
            return None
        about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
        tables = {name: framed_again(name, folder) for name in about.tables}
        os.utime(folder)
    except DAMAGED:
        return None
    return Trace(
        tables, about.absent, about.manifests, span_ns=about.span_ns, torn=about.torn, path=path
    )


def framed_again(name: str, folder: Path) -> Any:
    """One table. Raises what is in `DAMAGED` when it is not as the schema has it."""
    columns = TABLES[name]
    read = feather.read_table(folder / f"{name}.arrow", memory_map=False)
    read.validate(full=True)
    frame = read.to_pandas(split_blocks=True, self_destruct=True)
    if [(one.name, one.dtype) for one in columns] != [
        (one, str(frame[one].dtype)) for one in frame.columns
    ]:
        raise ValueError(name)
    return frame


def keep(trace: Trace, path: Path) -> None:
    """Keep the tables of the trace that was read from `path`; does nothing where that fails or the
    cache is not safe.
    """
    scratch = None
    try:
        root, folder = create_cache_folder(FOLDER), table_folder(path)
        if root is None or folder is None:
            return
        scratch = root / secrets.token_hex(16)
        scratch.mkdir(mode=0o700)
        # Of a process that is killed meanwhile `thin_out` finds what is left.
        (scratch / ABOUT).touch()
        write(trace, scratch)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        scratch = None
        thin_out(root)
    except DAMAGED:
        pass
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def write(trace: Trace, folder: Path) -> None:
    """Write all tables into `folder`, `about.json` last. Raises what is in `DAMAGED`."""
    names = [name for name in TABLES if trace.has(name)]
    for name in names:
        table = pa.Table.from_pandas(trace.table(name), preserve_index=False)
        feather.write_feather(table, str(folder / f"{name}.arrow"), compression="lz4")
    absent = {name: trace.why_absent(name) for name in TABLES if name not in names}
    about = About(absent, list(trace.manifests), trace.span_ns, trace.torn, names)
    (folder / ABOUT).write_bytes(msgspec.json.encode(about))


def thin_out(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove the folders that were used longest ago until the rest is within the bound.

    Only what `keep` made is counted and removed: folders with a name of 32 hex digits that hold
    `about.json`.
    """
    kept = [one for one in root.iterdir() if NAME.fullmatch(one.name) and not one.is_symlink()]
    folders = [one for one in kept if one.is_dir() and is_regular(one / ABOUT)]
    folders.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.lstat().st_size for file in folder.iterdir())
        if total > most_bytes:
            shutil.rmtree(folder, ignore_errors=True)
