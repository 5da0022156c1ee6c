"""How recordings are read: who hears how far it is, and whether what was read once is kept for the
next time.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

READABLE: Final = (
    "perfscope reads traces of the PyTorch profiler (.json, .json.gz), exports of Nsight Systems"
    " (.sqlite) and its own run folders"
)
Heard = Callable[[int, int, int], None]
"""Told (bytes of the file read, bytes of the file, bytes of text unpacked so far)."""


@dataclass(frozen=True)
class Reading:
    """One way of reading; `beside` is how many files are read at once."""

    progress: Heard | None = None
    kept: bool = False
    process: int = -1
    beside: int = 1


_ways = [Reading()]
_of_thread = threading.local()


def way() -> Reading:
    """The way of reading now; nobody listens to the processes that read the other files of a
    job.
    """
    found: Reading = getattr(_of_thread, "way", None) or _ways[-1]
    return found if found.process == os.getpid() else Reading(None, found.kept)


@contextmanager
def reading(progress: Heard | None = None, *, kept: bool = False) -> Iterator[None]:
    """Read like this inside the `with`, on all threads."""
    _ways.append(Reading(progress, kept, os.getpid()))
    try:
        yield
    finally:
        _ways.pop()


def one_of(beside: int, progress: Heard | None) -> Reading:
    """The way of reading one of several files at once."""
    return replace(way(), progress=progress, process=os.getpid(), beside=beside)


def read_here(mine: Reading) -> None:
    """On this thread read like this from now on."""
    _of_thread.way = mine
