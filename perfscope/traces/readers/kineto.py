"""Traces of the PyTorch profiler (Kineto's JSON), packed or not."""

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from perfscope.traces.cache.place import table_folder
from perfscope.traces.kineto.file import estimated_bytes, read_columns, usable_cores
from perfscope.traces.kineto.text import head
from perfscope.traces.reading_options import way

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

WORTH_KEEPING = 24 << 20
"""Bytes of text from which on reading the tables back is clearly faster than reading the trace."""
BEGINS = re.compile(rb"^\s*[\[{]")


def sniff(path: Path) -> bool:
    """Is this a JSON file that may be a trace?"""
    return path.is_file() and (
        path.name.endswith((".json", ".json.gz")) or bool(BEGINS.match(head(path, 64)))
    )


def worth_keeping(path: Path) -> bool:
    """Is it a trace that takes a while to read?"""
    return sniff(path) and estimated_bytes(path) > WORTH_KEEPING


def read(path: Path) -> "Trace":
    """The Trace of one file: one rank. Raises UnreadableRun."""
    keeps = way().kept and worth_keeping(path)
    if keeps and is_kept(path):
        from perfscope.traces.cache.tables import recalled

        again = recalled(path)
        if again is not None:
            return again
    with ThreadPoolExecutor(1, "perfscope-read") as beside:
        workers = max(usable_cores() // way().beside, 1)
        columns = beside.submit(read_columns, path, workers, way().progress)
        # pandas takes as long to import as a trace of 100 MB to parse: both at once.
        from perfscope.traces.kineto.tables import trace_of

        trace = trace_of(path, columns.result())
    give_back()
    if keeps:
        from perfscope.traces.cache.tables import keep

        # Beside whatever comes next; Python does not end before it has ended.
        Thread(target=keep, args=(trace, path), name="perfscope-keep").start()
    return trace


def is_kept(path: Path) -> bool:
    """Return whether the reader's cache has a folder for this trace."""
    try:
        folder = table_folder(path)
    except OSError:
        return False
    return folder is not None and folder.is_dir()


def give_back() -> None:
    """Hand the allocator's free pages back: building the tables leaves three times their size of
    them (glibc only).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
