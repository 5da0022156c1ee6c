"""Tracks of threads (nested ranges and operators, Python functions, runtime calls) and of loader
workers.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import (
    COMPUTE_OR_HOST,
    EXPOSED_COPY,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
    SYNC_WAIT,
)
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.timeline.event_rows import nesting_depths
from perfscope.analyzer.timeline.lane import Events, concatenate_events, merge_events
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.track import (
    MOST_ROWS,
    SOURCES,
    Draft,
    events_of,
    has_device,
    is_one_of,
)
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

NVTX, THREAD, CALLS, PYTHON = range(4)
KINDS = ("nvtx", "thread", "calls", "python")
RANGES = (
    (("forward", "backward", "optimizer", "scaler"), COMPUTE_OR_HOST),
    (("checkpoint",), "checkpoint"),
    (("gc",), HOST_BOUND),
    (("sync",), SYNC_WAIT),
    (("overhead",), OTHER_IDLE),
    (("annotation",), "step_0"),
)
"""Categories of ranges and their color; ranges that only name a stretch are neutral."""
DIRECTIONS = {
    "h2d": "host to device",
    "d2h": "device to host",
    "d2d": "device to device",
    "p2p": "device to device",
}
MOST_THREADS = 400
"""The most threads that are shown: those with most events. The rest is counted."""

Pile = tuple[Events, Ints, Ints, int]
"""Events, their process, their thread, and the layer that they are drawn in."""


def step_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Yield the steps of each process, every other step lighter."""
    frame = trace.fact(steps)
    if not len(frame):
        yield from profiler_step_tracks(trace, names)
        return
    whole = frame.assign(dur=frame["dur"] + frame["cut"])
    for process in whole["process"].unique():
        rows = np.flatnonzero((whole["process"] == process).to_numpy(bool))
        numbers, phases = (
            whole["index"].to_numpy(np.int64)[rows],
            whole["phase"].astype(str).to_numpy()[rows],
        )
        code = [
            names.code(
                f"step {number}" + ("" if phase == "train" else f", {phase}"), f"step_{number % 2}"
            )
            for number, phase in zip(numbers.tolist(), phases.tolist(), strict=True)
        ]
        found = merge_events([events_of(whole, "steps", np.array(code, np.int64), rows)])
        yield Draft(
            int(process), (0,), "steps", "steps", [found], tid=int(whole["tid"].iloc[rows[0]])
        )


