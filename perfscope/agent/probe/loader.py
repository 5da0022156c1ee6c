"""Times the data loader: in the training process each wait for a batch, in each worker each fetch
of a batch.

The patches sit on torch's classes, so iterators and workers that already run are timed from their
next batch on. Nothing that a user wrote is asked anything (samplers, datasets and indices may be of
any class): only what torch's own objects hold, and the lengths of plain lists.
"""

import os
import sys
import time
import weakref
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import Probe

SHELF: "dict[str, Any]" = globals().get(
    "SHELF", {}
)  # the probe's modules by name; put here before this is run

# What costs a system call is read at most this often: a quick loop's steps and fetches are then a
# sample, a slow one's are all.
CPU_EVERY_NS = 10_000_000
METERS_EVERY_NS = 5_000_000
MAJOR_FAULTS = 9
"""In /proc/PID/stat, counted from behind the name (proc(5): field 12). The module `resource` would
stay in the program.
"""
SIZED = (list, tuple, range)


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


def install(probe: "Probe") -> None:
    passes = Passes(probe)
    probe.ticks.append(passes.forget_ended)
    for owner, name in classes():
        original = vars(owner)[name]
        make = {"__next__": timed_next, "__iter__": timed_iter, "fetch": timed_fetch}[name]
        probe.patches.put(owner, name, make(probe, original, passes))


def held(thing: Any, name: str) -> Any:
    """What an object holds under a name, None where it holds nothing: no property or __getattr__ of
    its class is run for that.
    """
    try:
        return object.__getattribute__(thing, "__dict__").get(name)
    except AttributeError:  # it has __slots__
        return None


def plain(value: Any) -> int | None:
    """A plain int or nothing: whatever a user's object holds, it must go through JSON."""
    return value if type(value) is int else None


class Passes:
    """The passes over loaders that are under way, each known by its iterator, which is not kept
    alive.
    """

    def __init__(self, probe: "Probe") -> None:
        self.probe = probe
        self.known: dict[int, tuple[Any, tuple[int, int, int], Callable[[Any], int]]] = {}

    def of(self, iterator: Any) -> "tuple[tuple[int, int, int], Callable[[Any], int]]":
        """Return (iterator code, loader code, workers), told to the agent once, and what counts the
        ready batches.
        """
        here = self.known.get(id(iterator))
        if here is None or here[0]() is not iterator:
            here = self.known[id(iterator)] = (
                weakref.ref(iterator),
                self.describe(iterator),
                counter(iterator),
            )
        return here[1], here[2]

    def forget_ended(self, now_ns: int) -> None:
        """Forget the passes whose iterator is gone: left by `break`, or by `next(iter(loader))`."""
        for key, (iterator, *_) in tuple(self.known.items()):
            if iterator() is None and self.known.get(key, (None,))[0] is iterator:
                self.known.pop(key, None)

    def describe(self, iterator: Any) -> tuple[int, int, int]:
        sampler = held(iterator, "_index_sampler")
        workers = plain(held(iterator, "_num_workers")) or 0
        dataset = type(held(iterator, "_dataset")).__name__
        loader = self.probe.code(("loader", id(sampler)), "loader", dataset, workers=workers)
        code = self.probe.code(
            ("pass", next(self.probe.passes)),
            "iterator",
            type(iterator).__name__,
            loader=loader,
            workers=workers,
            worker_pids=[
                plain(held(held(worker, "_popen"), "pid"))
                for worker in held(iterator, "_workers") or ()
            ],
            batch_size=plain(held(sampler, "batch_size")),
            prefetch_factor=plain(held(iterator, "_prefetch_factor")),
            pin_memory=held(iterator, "_pin_memory") is True,
            persistent=held(iterator, "_persistent_workers") is True,
        )
        return code, loader, workers


