"""What every process of a pool does first."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess


def end_with_parent() -> None:
    """End this process when the one that started it ends, even by SIGKILL.

    A pool cannot tell its processes to end then: they would wait for work forever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(
            target=end_after, args=(parent,), name="perfscope-parent", daemon=True
        ).start()


def end_after(process: BaseProcess) -> None:
    """Wait for the end of a process, and end this one without further steps."""
    process.join()
    os._exit(1)


def start_pool_process() -> None:
    """End with the parent process, and leave Ctrl-C to it: it gets that too, and ends the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
