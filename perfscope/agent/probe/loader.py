"""Times the data loader: in the training process each wait for a batch, in each worker each fetch of a batch.

The patches sit on torch's classes, so iterators and workers that already run are timed from their next batch on.
"""

import os
import sys
import time
from _thread import get_ident, get_native_id
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

    Pass = tuple[int, int, int, Callable[[], int]]

# What costs a system call is read at most this often: a quick loop's steps and fetches are then a sample, a slow one's are all.
CPU_EVERY_NS = 10_000_000
METERS_EVERY_NS = 5_000_000


def classes() -> list[tuple[Any, str]]:
    """Where the patches go: (owner, attribute), as far as this torch has them."""
    wanted = (
        ("torch.utils.data.dataloader", "_BaseDataLoaderIter", "__next__"),
        ("torch.utils.data.dataloader", "DataLoader", "__iter__"),
        ("torch.utils.data._utils.fetch", "_MapDatasetFetcher", "fetch"),
        ("torch.utils.data._utils.fetch", "_IterableDatasetFetcher", "fetch"),
    )
    found = []
    for module, owner, name in wanted:
        here = getattr(sys.modules.get(module), owner, None)
        if here is not None and name in vars(here):
            found.append((here, name))
    return found


def claimed(probe: "Probe", inherited: "Callable[[Any, str], Probe | None]") -> str | None:
    """Take out what a fork brought along; name the agent that is already here."""
    for owner, name in classes():
        other = inherited(owner, name)
        if other is not None and other.pid != probe.pid:
            other.forked(stay=False)
        elif other is not None and not other.leaving:
            return f"another perfscope (agent pid {other.config['listener']['pid']}) is attached"
    return None


def counter(iterator: Any) -> "Callable[[], int]":
    """A function that says how many batches are ready now, -1 where that cannot be told: cheap and without a lock."""
    queue = getattr(iterator, "_data_queue", None)
    inner = getattr(queue, "queue", None)
    ask = inner.__len__ if inner is not None else getattr(queue, "qsize", None)
    try:
        if ask is not None:
            ask()
            return ask  # type: ignore[no-any-return]
    except NotImplementedError:  # macOS has no such semaphore
        pass
    return lambda: -1


def number(value: Any) -> int | None:
    """A plain int or nothing: whatever a user's object holds, it must go through JSON."""
    return value if type(value) is int else None


def describe(probe: "Probe", iterator: Any) -> "Pass":
    """(iterator code, loader code, workers, how to ask for ready batches) of one pass over a loader, told to the agent once."""
    sampler = getattr(iterator, "_index_sampler", None)
    workers = int(getattr(iterator, "_num_workers", 0) or 0)
    dataset = type(getattr(iterator, "_dataset", None)).__name__
    loader = probe.code(("loader", id(sampler)), "loader", dataset, workers=workers)
    code = probe.code(
        ("pass", next(probe.passes)),
        "iterator",
        type(iterator).__name__,
        loader=loader,
        workers=workers,
        worker_pids=[w.pid for w in getattr(iterator, "_workers", ())],
        batch_size=number(getattr(sampler, "batch_size", None)),
        prefetch_factor=number(getattr(iterator, "_prefetch_factor", None)),
        pin_memory=bool(getattr(iterator, "_pin_memory", False)),
        persistent=bool(getattr(iterator, "_persistent_workers", False)),
    )
    return code, loader, workers, counter(iterator)


def install(probe: "Probe") -> None:
    passes: dict[int, Pass] = {}
    for owner, name in classes():
        original = vars(owner)[name]
        if name == "__next__":
            probe.swap(owner, name, timed_next(probe, original, passes))
        elif name == "__iter__":
            probe.swap(owner, name, timed_iter(probe, original, passes))
        else:
            probe.swap(owner, name, timed_fetch(probe, original))


def timed_next(probe: "Probe", original: "Callable[[Any], Any]", passes: "dict[int, Pass]") -> Any:
    kind, put, live = probe.kinds["NEXT"], probe.records.append, probe.live
    now, cpu, ident, tids, own = time.monotonic_ns, time.thread_time_ns, get_ident, probe.tids, get_native_id
    known, read_ns = passes.get, [0]

    def __next__(self: Any) -> Any:
        if not live[0]:
            probe.forked()
            return original(self)
        here = known(id(self)) or passes.setdefault(id(self), describe(probe, self))
        depth, before = here[3](), -1
        first = now()
        if first - read_ns[0] > CPU_EVERY_NS:
            read_ns[0], before = first, cpu()
        try:
            batch = original(self)
        except StopIteration:
            took, after = now() - first, cpu() if before >= 0 else -1
            put((kind, tids.get(ident()) or own(), first, took, *here[:3], depth, 1, before, after, -1))
            passes.pop(id(self), None)
            raise
        took, after = now() - first, cpu() if before >= 0 else -1
        put((kind, tids.get(ident()) or own(), first, took, *here[:3], depth, 0, before, after, -1))
        return batch

    return __next__


