"""Jobs that wait for a lock that nobody releases."""

import fcntl
import multiprocessing
import os
import sys
import tempfile
import threading
import time

import torch
from steps import announce, train
from torch.utils.data import DataLoader, Dataset

VARIANT = sys.argv[1]
FIRST, SECOND = threading.Lock(), threading.Lock()
SHARED = multiprocessing.Lock()
LOCK_FILE = tempfile.mkstemp()[1]
PAUSE_S = 0.5


class Cached(Dataset[torch.Tensor]):
    """Samples that are read under a lock."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> torch.Tensor:
        if VARIANT == "lock-of-killed-worker" and index == 0:
            SHARED.acquire()
            os._exit(0)
        if VARIANT == "lock-held-at-fork":
            with FIRST:  # hangs: lock-held-at-fork
                return torch.randn(16)
        return torch.randn(16)


def log_metrics() -> None:
    with SECOND:
        time.sleep(PAUSE_S)
        with FIRST:  # hangs: lock-order
            pass


def write_checkpoint() -> None:
    with FIRST:
        time.sleep(PAUSE_S)
        with SECOND:  # hangs: lock-order
            pass


def lock_twice() -> None:
    with FIRST:
        announce()
        FIRST.acquire()  # hangs: same-lock-twice


def wait_for_ended_thread() -> None:
    thread = threading.Thread(target=FIRST.acquire)
    thread.start()
    thread.join()
    announce()
    FIRST.acquire()  # hangs: lock-of-ended-thread


def lock_file() -> None:
    if os.fork() == 0:
        holder = os.open(LOCK_FILE, os.O_WRONLY)
        os.set_inheritable(holder, True)
        fcntl.flock(holder, fcntl.LOCK_EX)
        os.execlp("sleep", "sleep", "1000")
    time.sleep(PAUSE_S)
    announce()
    with open(LOCK_FILE, "w") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)  # hangs: lock-file


train()
if VARIANT == "lock-order":
    threading.Thread(target=log_metrics, daemon=True).start()
    announce()
    write_checkpoint()
elif VARIANT == "same-lock-twice":
    lock_twice()
elif VARIANT == "lock-of-ended-thread":
    wait_for_ended_thread()
elif VARIANT == "lock-file":
    lock_file()
else:
    FIRST.acquire()
    announce()
    for _ in DataLoader(Cached(), batch_size=4, num_workers=2):
        train(1)
