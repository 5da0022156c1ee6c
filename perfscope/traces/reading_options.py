"""Options of reading that do not fit into the arguments of a reader: who is informed of the
progress, and whether tables are cached.

`reading(...)` sets them for a `with` block. A thread that reads one of several files has options of
its own.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

ProgressCallback = Callable[[int, int, int], None]
"""Called with (bytes of the file read, bytes of the file, bytes of uncompressed text so far)."""
NO_PROCESS: Final = -1


@dataclass(frozen=True)
class ReadingOptions:
    """How traces are read."""

    progress: ProgressCallback | None = None
    use_cache: bool = False
    """Whether the tables of large traces are cached, and read from the cache."""
    process: int = NO_PROCESS
    """The process that set the options. In a child of it nobody is informed of the progress."""
    files_at_once: int = 1
    """How many files are read at the same time, each with its share of the cores."""


_options_of_process = [ReadingOptions()]
_options_of_thread = threading.local()


def reading_options() -> ReadingOptions:
    """Return the options that apply to the calling thread."""
    of_thread: ReadingOptions | None = getattr(_options_of_thread, "options", None)
    options = of_thread or _options_of_process[-1]
    if options.process == os.getpid():
        return options
    return ReadingOptions(use_cache=options.use_cache)


@contextmanager
def reading(progress: ProgressCallback | None = None, *, use_cache: bool = False) -> Iterator[None]:
    """Apply these options inside the `with` block, on all threads."""
    _options_of_process.append(ReadingOptions(progress, use_cache, os.getpid()))
    try:
        yield
    finally:
        _options_of_process.pop()


def options_for_one_of(files_at_once: int, progress: ProgressCallback | None) -> ReadingOptions:
    """Return the options for one of several files that are read at the same time."""
    return replace(
        reading_options(), progress=progress, process=os.getpid(), files_at_once=files_at_once
    )


def set_thread_options(options: ReadingOptions) -> None:
    """Apply these options to everything that the calling thread reads from now on."""
    _options_of_thread.options = options