def counter(iterator: Any) -> "Callable[[Any], int]":
    """Return what says how many batches an iterator has ready now, -1 where that cannot be told:
    cheap and without a lock.
    """
    queue = held(iterator, "_data_queue")
    if type(queue).__module__ not in (
        "queue",
        "multiprocessing.queues",
        "torch.multiprocessing.queue",
    ):
        return lambda iterator: -1
    if held(queue, "queue") is not None:
        return lambda iterator: len(iterator._data_queue.queue)
    try:
        queue.qsize()
    except NotImplementedError:  # macOS has no such semaphore
        return lambda iterator: -1
    return lambda iterator: iterator._data_queue.qsize()


def timed_next(probe: "Probe", original: "Callable[[Any], Any]", passes: Passes) -> Any:
    kind, put, known = probe.kinds["NEXT"], probe.records.append, passes.of
    now, cpu, ident, tids, own = (
        time.monotonic_ns,
        time.thread_time_ns,
        get_ident,
        probe.tids,
        get_native_id,
    )
    read_ns = [0]

    def begin(args: Any, kwargs: Any) -> Any:
        codes, ready = known(args[0])
        depth, before, first = ready(args[0]), -1, now()
        if first - read_ns[0] > CPU_EVERY_NS:
            read_ns[0], before = first, cpu()
        return first, codes, depth, before

    def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
        first, codes, depth, before = begun
        took, after = now() - first, cpu() if before >= 0 else -1
        if raised is None or issubclass(raised, StopIteration):
            over = 0 if raised is None else 1
            put(
                (
                    kind,
                    tids.get(ident()) or own(),
                    first,
                    took,
                    *codes,
                    depth,
                    over,
                    before,
                    after,
                    -1,
                )
            )

    return probe.around(original, begin, end)


def timed_iter(probe: "Probe", original: "Callable[[Any], Any]", passes: Passes) -> Any:
    kind, put, known = probe.kinds["LOADER_START"], probe.records.append, passes.of
    iterators = getattr(sys.modules["torch.utils.data.dataloader"], "_BaseDataLoaderIter", None)
    now, ident, tids = time.monotonic_ns, get_ident, probe.tids

    def begin(args: Any, kwargs: Any) -> int:
        return now()

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        if (
            iterators in type(answer).__mro__
        ):  # a loader of the program's own class may give back anything
            took = now() - begun
            passes.known.pop(
                id(answer), None
            )  # persistent workers: the iterator of the last pass again
            codes, _ = known(answer)
            put(
                (
                    kind,
                    tids.get(ident()) or get_native_id(),
                    begun,
                    took,
                    *codes,
                    -1,
                    -1,
                    -1,
                    -1,
                    -1,
                )
            )

    return probe.around(original, begin, end)


class Meters:
    """Run-queue delay, block reads and major faults of the calling thread's process."""

    def __init__(self, probe: "Probe") -> None:
        self.closed = False
        self.files: dict[int, Any] = {}
        self.io = self.open("/proc/self/io")
        self.stat = self.open("/proc/self/stat")
        probe.undo.append(self.close)

    def open(self, path: str) -> Any:
        try:
            return SHELF["presence"].OwnFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None

    def close(self) -> None:
        self.closed = True
        files, self.files = self.files, {}
        for file in (*files.values(), self.io, self.stat):
            if file is not None:
                file.close()

    def read(self, tid: int) -> tuple[int, int, int]:
        """(run_delay_ns, read_bytes, major_faults), -1 where not to be had."""
        if self.closed:  # a fetch that outlived us must not open anything again
            return -1, -1, -1
        if tid not in self.files:
            self.files[tid] = self.open(f"/proc/self/task/{tid}/schedstat")
        delay, read = self.field(self.files[tid], 1), self.field(self.io, 9)
        return delay, read, self.field(self.stat, MAJOR_FAULTS)

    def field(self, file: Any, place: int) -> int:
        """One of the numbers in a file, behind a name in brackets if there is one; -1 where it
        cannot be read.
        """
        if file is None:
            return -1
        try:
            return int(os.pread(file.number, 512, 0).rpartition(b")")[2].split()[place])
        except (OSError, IndexError, ValueError):
            return -1


