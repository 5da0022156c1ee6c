"""Times the data loader: each wait for a batch in the training process, each fetch in a worker.

The patches are on torch's classes, so iterators and workers that already run are timed from their
next batch on. No code of the user runs for this (samplers, datasets and indices may be of any
class): only the attributes of torch's own objects and the lengths of plain lists are read.
"""

import os
import sys
import time
import weakref
from _thread import get_ident, get_native_id
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfscope.agent.probe.core import InstalledProbe

MODULES: "dict[str, Any]" = globals().get("MODULES", {})  # the probe's other files, set before

# What costs a system call is read at most this often. The values of a fast loop are then a sample.
CPU_EVERY_NS = 10_000_000
METERS_EVERY_NS = 5_000_000
# Fields that follow the name in these files of /proc (proc(5)). The module `resource` would do, but
# would stay imported in the program.
RUN_DELAY_FIELD, READ_BYTES_FIELD, MAJOR_FAULTS_FIELD = 1, 9, 9
SIZED = (list, tuple, range)
ITERABLE = 1
"""torch's number for an iterable dataset, in `_dataset_kind`."""
UNKNOWN_METERS = (-1, -1, -1)


def patched_methods() -> "list[tuple[Any, str]]":
    """Return (owner, name) of each method to patch that this torch has."""
    wanted = (
        ("torch.utils.data.dataloader", "_BaseDataLoaderIter", "__next__"),
        ("torch.utils.data.dataloader", "DataLoader", "__iter__"),
        ("torch.utils.data._utils.fetch", "_MapDatasetFetcher", "fetch"),
        ("torch.utils.data._utils.fetch", "_IterableDatasetFetcher", "fetch"),
    )
    found = []
    for module, class_name, name in wanted:
        owner = getattr(sys.modules.get(module), class_name, None)
        if owner is not None and name in vars(owner):
            found.append((owner, name))
    return found


def install(probe: "InstalledProbe") -> None:
    """Patch the loader's methods."""
    passes = Passes(probe)
    probe.ticks.append(passes.forget_ended)
    makers = {"__next__": timed_next, "__iter__": timed_iter, "fetch": timed_fetch}
    for owner, name in patched_methods():
        wrapper = makers[name](probe, vars(owner)[name], passes)
        probe.patches.put(owner, name, wrapper)


def attribute_of(thing: Any, name: str) -> Any:
    """Return an attribute from the object's own dict, None if there is none.

    No property and no `__getattr__` of its class runs.
    """
    try:
        return object.__getattribute__(thing, "__dict__").get(name)
    except AttributeError:  # it has __slots__
        return None


def plain_int(value: Any) -> "int | None":
    """Return a plain int, None for anything else, which might not be valid in JSON."""
    return value if type(value) is int else None


class Passes:
    """The passes over loaders that are under way.

    Each is known by its iterator, which is not kept alive.
    """

    def __init__(self, probe: "InstalledProbe") -> None:
        self.probe = probe
        self.known: dict[int, tuple[Any, tuple[int, int, int], Callable[[Any], int]]] = {}

    def get(self, iterator: Any) -> "tuple[tuple[int, int, int], Callable[[Any], int]]":
        """Return ((iterator code, loader code, workers), function that counts ready batches)."""
        known = self.known.get(id(iterator))
        if known is None or known[0]() is not iterator:
            codes, count_ready = self.register(iterator), ready_counter(iterator)
            known = self.known[id(iterator)] = (weakref.ref(iterator), codes, count_ready)
        return known[1], known[2]

    def forget_ended(self, now_ns: int) -> None:
        """Forget the passes whose iterator is gone, for example after `next(iter(loader))`."""
        for key, (iterator, *_) in tuple(self.known.items()):
            if iterator() is None and self.known.get(key, (None,))[0] is iterator:
                self.known.pop(key, None)

    def register(self, iterator: Any) -> "tuple[int, int, int]":
        """Describe a new pass to the agent; return (iterator code, loader code, workers)."""
        sampler = attribute_of(iterator, "_index_sampler")
        workers = plain_int(attribute_of(iterator, "_num_workers")) or 0
        dataset = type(attribute_of(iterator, "_dataset")).__name__
        processes = [
            attribute_of(worker, "_popen") for worker in attribute_of(iterator, "_workers") or ()
        ]
        register_name = self.probe.register_name
        loader = register_name(("loader", id(sampler)), "loader", dataset, workers=workers)
        code = register_name(
            ("pass", next(self.probe.passes)),
            "iterator",
            type(iterator).__name__,
            loader=loader,
            workers=workers,
            worker_pids=[plain_int(attribute_of(process, "pid")) for process in processes],
            batch_size=plain_int(attribute_of(sampler, "batch_size")),
            prefetch_factor=plain_int(attribute_of(iterator, "_prefetch_factor")),
            pin_memory=attribute_of(iterator, "_pin_memory") is True,
            persistent=attribute_of(iterator, "_persistent_workers") is True,
            iterable=attribute_of(iterator, "_dataset_kind") == ITERABLE,
        )
        return code, loader, workers