def profiler_step_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Yield the steps that the profiler marked, where none were derived."""
    ranges = trace.table("ranges")
    if ranges is None:
        return
    marked = is_one_of(ranges["category"], "step")
    for process in ranges["process"][marked].unique():
        rows = np.flatnonzero(marked & (ranges["process"] == process).to_numpy(bool))
        rows = rows[np.argsort(ranges["ts"].to_numpy()[rows], kind="stable")]
        texts = [str(name).replace("ProfilerStep#", "step ") for name in ranges["name"].iloc[rows]]
        code = np.array(
            [names.code(text, f"step_{at % 2}") for at, text in enumerate(texts)], np.int64
        )
        found = merge_events([events_of(ranges, "ranges", code, rows)])
        flat = found.where(
            np.append(found.ts[1:] >= np.maximum.accumulate(found.ts + found.dur)[:-1], True)
        )
        yield Draft(int(process), (0,), "steps", "steps", [flat])


def piles(trace: Trace, names: Names) -> Iterator[Pile]:
    """Yield everything that happened on threads."""
    host = HOST_BOUND if has_device(trace) else COMPUTE_OR_HOST
    yield from operator_piles(trace, names, host)
    yield from range_piles(trace, names)
    loader = trace.table("loader")
    if loader is not None and len(loader):
        kinds = (
            loader["kind"]
            .astype(str)
            .map({"next": "waiting for a batch", "start": "starting the loader"})
        )
        yield pile(loader, "loader", names.of(kinds, INPUT_WAIT), np.arange(len(loader)), THREAD)
    copies = trace.table("copies")
    if copies is not None:
        rows = np.flatnonzero(copies["device"].to_numpy(np.int64) < 0)
        if len(rows):
            words = (
                copies["direction"]
                .iloc[rows]
                .astype(str)
                .map(lambda way: f"copy, {DIRECTIONS.get(way, way)}")
            )
            yield pile(copies, "copies", names.of(words, EXPOSED_COPY), rows, THREAD)


def operator_piles(trace: Trace, names: Names, host: str) -> Iterator[Pile]:
    """Yield operators and runtime calls."""
    ops = trace.table("ops")
    if ops is not None and len(ops):
        yield pile(ops, "ops", names.of(ops["name"], host), np.arange(len(ops)), THREAD)
    launches = trace.table("launches")
    if launches is not None and len(launches):
        waits = is_one_of(launches["kind"], "sync")
        for chosen, color in ((waits, SYNC_WAIT), (~waits, HOST_BOUND)):
            rows = np.flatnonzero(chosen)
            if len(rows):
                yield pile(
                    launches, "launches", names.of(launches["name"].iloc[rows], color), rows, CALLS
                )


def range_piles(trace: Trace, names: Names) -> Iterator[Pile]:
    """Yield ranges, Python functions and NVTX ranges."""
    ranges = trace.table("ranges")
    if ranges is None:
        return
    for categories, color in RANGES:
        rows = np.flatnonzero(is_one_of(ranges["category"], *categories))
        if len(rows):
            fill = "step_0" if color == COMPUTE_OR_HOST and has_device(trace) else color
            yield pile(ranges, "ranges", names.of(ranges["name"].iloc[rows], fill), rows, THREAD)
    for category, color, layer in (("python", "step_1", PYTHON), ("nvtx", "step_0", NVTX)):
        rows = np.flatnonzero(is_one_of(ranges["category"], category))
        if len(rows):
            yield pile(ranges, "ranges", names.of(ranges["name"].iloc[rows], color), rows, layer)


def pile(frame: pd.DataFrame, source: str, code: Ints, rows: Ints, layer: int) -> Pile:
    """Return these rows of a table as events with their threads."""
    process, tid = frame["process"].to_numpy(np.int64)[rows], frame["tid"].to_numpy(np.int64)[rows]
    return events_of(frame, source, code, rows), process, tid, layer


def thread_tracks(trace: Trace, names: Names, parents: dict[int, int]) -> Iterator[Draft]:
    """Yield up to four tracks per thread, NVTX ranges first.

    Of very many threads only those with most events are shown.
    """
    found = list(piles(trace, names))
    if not found:
        return
    events = concatenate_events([pile_[0] for pile_ in found])
    process, tid = (np.concatenate([pile_[at] for pile_ in found]) for at in (1, 2))
    layer = np.concatenate([np.full(len(pile_[0]), pile_[3], np.int64) for pile_ in found])
    threads, thread, counts = np.unique(
        np.stack((process, tid)), axis=1, return_inverse=True, return_counts=True
    )
    thread = np.asarray(thread).reshape(-1)
    busiest = np.argsort(-counts, kind="stable")[:MOST_THREADS]
    kept = np.isin(thread, busiest)
    cut = (
        f"{len(counts) - len(busiest)} more threads with {int((~kept).sum())} events"
        if len(counts) > len(busiest)
        else ""
    )
    place = np.zeros(len(counts), np.int64)
    place[busiest] = np.arange(len(busiest))
    events, layer, rank = events.where(kept), layer[kept], place[thread[kept]]
    main, workers = main_threads(trace), worker_labels(trace)
    for number, of_layer, rows, hidden in split(events, rank * len(KINDS) + layer):
        code, thread_id = (int(value) for value in threads[:, busiest[number]])
        is_main = (code, thread_id) in main
        order: tuple[int, ...] = (2, 0 if is_main else 1, number, of_layer)
        label = thread_name(trace, code, thread_id, main)
        title = layer_title(of_layer, label, is_main=is_main)
        shut, home = of_layer == PYTHON, parents.get(code, code)
        if code in workers:
            order, title = (3, *order), f"{workers[code]}, {title}"
        yield Draft(home, order, KINDS[of_layer], title, rows, hidden, shut, tid=thread_id, cut=cut)
        cut = ""


def layer_title(layer: int, label: str, *, is_main: bool) -> str:
    """Return the title of a track of the thread `label`; those of other threads name it first."""
    if layer in (NVTX, THREAD):
        return f"NVTX, {label}" if layer == NVTX else label
    what = "runtime calls" if layer == CALLS else "Python functions"
    return what if is_main else f"{label}, {what}"


def split(events: Events, track: Ints) -> Iterator[tuple[int, int, list[Events], int]]:
    """Yield thread number, layer, rows by depth, and the count of too deep events, per track."""
    depth = nesting_depths(track, events.ts, events.dur)
    order = np.lexsort((-events.dur, events.ts, depth, track))
    events, track, depth = events.where(order), track[order], depth[order]
    begins = np.flatnonzero(
        np.concatenate(([True], (track[1:] != track[:-1]) | (depth[1:] != depth[:-1])))
    )
    stops = np.append(begins[1:], len(track))
    rows: dict[int, list[Events]] = {}
    hidden: dict[int, int] = {}
    for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True):
        number = int(track[begin])
        if depth[begin] < MOST_ROWS:
            rows.setdefault(number, []).append(events.where(slice_of(begin, stop)))
        else:
            hidden[number] = hidden.get(number, 0) + stop - begin
    for number, found in rows.items():
        yield number // len(KINDS), number % len(KINDS), found, hidden.get(number, 0)


def slice_of(begin: int, stop: int) -> Ints:
    """Return the positions from `begin` up to `stop`."""
    return np.arange(begin, stop)


def main_threads(trace: Trace) -> set[tuple[int, int]]:
    """Return (process, thread) of every main thread: as recorded, or where its id is the pid."""
    found: set[tuple[int, int]] = set()
    threads, processes = trace.table("threads"), trace.table("processes")
    if threads is not None:
        main = threads[threads["main"]]
        found |= set(zip(main["process"].tolist(), main["tid"].tolist(), strict=True))
    if processes is not None:
        found |= set(zip(processes["process"].tolist(), processes["ns_pid"].tolist(), strict=True))
    return found


def worker_labels(trace: Trace) -> dict[int, str]:
    """Return `worker 3` for the process of each loader worker, `loader worker` without a number."""
    processes = trace.table("processes")
    if processes is None:
        return {}
    rows = processes[processes["role"] == "loader-worker"]
    numbers = zip(rows["process"], rows["worker"], strict=True)
    return {
        int(code): f"worker {number}" if number >= 0 else "loader worker"
        for code, number in numbers
    }


def thread_name(trace: Trace, process: int, tid: int, main: set[tuple[int, int]]) -> str:
    """Return `main thread`, the recorded name of a thread, or its number."""
    if (process, tid) in main:
        return "main thread"
    threads = trace.table("threads")
    if threads is not None:
        named = threads[(threads["process"] == process) & (threads["tid"] == tid)]["name"]
        if len(named) and isinstance(named.iloc[0], str) and named.iloc[0]:
            return str(named.iloc[0])
    return f"thread {tid}"


def worker_tracks(trace: Trace, names: Names, parents: dict[int, int]) -> Iterator[Draft]:
    """Yield a track per loader worker: its time in the dataset, then in collate."""
    fetches = trace.table("fetches")
    if fetches is None or not len(fetches):
        return
    dataset, collate = (
        names.code("dataset", "input_dataset"),
        names.code("collate", "input_collate"),
    )
    processes = fetches["process"].to_numpy(np.int64)
    for process in np.unique(processes):
        rows = np.flatnonzero(processes == process)
        worker = int(fetches["worker"].iloc[rows[0]])
        title = f"worker {worker}" if worker >= 0 else "loading in the main thread"
        found = [
            half(fetches, rows, "dataset_ns", dataset, None),
            half(fetches, rows, "collate_ns", collate, "dataset_ns"),
        ]
        events = merge_events(found)
        events = events.where(events.dur > 0)
        home = parents.get(int(process), int(process))
        yield Draft(
            home,
            (3, worker, int(process)),
            "loader",
            title,
            [without_overlap(events)],
            tid=int(process),
        )


def half(fetches: pd.DataFrame, rows: Ints, column: str, code: int, after: str | None) -> Events:
    """Return one half of each fetch as an event."""
    ts = fetches["ts"].to_numpy(np.int64)[rows]
    if after is not None:
        ts = ts + np.maximum(fetches[after].to_numpy(np.int64)[rows], 0)
    dur = np.maximum(fetches[column].to_numpy(np.int64)[rows], 0)
    source = np.full(len(rows), SOURCES.index("fetches"), np.uint8)
    return Events(ts, dur, np.full(len(rows), code, np.int64), source, rows.astype(np.int32))


def without_overlap(events: Events) -> Events:
    """Return the events, each cut where the next begins.

    A worker does one thing at a time, but its clock readings may overlap slightly.
    """
    if not len(events):
        return events
    room = np.append(events.ts[1:], np.iinfo(np.int64).max) - events.ts
    return Events(events.ts, np.minimum(events.dur, room), events.code, events.source, events.row)