def grown(before: tuple[int, int, int], after: tuple[int, int, int]) -> tuple[int, int, int]:
    """What each meter moved; -1 where it could not be read."""
    moved = [end - begin if begin >= 0 and end >= 0 else -1 for begin, end in zip(before, after)]  # noqa: B905  runs on 3.9
    return moved[0], moved[1], moved[2]


def timed_fetch(
    probe: "Probe", original: "Callable[..., Any]", passes: "Passes | None" = None
) -> Any:
    kind, put, meters = probe.kinds["FETCH"], probe.records.append, Meters(probe)
    now, cpu, ident, tids = time.monotonic_ns, time.thread_time_ns, get_ident, probe.tids
    worker: int = getattr(SHELF["presence"].worker_info(), "id", -1)
    last = [0]
    collated: dict[int, int] = {}

    def begin(args: Any, kwargs: Any) -> Any:
        here = ident()
        tid, first, before = tids.get(here) or get_native_id(), now(), None
        if first - last[0] > METERS_EVERY_NS:
            last[0], before = first, meters.read(tid)
        return here, tid, first, before, cpu()

    def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
        here, tid, first, before, first_cpu = begun
        took, cpu_took = now() - first, cpu() - first_cpu
        collate = collated.pop(here, 0)
        if raised is None:
            more = grown(before, meters.read(tid)) if before is not None else (-1, -1, -1)
            samples = len(args[1]) if len(args) > 1 and type(args[1]) in SIZED else -1
            put((kind, tid, first, took, worker, took - collate, collate, cpu_took, *more, samples))

    return probe.around(collating(probe, original, collated), begin, end)


def collating(
    probe: "Probe", original: "Callable[..., Any]", collated: "dict[int, int]"
) -> "Callable[..., Any]":
    """Return `original` (a fetcher's `fetch`) with the time that its collate function takes put
    into `collated`, by thread.

    The fetcher is the program's and is not changed: a copy of it that has another collate function
    does its work.
    """
    now, ident = time.monotonic_ns, get_ident

    def copied(fetcher: Any) -> Any:
        copy = object.__new__(type(fetcher))
        vars(copy).update(vars(fetcher))
        collate = fetcher.collate_fn

        def collate_timed(data: Any) -> Any:
            first = now()
            batch = collate(data)
            collated[ident()] = now() - first
            return batch

        copy.collate_fn = collate_timed
        return copy

    def give_back(copy: Any, fetcher: Any) -> None:
        """What the work has changed: that an iterable dataset has come to its end."""
        if "ended" in vars(copy):
            fetcher.ended = copy.ended

    copied, give_back = probe.guard.one("fetch", copied), probe.guard.one("fetch", give_back)

    def fetch(fetcher: Any, *args: Any, **kwargs: Any) -> Any:
        copy = copied(fetcher)
        if copy is None:
            return original(fetcher, *args, **kwargs)
        try:
            return original(copy, *args, **kwargs)
        finally:
            give_back(copy, fetcher)

    SHELF["patches"].named_as(fetch, original)
    return fetch


class Trial:
    """Stands for an iterator and for a fetcher whose work is nothing: what remains is the price of
    the record.
    """

    collate_fn = staticmethod(lambda data: data)

    def next(self) -> None:
        return None

    def fetch(self, index: Any) -> Any:
        return self.collate_fn(index)


def trials(
    probe: "Probe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """(timed, original, arguments) of what happens once a batch here."""
    one, passes = Trial(), Passes(probe)
    if SHELF["presence"].in_worker():
        return [(timed_fetch(probe, Trial.fetch), Trial.fetch, (one, ()))]
    passes.known[id(one)] = (lambda: one, (0, 0, 0), lambda _: 0)
    return [(timed_next(probe, Trial.next, passes), Trial.next, (one,))]