def ready_counter(iterator: Any) -> "Callable[[Any], int]":
    """Return a function that counts the ready batches of an iterator, cheaply and without a lock.

    It returns -1 if the number is unknown.
    """
    queue = attribute_of(iterator, "_data_queue")
    if type(queue).__module__ not in (
        "queue",
        "multiprocessing.queues",
        "torch.multiprocessing.queue",
    ):
        return lambda iterator: -1
    if attribute_of(queue, "queue") is not None:
        return lambda iterator: len(iterator._data_queue.queue)
    try:
        queue.qsize()
    except NotImplementedError:  # macOS has no such semaphore
        return lambda iterator: -1
    return lambda iterator: iterator._data_queue.qsize()


def timed_next(probe: "InstalledProbe", original: "Callable[[Any], Any]", passes: Passes) -> Any:
    """Return `__next__` of an iterator with a record of each wait for a batch."""
    kind, put, get_pass = probe.kinds["NEXT"], probe.records.append, passes.get
    now, cpu, ident, tids = time.monotonic_ns, time.thread_time_ns, get_ident, probe.tids
    native_id = get_native_id
    loaded = probe.loaded
    cpu_read_ns = [0]
    device_times = MODULES["device_times"]
    timer, waits = device_times.timer_of(probe), device_times.LOADER_WAIT

    def begin(args: Any, kwargs: Any) -> Any:
        codes, count_ready = get_pass(args[0])
        on_device = None if timer.pool is None else timer.begin(waits, now())
        depth, cpu_before, first = count_ready(args[0]), -1, now()
        if first - cpu_read_ns[0] > CPU_EVERY_NS:
            cpu_read_ns[0], cpu_before = first, cpu()
        return first, codes, depth, cpu_before, on_device

    def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
        first, codes, depth, cpu_before, on_device = begun
        took, cpu_after = now() - first, cpu() if cpu_before >= 0 else -1
        tid = tids.get(ident()) or native_id()
        if on_device is not None:
            timer.end(waits, on_device, tid, first, took)
        if raised is None or issubclass(raised, StopIteration):
            is_end = 0 if raised is None else 1
            put((kind, tid, first, took, *codes, depth, is_end, cpu_before, cpu_after, -1))
        if raised is None:
            for look in loaded:
                look(answer)

    return probe.wrap(original, begin, end)


def timed_iter(probe: "InstalledProbe", original: "Callable[[Any], Any]", passes: Passes) -> Any:
    """Return `__iter__` of a loader with a record of each iterator that it makes."""
    kind, put, get_pass = probe.kinds["LOADER_START"], probe.records.append, passes.get
    iterators = getattr(sys.modules["torch.utils.data.dataloader"], "_BaseDataLoaderIter", None)
    now, ident, tids = time.monotonic_ns, get_ident, probe.tids

    def begin(args: Any, kwargs: Any) -> int:
        return now()

    def end(begun: int, args: Any, answer: Any, raised: Any) -> None:
        if iterators not in type(answer).__mro__:
            return  # a loader class of the program may return anything
        took = now() - begun
        # With persistent workers it is the same iterator as in the last pass.
        passes.known.pop(id(answer), None)
        codes, _ = get_pass(answer)
        tid = tids.get(ident()) or get_native_id()
        put((kind, tid, begun, took, *codes, -1, -1, -1, -1, -1))

    return probe.wrap(original, begin, end)


class Meters:
    """Run-queue delay, bytes read and major faults of the calling thread's process."""

    def __init__(self, probe: "InstalledProbe") -> None:
        self.closed = False
        self.schedstats: dict[int, Any] = {}
        self.io = self.open("/proc/self/io")
        self.stat = self.open("/proc/self/stat")
        probe.undo.append(self.close)

    def open(self, path: str) -> Any:
        """Open a file that is closed when the probe leaves; None if that is not possible."""
        try:
            return MODULES["process_state"].OwnFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None

    def close(self) -> None:
        """Close all files."""
        self.closed = True
        schedstats, self.schedstats = self.schedstats, {}
        for file in (*schedstats.values(), self.io, self.stat):
            if file is not None:
                file.close()

    def read(self, tid: int) -> "tuple[int, int, int]":
        """Return (run_delay_ns, read_bytes, major_faults), -1 for each that cannot be read."""
        if self.closed:  # a fetch that ends after the probe has left must not open files again
            return UNKNOWN_METERS
        if tid not in self.schedstats:
            self.schedstats[tid] = self.open(f"/proc/self/task/{tid}/schedstat")
        delay = self.field(self.schedstats[tid], RUN_DELAY_FIELD)
        read = self.field(self.io, READ_BYTES_FIELD)
        return delay, read, self.field(self.stat, MAJOR_FAULTS_FIELD)

    def field(self, file: Any, place: int) -> int:
        """Return a number of a file, counted after a name in brackets if there is one, or -1."""
        if file is None:
            return -1
        try:
            after_name = os.pread(file.number, 512, 0).rpartition(b")")[2]
            return int(after_name.split()[place])
        except (OSError, IndexError, ValueError):
            return -1


