"""What was read of a large trace, kept for the next time: an Arrow file a table, found again by what the trace file is.

Beside a trace that lies in a run folder of ours, else in the user's cache folder; never among foreign files. The oldest go when
the folder grows beyond its bound. What cannot be written or read back is as if it had never been kept.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.feather as feather

from perfscope.traces.cache.place import folder_of
from perfscope.traces.run.manifest import Manifest
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace

MOST_BYTES: Final = 4 << 30
ABOUT: Final = "about.json"
DAMAGED: Final = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, msgspec.MsgspecError, MemoryError)


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
        folder = folder_of(path)
        about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
        tables = {name: framed_again(name, folder) for name in about.tables}
        os.utime(folder)
    except DAMAGED:
        return None
    return Trace(tables, about.absent, about.manifests, span_ns=about.span_ns, torn=about.torn, path=path)


def framed_again(name: str, folder: Path) -> Any:
    """One table. Raises what is in `DAMAGED` when it is not as the schema has it."""
    columns = TABLES[name]
    read = feather.read_table(folder / f"{name}.arrow", memory_map=False)
    read.validate(full=True)
    frame = read.to_pandas(split_blocks=True, self_destruct=True)
    if [(one.name, one.dtype) for one in columns] != [(one, str(frame[one].dtype)) for one in frame.columns]:
        raise ValueError(name)
    return frame


def keep(trace: Trace, path: Path) -> None:
    """Keep what was read of `path`; says nothing when that fails."""
    scratch = None
    try:
        folder = folder_of(path)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        names = [name for name in TABLES if trace.has(name)]
        for name in names:
            table = pa.Table.from_pandas(trace.table(name), preserve_index=False)
            feather.write_feather(table, str(scratch / f"{name}.arrow"), compression="lz4")
        about = About(
            {name: trace.why_absent(name) for name in TABLES if name not in names},
            list(trace.manifests),
            trace.span_ns,
            trace.torn,
            names,
        )
        (scratch / ABOUT).write_bytes(msgspec.json.encode(about))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
        scratch = None
        thin_out(folder.parent)
    except DAMAGED:
        pass
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def thin_out(root: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove what was used longest ago until the rest is within the bound."""
    folders = sorted((one for one in root.iterdir() if one.is_dir()), key=lambda one: one.stat().st_mtime, reverse=True)
    total = 0
    for folder in folders:
        total += sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
        if total > most_bytes:
            shutil.rmtree(folder, ignore_errors=True)
