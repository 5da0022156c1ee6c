"""Recognizes the memory snapshots of PyTorch, which perfscope lists and does not read."""

import os
import shlex
from pathlib import Path
from typing import Final

from perfscope.traces.regular_file import open_regular

SUFFIXES: Final = (".pickle", ".pkl")
HEAD_BYTES: Final = 1 << 12
PICKLE_MARKS: Final = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
"""The first bytes of a pickle."""
SIGNS: Final = (b"segments", b"total_size", b"allocated_size")
"""Keys at the beginning of what `torch.cuda.memory._dump_snapshot` writes."""


def is_memory_snapshot(path: Path) -> bool:
    """Return whether a file begins like a memory snapshot; it is not unpickled."""
    if path.suffix not in SUFFIXES:
        return False
    try:
        with open_regular(path) as file:
            start = os.pread(file.fileno(), HEAD_BYTES, 0)
    except OSError:
        return False
    return start.startswith(PICKLE_MARKS) and all(sign in start for sign in SIGNS)


def snapshot_command(path: Path) -> str:
    """Return the command of PyTorch that makes a page of a snapshot."""
    place = "./" if path.name.startswith("-") else ""
    snapshot, page = shlex.quote(place + path.name), shlex.quote(f"{place}{path.stem}.html")
    return f"python -m torch.cuda._memory_viz trace_plot {snapshot} -o {page}"