def meter_growth(
    before: "tuple[int, int, int]", after: "tuple[int, int, int]"
) -> "tuple[int, int, int]":
    """Return by how much each meter grew; -1 if it could not be read."""
    grown = [
        end - begin if begin >= 0 and end >= 0 else -1
        for begin, end in zip(before, after)  # noqa: B905  runs on 3.8
    ]
    return grown[0], grown[1], grown[2]


def timed_fetch(
    probe: "InstalledProbe", original: "Callable[..., Any]", passes: "Passes | None" = None
) -> Any:
    """Return `fetch` of a fetcher with a record of each batch that it makes."""
    kind, put, meters = probe.kinds["FETCH"], probe.records.append, Meters(probe)
    now, cpu, ident, tids = time.monotonic_ns, time.thread_time_ns, get_ident, probe.tids
    worker: int = getattr(MODULES["process_state"].worker_info(), "id", -1)
    meters_read_ns = [0]
    collate_ns: dict[int, int] = {}

    def begin(args: Any, kwargs: Any) -> Any:
        thread = ident()
        tid, first, before = tids.get(thread) or get_native_id(), now(), None
        if first - meters_read_ns[0] > METERS_EVERY_NS:
            meters_read_ns[0], before = first, meters.read(tid)
        return thread, tid, first, before, cpu()

    def end(begun: Any, args: Any, answer: Any, raised: Any) -> None:
        thread, tid, first, before, first_cpu = begun
        took, cpu_took = now() - first, cpu() - first_cpu
        collate = collate_ns.pop(thread, 0)
        if raised is not None:
            return
        growth = UNKNOWN_METERS if before is None else meter_growth(before, meters.read(tid))
        samples = len(args[1]) if len(args) > 1 and type(args[1]) in SIZED else -1
        put((kind, tid, first, took, worker, took - collate, collate, cpu_took, *growth, samples))

    return probe.wrap(with_timed_collate(probe, original, collate_ns), begin, end)


def with_timed_collate(
    probe: "InstalledProbe", original: "Callable[..., Any]", collate_ns: "dict[int, int]"
) -> "Callable[..., Any]":
    """Return `fetch` of a fetcher, which puts the time of its collate function into `collate_ns`.

    The keys are threads. The program's fetcher is not changed: a copy with another collate function
    does the work.
    """
    now, ident = time.monotonic_ns, get_ident

    def copy_fetcher(fetcher: Any) -> Any:
        copy = object.__new__(type(fetcher))
        vars(copy).update(vars(fetcher))
        collate = fetcher.collate_fn

        def timed_collate(data: Any) -> Any:
            first = now()
            batch = collate(data)
            collate_ns[ident()] = now() - first
            return batch

        copy.collate_fn = timed_collate
        return copy

    def copy_back(copy: Any, fetcher: Any) -> None:
        """Copy what the work has changed: whether an iterable dataset has ended."""
        if "ended" in vars(copy):
            fetcher.ended = copy.ended

    copy_fetcher = probe.guard.guarded("fetch", copy_fetcher)
    copy_back = probe.guard.guarded("fetch", copy_back)

    def fetch(fetcher: Any, *args: Any, **kwargs: Any) -> Any:
        copy = copy_fetcher(fetcher)
        if copy is None:
            return original(fetcher, *args, **kwargs)
        try:
            return original(copy, *args, **kwargs)
        finally:
            copy_back(copy, fetcher)

    MODULES["patches"].copy_function_names(fetch, original)
    return fetch


class EmptyLoader:
    """An iterator and a fetcher that do nothing, so that only the cost of a record is measured."""

    collate_fn = staticmethod(lambda data: data)

    def next(self) -> None:
        return None

    def fetch(self, index: Any) -> Any:
        return self.collate_fn(index)


def prepare_cost_trials(
    probe: "InstalledProbe",
) -> "list[tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]]":
    """Return (timed, original, arguments) of what happens once per batch in this process."""
    loader, passes = EmptyLoader(), Passes(probe)
    if MODULES["process_state"].in_worker():
        timed = timed_fetch(probe, EmptyLoader.fetch)
        return [(timed, EmptyLoader.fetch, (loader, ()))]
    passes.known[id(loader)] = (lambda: loader, (0, 0, 0), lambda _: 0)
    return [(timed_next(probe, EmptyLoader.next, passes), EmptyLoader.next, (loader,))]
