"""Where the members of a job are read side by side: processes of this machine, each reading one file at a time."""

import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from perfscope.errors import PerfscopeError
from perfscope.traces.kineto.file import usable_cores


@contextmanager
def local_processes(paths: Sequence[Path]) -> Iterator[Executor]:
    """An Executor with one process a core, never more than there are files. Raises PerfscopeError when one dies."""
    with ProcessPoolExecutor(max(min(usable_cores(), len(paths)), 1), mp_context=way_to_start()) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise PerfscopeError(
                "a process that read one of the traces was killed, most likely for want of memory; name fewer ranks at once"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def way_to_start() -> "multiprocessing.context.BaseContext":
    """Fork, which has everything imported already; not from a process with threads, whose locks a child would inherit."""
    safe = threading.active_count() == 1 and "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if safe else "spawn")
