"""Where the members of a job are read side by side on this machine.

By threads where the compiled reader lets go of the interpreter: nothing has to be started, and no
table travels. By processes where Python itself parses, and for very much on many cores: the tables
of each file are made by Python either way.
"""

import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from perfscope.errors import PerfscopeError
from perfscope.traces.kineto import compiled_part
from perfscope.traces.kineto.file import estimated_bytes, usable_cores
from perfscope.traces.reading_options import Heard, one_of, read_here, way

MOST_THREADS: Final = 4
"""About a quarter of what a file takes holds the interpreter: more threads than this wait for each
other.
"""
WORTH_PROCESSES: Final = 1 << 30
"""Bytes of text from which on processes of their own pay, where there are cores for more of them
than threads.
"""


def side_by_side(paths: Sequence[Path]) -> AbstractContextManager[Executor]:
    """The Executor that suits these files and this machine."""
    many = usable_cores() > MOST_THREADS and sum(map(text_bytes, paths)) > WORTH_PROCESSES
    return local_threads(paths) if compiled_part.is_there() and not many else local_processes(paths)


def text_bytes(path: Path) -> int:
    return estimated_bytes(path) if path.is_file() else 0


@contextmanager
def local_threads(paths: Sequence[Path]) -> Iterator[Executor]:
    """An Executor with a thread a core, never more than there are files; each parses by itself."""
    count = max(min(usable_cores(), len(paths), MOST_THREADS), 1)
    pool = Threads(
        count, way().progress, sum(path.stat().st_size for path in paths if path.is_file())
    )
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Threads(ThreadPoolExecutor):
    """Tells `heard` the sums over all the files that its tasks read."""

    def __init__(self, count: int, heard: Heard | None, whole_bytes: int) -> None:
        super().__init__(count, "perfscope-member")
        self.count, self.heard, self.whole_bytes = count, heard, whole_bytes
        self.lock, self.done_bytes, self.text_bytes = threading.Lock(), 0, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        return super().submit(self.one, fn, *args, **kwargs)

    def one(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Runs on a thread: one file, told of from its begin."""
        read_here(one_of(self.count, self.teller() if self.heard is not None else None))
        return fn(*args, **kwargs)

    def teller(self) -> Heard:
        before = [0, 0]

        def tell(done_bytes: int, _: int, text_bytes: int) -> None:
            with self.lock:
                self.done_bytes += done_bytes - before[0]
                self.text_bytes += text_bytes - before[1]
                before[:] = [done_bytes, text_bytes]
                if self.heard is not None:
                    self.heard(self.done_bytes, self.whole_bytes, self.text_bytes)

        return tell


@contextmanager
def local_processes(paths: Sequence[Path]) -> Iterator[Executor]:
    """An Executor with one process a core, never more than there are files. Raises PerfscopeError
    when one dies.
    """
    with ProcessPoolExecutor(
        max(min(usable_cores(), len(paths)), 1), mp_context=way_to_start()
    ) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise PerfscopeError(
                "a process that read one of the traces was killed, most likely for want of memory;"
                " name fewer ranks at once"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def way_to_start() -> "multiprocessing.context.BaseContext":
    """Fork, which has everything imported already; not from a process with threads, whose locks a
    child would inherit.
    """
    safe = threading.active_count() == 1 and "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if safe else "spawn")
