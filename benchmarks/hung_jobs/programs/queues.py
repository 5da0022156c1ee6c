"""Jobs that wait for a queue, a pool or a task that does not get on."""

import multiprocessing
import queue
import sys
import threading
import time
from concurrent.futures import Future

from steps import announce, train

VARIANT = sys.argv[1]
LONG_S = 1000.0


def produce(batches: "queue.Queue[int]") -> None:
    for number in range(5):
        batches.put(number)
    raise SystemExit


def transform(number: int) -> int:
    if number == 3:
        time.sleep(LONG_S)  # hangs: task-of-a-pool
    return number


def from_thread() -> None:
    batches: queue.Queue[int] = queue.Queue()
    threading.Thread(target=produce, args=(batches,), daemon=True).start()
    announce()
    while True:
        batches.get()  # hangs: producer-thread-ended
        train(1)


def from_process() -> None:
    batches: multiprocessing.Queue[int] = multiprocessing.Queue()
    multiprocessing.Process(target=produce, args=(batches,), daemon=True).start()
    announce()
    while True:
        batches.get()  # hangs: producer-process-ended
        train(1)


def into_full_queue() -> None:
    results: queue.Queue[int] = queue.Queue(maxsize=5)
    announce()
    while True:
        train(1)
        results.put(1)  # hangs: full-queue


def from_pool() -> None:
    with multiprocessing.Pool(2) as pool:
        announce()
        pool.map(transform, range(8))  # hangs: task-of-a-pool


def from_future() -> None:
    announce()
    Future[int]().result()  # hangs: future-without-result


train()
{
    "producer-thread-ended": from_thread,
    "producer-process-ended": from_process,
    "full-queue": into_full_queue,
    "task-of-a-pool": from_pool,
    "future-without-result": from_future,
}[VARIANT]()
