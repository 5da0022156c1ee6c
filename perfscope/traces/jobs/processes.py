"""Reads the members of a job in parallel on this machine.

Threads are used where the compiled reader is installed: it releases the GIL while it parses,
nothing has to be started, and no table has to be pickled. Processes are used where Python itself
parses, and for large jobs on many cores, because building the tables of a file always holds the
GIL.
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
from perfscope.traces.kineto import compiled_parser
from perfscope.traces.kineto.file import available_cores, estimated_bytes
from perfscope.traces.pool_process import end_with_parent
from perfscope.traces.reading_options import (
    ProgressCallback,
    options_for_one_of,
    reading_options,
    set_thread_options,
)
from perfscope.traces.spawned_pool import spawned_pool

MOST_THREADS: Final = 4
"""About a quarter of the time that a file takes holds the GIL: with more threads than this they
wait for each other.
"""
WORTH_PROCESSES: Final = 1 << 30
"""Bytes of text. Above this, processes are faster than threads where there are more cores than
MOST_THREADS.
"""


def open_local_executor(paths: Sequence[Path]) -> AbstractContextManager[Executor]:
    """Return the Executor that suits these files and this machine."""
    has_spare_cores = available_cores() > MOST_THREADS
    is_large = sum(map(text_bytes, paths)) > WORTH_PROCESSES
    if compiled_parser.is_available() and not (has_spare_cores and is_large):
        return local_threads(paths)
    return local_processes(paths)


def text_bytes(path: Path) -> int:
    """Return about how many bytes of text a file holds; 0 for a folder."""
    return estimated_bytes(path) if path.is_file() else 0


@contextmanager
def local_threads(paths: Sequence[Path]) -> Iterator[Executor]:
    """Yield an Executor with a thread per core, and at most one per file."""
    thread_count = max(min(available_cores(), len(paths), MOST_THREADS), 1)
    all_bytes = sum(path.stat().st_size for path in paths if path.is_file())
    pool = ReadingThreads(thread_count, reading_options().progress, all_bytes)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class ReadingThreads(ThreadPoolExecutor):
    """Threads that read one file each and report the progress of all files together."""

    def __init__(
        self, thread_count: int, progress: ProgressCallback | None, all_bytes: int
    ) -> None:
        super().__init__(thread_count, "perfscope-member")
        self.thread_count, self.progress, self.all_bytes = thread_count, progress, all_bytes
        self.lock, self.done_bytes, self.text_bytes = threading.Lock(), 0, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run `fn` on one of the threads."""
        return super().submit(self.run_on_thread, fn, *args, **kwargs)

    def run_on_thread(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Read one file with the options of one of several files."""
        progress = self.progress_of_one_file() if self.progress is not None else None
        set_thread_options(options_for_one_of(self.thread_count, progress))
        return fn(*args, **kwargs)

    def progress_of_one_file(self) -> ProgressCallback:
        """Return a callback for one file, which reports the sums over all files."""
        reported_bytes = [0, 0]

        def report(done_bytes: int, _: int, text_bytes: int) -> None:
            with self.lock:
                self.done_bytes += done_bytes - reported_bytes[0]
                self.text_bytes += text_bytes - reported_bytes[1]
                reported_bytes[:] = [done_bytes, text_bytes]
                if self.progress is not None:
                    self.progress(self.done_bytes, self.all_bytes, self.text_bytes)

        return report


@contextmanager
def local_processes(paths: Sequence[Path]) -> Iterator[Executor]:
    """Yield an Executor with a process per core, and at most one per file.

    Raises PerfscopeError when one of the processes is killed.
    """
    count = max(min(available_cores(), len(paths)), 1)
    with process_pool(count) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise PerfscopeError(
                "a process that was reading one of the traces was killed, most likely because the"
                " machine ran out of memory. Analyze fewer ranks at once."
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def process_pool(count: int) -> ProcessPoolExecutor:
    """Return a pool of forked processes, where every module is imported already, or of spawned ones
    in a process with threads, whose locks a forked child would inherit.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    if can_fork and threading.active_count() == 1:
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(count, context, end_with_parent)
    return spawned_pool(count, end_with_parent)