def timed_iter(probe: "Probe", original: "Callable[[Any], Any]", passes: "dict[int, Pass]") -> Any:
    kind, put, live = probe.kinds["LOADER_START"], probe.records.append, probe.live
    now, ident, tids = time.monotonic_ns, get_ident, probe.tids

    def __iter__(self: Any) -> Any:
        if not live[0]:
            probe.forked()
            return original(self)
        first = now()
        iterator = original(self)
        took = now() - first
        passes[id(iterator)] = entry = describe(probe, iterator)
        *codes, _ = entry
        put((kind, tids.get(ident()) or get_native_id(), first, took, *codes, -1, -1, -1, -1, -1))
        return iterator

    return __iter__


class Meters:
    """Run-queue delay, block reads and major faults of the calling thread's process."""

    def __init__(self, probe: "Probe") -> None:
        self.closed = False
        self.files: dict[int, int] = {}
        self.io = self.open("/proc/self/io")
        self.read_ns = 0
        probe.undo.append(self.close)

    def open(self, path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return -1

    def close(self) -> None:
        self.closed = True
        files, self.files, io, self.io = self.files, {}, self.io, -1
        for file in (*files.values(), io):
            if file >= 0:
                os.close(file)

    def read(self, tid: int) -> tuple[int, int, int]:
        """(run_delay_ns, read_bytes, major_faults), -1 where not to be had."""
        if self.closed:  # a fetch that outlived us must not open anything again
            return -1, -1, -1
        file = self.files.get(tid)
        if file is None:
            file = self.files[tid] = self.open(f"/proc/self/task/{tid}/schedstat")
        try:
            delay = int(os.pread(file, 64, 0).split()[1])
        except (OSError, IndexError, ValueError):
            delay = -1
        try:
            read = int(os.pread(self.io, 256, 0).split()[9])
        except (OSError, IndexError, ValueError):
            read = -1
        return delay, read, getrusage(RUSAGE_SELF).ru_majflt


def grown(before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[int, int, int]:
    """What each meter moved; -1 where it could not be read."""
    moved = [end - begin if begin >= 0 and end >= 0 else -1 for begin, end in zip(before, after)]  # noqa: B905  runs on 3.9
    return moved[0], moved[1], moved[2]


def timed_fetch(probe: "Probe", original: "Callable[..., Any]") -> Any:
    kind, put, live, meters = probe.kinds["FETCH"], probe.records.append, probe.live, Meters(probe)
    now, cpu, ident, tids = time.monotonic_ns, time.thread_time_ns, get_ident, probe.tids
    info = getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None)
    worker = int(getattr(info, "id", -1))
    last = [0]

    def fetch(self: Any, possibly_batched_index: Any) -> Any:
        if not live[0]:
            probe.forked()
            return original(self, possibly_batched_index)
        collate, tid, spans = self.collate_fn, tids.get(ident()) or get_native_id(), [0, 0]

        def collate_timed(data: Any) -> Any:
            spans[0] = now()
            batch = collate(data)
            spans[1] = now()
            return batch

        first = now()
        before = None
        if first - last[0] > METERS_EVERY_NS:
            last[0], before = first, meters.read(tid)
        first_cpu = cpu()
        self.collate_fn = collate_timed
        try:
            batch = original(self, possibly_batched_index)
        finally:
            self.collate_fn = collate
        end, end_cpu = now(), cpu()
        more = grown(before, meters.read(tid)) if before is not None else (-1, -1, -1)
        collated = spans[1] - spans[0]
        samples = len(possibly_batched_index) if hasattr(possibly_batched_index, "__len__") else -1
        took, cpu_took = end - first, end_cpu - first_cpu
        put((kind, tid, first, took, worker, took - collated, collated, cpu_took, *more, samples))
        return batch

    return fetch


class Trial:
    """Stands for an iterator and for a fetcher whose work is nothing: what remains is the price of the record."""

    collate_fn = staticmethod(lambda data: data)

    def next(self) -> None:
        return None

    def fetch(self, index: Any) -> Any:
        return self.collate_fn(index)


def trials(probe: "Probe") -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """(timed, original, arguments) of what happens once a batch here."""
    one = Trial()
    if getattr(sys.modules.get("torch.utils.data._utils.worker"), "_worker_info", None) is not None:
        return [(timed_fetch(probe, Trial.fetch), Trial.fetch, (one, ()))]
    return [(timed_next(probe, Trial.next, {id(one): (0, 0, 0, lambda: 0)}), Trial.next, (one,))]
