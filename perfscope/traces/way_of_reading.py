"""How recordings are read: who hears how far it is, and whether what was read once is kept for the next time."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

READABLE: Final = (
    "perfscope reads traces of the PyTorch profiler (.json, .json.gz), exports of Nsight Systems (.sqlite) "
    "and its own run folders"
)
Heard = Callable[[int, int, int], None]
"""Told (bytes of the file read, bytes of the file, bytes of text unpacked so far)."""


@dataclass(frozen=True)
class Reading:
    """One way of reading."""

    progress: Heard | None = None
    kept: bool = False
    process: int = -1


_ways = [Reading()]


def way() -> Reading:
    """The way of reading now; nobody listens to the processes that read the other files of a job."""
    found = _ways[-1]
    return found if found.process == os.getpid() else Reading(None, found.kept)


@contextmanager
def reading(progress: Heard | None = None, *, kept: bool = False) -> Iterator[None]:
    """Read like this inside the `with`, on all threads."""
    _ways.append(Reading(progress, kept, os.getpid()))
    try:
        yield
    finally:
        _ways.pop()
