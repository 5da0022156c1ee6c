"""Traces of the PyTorch profiler (Kineto's JSON), packed or not."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from perfscope.traces.kineto.file import read_columns, usable_cores
from perfscope.traces.kineto.text import head

if TYPE_CHECKING:
    from perfscope.traces.trace import Trace

BEGINS = re.compile(rb"^\s*[\[{]")


def sniff(path: Path) -> bool:
    """Is this a JSON file that may be a trace?"""
    return path.is_file() and (path.name.endswith((".json", ".json.gz")) or bool(BEGINS.match(head(path, 64))))


def read(path: Path) -> "Trace":
    """The Trace of one file: one rank. Raises UnreadableRun."""
    with ThreadPoolExecutor(1, "perfscope-read") as beside:
        columns = beside.submit(read_columns, path, usable_cores())
        # pandas takes as long to import as a trace of 100 MB to parse: both at once.
        from perfscope.traces.kineto.tables import trace_of

        return trace_of(path, columns.result())
