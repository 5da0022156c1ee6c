"""A pool of spawned processes that do not import from the working directory.

multiprocessing starts Python with `-c`, which puts the working directory at the head of `sys.path`.
A folder of runs may belong to another user, and a `multiprocessing.py` in it would be executed with
the rights of the reader.
"""

import multiprocessing.util
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, Final

SAFE_FLAG: Final = "-P" if sys.version_info >= (3, 11) else "-I"
"""Keeps the working directory out of `sys.path`. A spawned process gets the path of its parent, so
it finds the same packages also with `-I`.
"""
flags_lock = threading.RLock()


class SafeSpawnProcess(SpawnProcess):
    """A spawned process that does not import from the working directory."""

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        with safe_flags():
            return SpawnProcess._Popen(process_obj)


class SafeSpawnContext(SpawnContext):
    """The context of such processes."""

    Process = SafeSpawnProcess


def spawned_pool(count: int, initializer: Callable[[], None]) -> ProcessPoolExecutor:
    """Return a pool of `count` processes, each of which calls `initializer` first. Raises
    OSError.
    """
    with safe_flags():
        # The queues of the pool need the tracker, a Python process that multiprocessing starts.
        resource_tracker.ensure_running()
    return ProcessPoolExecutor(count, SafeSpawnContext(), initializer)


@contextmanager
def safe_flags() -> Iterator[None]:
    """Add `SAFE_FLAG` to the command of each process that multiprocessing starts meanwhile."""
    util: Any = multiprocessing.util
    with flags_lock:
        original = util._args_from_interpreter_flags
        util._args_from_interpreter_flags = lambda: [SAFE_FLAG, *original()]
        try:
            yield
        finally:
            util._args_from_interpreter_flags = original
