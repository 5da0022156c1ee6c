"""One trace file of the PyTorch profiler as a Trace, from the cache of tables where it has them."""

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Final

from perfscope.traces.allocator import free_unused_memory
from perfscope.traces.cache.cache_folder import key_before_reading, table_folder
from perfscope.traces.kineto.file import (
    available_cores,
    estimated_bytes,
    parses_in_processes,
    read_columns,
)
from perfscope.traces.kineto.text import head
from perfscope.traces.reading_options import reading_options

if TYPE_CHECKING:
    from perfscope.traces.kineto.file import FileColumns
    from perfscope.traces.kineto.merged_ranks import RankColumns
    from perfscope.traces.trace import Trace

WORTH_KEEPING: Final = 24 << 20
"""Bytes of JSON text. Above this, loading cached tables is clearly faster than parsing."""
SMALL: Final = 4 << 20
"""Bytes of JSON text. Below this, threads and the return of memory take longer than they save."""
JSON_BEGINS: Final = re.compile(rb"^\s*[\[{]")


def is_trace_file(path: Path) -> bool:
    """Return whether a path is a JSON file, compressed or not."""
    if not path.is_file():
        return False
    return path.name.endswith((".json", ".json.gz", ".json.zst")) or bool(
        JSON_BEGINS.match(head(path, 64))
    )


def worth_keeping(path: Path) -> bool:
    """Return whether a trace is large enough that its tables are cached."""
    return is_trace_file(path) and estimated_bytes(path) > WORTH_KEEPING


def read_trace(path: Path) -> "Trace":
    """Return the Trace of one file. Raises UnreadableRun."""
    uses_cache = reading_options().use_cache and worth_keeping(path)
    cached = cached_trace(path) if uses_cache else None
    if cached is not None:
        return cached
    key = key_before_reading(path) if uses_cache else None
    trace = parsed_trace(path)
    if estimated_bytes(path) >= SMALL:
        free_unused_memory()
    if uses_cache and len(trace.manifests) == 1:
        from perfscope.traces.cache.tables import keep

        # Written while the caller goes on. Not a daemon thread: Python waits for it at exit.
        Thread(target=keep, args=(trace, path, key), name="perfscope-keep").start()
    return trace


def cached_trace(path: Path) -> "Trace | None":
    """Return the Trace that the cache has for this file, None where it has none."""
    if not has_cached_tables(
        path
    ):  # checked first, because the next import loads pandas and pyarrow
        return None
    from perfscope.traces.cache.tables import recalled

    return recalled(path)


def parsed_trace(path: Path) -> "Trace":
    """Return the Trace of one file, parsed from its text."""
    options = reading_options()
    if estimated_bytes(path) < SMALL and "perfscope.traces.kineto.tables" in sys.modules:
        return trace_of_columns(path, read_columns(path, 1, options.progress))
    workers = max(available_cores() // options.files_at_once, 1)
    if parses_in_processes(path, workers):
        # A process that is forked while another thread imports a module inherits a held import
        # lock. So everything is imported before the first fork.
        import_table_builder()
    with ThreadPoolExecutor(1, "perfscope-read") as executor:
        columns = executor.submit(read_columns, path, workers, options.progress)
        import_table_builder()
        return trace_of_columns(path, columns.result())


def import_table_builder() -> None:
    """Import what builds the tables. Pandas alone takes as long as parsing a trace of 100 MB, so it
    is imported while the text is parsed.
    """
    import perfscope.traces.kineto.tables  # noqa: F401


def trace_of_columns(path: Path, columns: "FileColumns") -> "Trace":
    """Return the Trace of the columns of a file, of one rank or of several."""
    from perfscope.traces.kineto.merged_ranks import ranks_in_file
    from perfscope.traces.kineto.tables import build_trace

    ranks = ranks_in_file(columns)
    return trace_of_ranks(path, ranks) if ranks else build_trace(path, columns)


def trace_of_ranks(path: Path, ranks: "list[RankColumns]") -> "Trace":
    """Return one Trace of the ranks that were merged into a file."""
    from perfscope.traces.jobs.job import merge_parts
    from perfscope.traces.jobs.recordings import JobParts, MemberTrace
    from perfscope.traces.kineto.tables import build_trace

    traces = [(part.rank, build_trace(path, part.columns)) for part in ranks]
    parts = [MemberTrace(path, True, trace, rank, -1) for rank, trace in traces]
    reason = f"{len(ranks)} ranks were merged into one file"
    return merge_parts(JobParts(parts, assumed=[reason]), path)


def has_cached_tables(path: Path) -> bool:
    """Return whether the cache has a folder for this file."""
    try:
        folder = table_folder(path)
    except OSError:
        return False
    return folder is not None and folder.is_dir()
