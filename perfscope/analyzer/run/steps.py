"""Steps: one period of the outer loop of each training or serving process."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.run.outer_loop import (
    NO_LOOP,
    Batches,
    Loop,
    anchor,
    between,
    by_loader,
    evaluations,
    every_nth,
    trained,
)
from perfscope.analyzer.run.table_access import column, of_category, rows_of, table
from perfscope.analyzer.run.trace_steps import traced_steps
from perfscope.analyzer.run.units import units
from perfscope.analyzer.run.warm_up import warm_up
from perfscope.traces.intervals import EMPTY, Ints, Spans, covered, inside, merged
from perfscope.traces.trace import Trace

COLUMNS = (
    "process",
    "rank",
    "index",
    "ts",
    "dur",
    "phase",
    "micro_steps",
    "distorted",
    "tid",
    "cut",
)
# Fewer periods than this from the loader while the optimizer shows more: the loader is not the
# outer loop (a replay buffer filled once, then many updates).
FEW_PERIODS = 3
STEADY = ("train", "inference")


def steps(trace: Trace) -> pd.DataFrame:
    """Every whole step of every process that trains or serves, in order of process and time.

    Columns: those of table `steps` (process, rank, index, ts ns, dur ns, phase, micro_steps
    batches, distorted), and `tid` (the thread whose loop it is) and `cut` (ns of evaluation inside
    [ts, ts + dur + cut) that do not belong to the step: `dur` is without them). Periods cut off by
    the ends of the recording are no steps. Empty without probe tables.
    """
    if trace.has_profiled_work:
        frame = traced_steps(trace)
        return frame[list(COLUMNS)] if len(frame) else nothing()
    parts = []
    for process, rank in trainers(trace):
        loader, ranges = rows_of(trace, "loader", process), rows_of(trace, "ranges", process)
        part = process_steps(loader, ranges)
        if len(part):
            parts.append(part.assign(process=process, rank=rank))
    if not parts:
        return nothing()
    return beside_windows(pd.concat(parts, ignore_index=True)[list(COLUMNS)], trace)


def steady(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that times are told from: training or inference, not warm-up, not disturbed by
    us.
    """
    return rows[rows["phase"].isin(STEADY) & ~rows["distorted"]]


def steady_steps(trace: Trace) -> pd.DataFrame:
    """Those rows of `steps`."""
    return steady(trace.fact(steps))


def beside_windows(frame: pd.DataFrame, trace: Trace) -> pd.DataFrame:
    """The steps with `distorted` set for those in a window of torch's profiler and the one on
    either side of it.
    """
    windows = table(trace, "windows")
    if windows is None:
        return frame
    process, begin = column(frame, "process"), column(frame, "ts")
    end = begin + column(frame, "dur") + column(frame, "cut")
    distorted = frame["distorted"].to_numpy(bool).copy()
    columns = (column(windows, name) for name in ("process", "ts", "dur"))
    for code, first, dur in zip(*columns, strict=True):
        touched = np.flatnonzero((process == code) & (end >= first) & (begin <= first + dur))
        if len(touched):
            near = np.arange(max(touched[0] - 1, 0), min(touched[-1] + 2, len(frame)))
            distorted[near[process[near] == code]] = True
    return frame.assign(distorted=distorted)


def nothing() -> pd.DataFrame:
    """No steps."""
    return pd.DataFrame({name: pd.Series(dtype="int64") for name in COLUMNS}).astype(
        {"phase": "str"}
    )


def trainers(trace: Trace) -> list[tuple[int, int]]:
    """(process, rank) of each process that trains or serves: it has module calls, optimizer steps
    or loader waits.
    """
    if trace.has_profiled_work:
        return list(dict.fromkeys((unit.process, unit.rank) for unit in units(trace)))
    seen: set[int] = set()
    for name in ("loader", "ranges"):
        frame = table(trace, name)
        if frame is not None:
            seen.update(int(code) for code in frame["process"].unique())
    processes = table(trace, "processes")
    if processes is None:
        return [(code, 0) for code in sorted(seen)]
    mains = processes[(processes["role"] == "main") | (processes["role"] == "other")]
    rows = [
        (int(p), max(int(r), 0))
        for p, r in zip(mains["process"], mains["rank"], strict=True)
        if int(p) in seen
    ]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def busiest(tids: Ints) -> int:
    """The most frequent value, -1 of none."""
    values, counts = np.unique(tids, return_counts=True)
    return int(values[np.argmax(counts)]) if len(values) else -1


def training_tid(loader: pd.DataFrame | None, ranges: pd.DataFrame | None) -> int:
    """The thread whose loop is timed: it calls backward, else the optimizer, else the loader, else
    the modules.

    A loader asked from another thread (one that prefetches) does not keep this one waiting.
    """
    for frame in (
        of_category(ranges, "backward"),
        of_category(ranges, "optimizer", "scaler"),
        loader,
        of_category(ranges, "forward"),
    ):
        tid = busiest(column(frame, "tid"))
        if tid >= 0:
            return tid
    return -1


def batches_of(loader: pd.DataFrame | None, tid: int) -> Batches:
    """The loader rows of one thread."""
    rows = None if loader is None else loader[loader["tid"] == tid]
    ts = column(rows, "ts")
    kind = np.array([], str) if rows is None else rows["kind"].to_numpy(str)
    return Batches(
        ts,
        ts + column(rows, "dur"),
        column(rows, "iterator"),
        column(rows, "loader"),
        kind == "start",
        column(rows, "end") == 1,
    )


def process_steps(loader: pd.DataFrame | None, ranges: pd.DataFrame | None) -> pd.DataFrame:
    """The steps of one process from its rows of `loader` and `ranges`, sorted by time (no process
    or rank column yet).
    """
    said = of_category(ranges, "step")
    if len(column(said, "ts")) > FEW_PERIODS:
        return _said(said, loader, ranges)
    tid = training_tid(loader, ranges)
    batches = batches_of(loader, tid)
    updates = column(of_category(ranges, "optimizer", "scaler"), "ts")
    backward = of_category(ranges, "backward")
    marks = updates if len(updates) else column(backward, "ts") + column(backward, "dur")
    if len(marks):
        return _training(tid, batches, ranges, marks)
    delivered = batches.end[~batches.start & ~batches.last]
    if len(delivered) >= FEW_PERIODS:
        loop = by_loader(batches, delivered, EMPTY, delivered)
        return _frame(
            tid,
            loop,
            "inference",
            _counted(loop, batches.ts[~batches.start & ~batches.last]),
            batches,
            ranges,
        )
    return _calls(of_category(ranges, "forward"), ranges)


def _said(
    said: pd.DataFrame | None, loader: pd.DataFrame | None, ranges: pd.DataFrame | None
) -> pd.DataFrame:
    """Where the program says itself that a step ends (`scope.step()`): from one such moment to the
    next.
    """
    tid = busiest(column(said, "tid"))
    ts, tids = column(said, "ts"), column(said, "tid")
    ends = np.sort(ts[tids == tid])
    batches = batches_of(loader, tid)
    loop = Loop(ends[:-1], ends[1:])
    trains = len(column(of_category(ranges, "optimizer", "scaler", "backward"), "ts"))
    micro_steps = np.maximum(_counted(loop, batches.ts[~batches.start & ~batches.last]), 1)
    return _frame(tid, loop, "train" if trains else "inference", micro_steps, batches, ranges)


def _training(tid: int, batches: Batches, ranges: pd.DataFrame | None, marks: Ints) -> pd.DataFrame:
    forward, backward = of_category(ranges, "forward"), of_category(ranges, "backward")
    starts, flags = column(forward, "ts"), column(forward, "value")
    ends = starts + column(forward, "dur")
    feeds = trained(batches, np.sort(np.concatenate((marks, column(backward, "ts")))))
    work = np.concatenate((starts[flags != 0], column(backward, "ts")))
    feeding = batches.where(feeds)
    runs, single = evaluations(
        batches.where(~feeds), np.sort(np.concatenate((feeding.ts, work))), ends[flags == 0]
    )
    if not len(runs[0]):
        runs, single = evaluation_calls(forward, np.sort(np.concatenate((work, marks))))
    loop = by_loader(feeding, marks, runs, work) if len(feeding) else NO_LOOP
    if len(loop.begin) < FEW_PERIODS:
        anchored = between(_anchors(ranges, marks), marks, runs, work)
        loop = anchored if len(anchored.begin) > FEW_PERIODS * len(loop.begin) else loop
    batch_ts = feeding.ts[~feeding.start & ~feeding.last]
    counted = _counted(loop, batch_ts if len(batch_ts) else column(backward, "ts"))
    train = _frame(tid, loop, "train", counted, feeding, ranges)
    evaluation = _frame(
        tid, Loop(*single), "eval", np.ones(len(single[0]), np.int64), batches, None
    )
    if not len(evaluation):
        return train
    both = pd.concat([train, evaluation], ignore_index=True).sort_values(
        "ts", kind="stable", ignore_index=True
    )
    return both.assign(index=np.arange(len(both)))


def _anchors(ranges: pd.DataFrame | None, marks: Ints) -> Ints:
    """Ends of what closes an iteration when no loader shows it."""
    optimizers, scalers = of_category(ranges, "optimizer"), of_category(ranges, "scaler")
    ts, ends = column(optimizers, "ts"), column(optimizers, "ts") + column(optimizers, "dur")
    scaled = column(scalers, "ts") + column(scalers, "dur")
    if len(scaled):  # a scaler's step happens also when the optimizer is skipped
        within = inside(merged((column(scalers, "ts"), scaled)), ts)
        return every_nth(np.sort(scaled), len(np.unique(column(optimizers, "object")[within])))
    if not len(ts):
        return marks
    order = np.argsort(ends, kind="stable")
    return anchor(ends[order], column(optimizers, "object")[order], last=True)


def evaluation_calls(forward: pd.DataFrame | None, trains: Ints) -> tuple[Spans, Spans]:
    """Evaluation loops that no PyTorch loader shows: two or more calls in evaluation mode of a
    module that is also trained.

    A frozen teacher is only ever called in evaluation mode, so it does not count. Returns (runs,
    single calls), ns.
    """
    objects, flags = column(forward, "object"), column(forward, "value")
    quiet = (flags == 0) & np.isin(objects, np.unique(objects[flags == 1]))
    if not quiet.any():
        return EMPTY, EMPTY
    ts = column(forward, "ts")[quiet]
    ends = ts + column(forward, "dur")[quiet]
    _, group, size = np.unique(np.searchsorted(trains, ts), return_inverse=True, return_counts=True)
    several = size[group] >= 2
    ts, ends, group = ts[several], ends[several], group[several]
    if not len(ts):
        return EMPTY, EMPTY
    first = np.concatenate(([True], group[1:] != group[:-1]))
    final = np.concatenate((first[1:], [True]))
    until = np.where(final, ends, np.append(ts[1:], 0))
    return (ts[first], until[final]), (ts, until)


def _calls(forward: pd.DataFrame | None, ranges: pd.DataFrame | None) -> pd.DataFrame:
    """Inference without a loader: from module call to module call, or the calls themselves where
    threads overlap.
    """
    ts, tids = column(forward, "ts"), column(forward, "tid")
    ends = ts + column(forward, "dur")
    no_batches = batches_of(None, -1)
    reach = np.maximum.accumulate(ends) if len(ends) else ends
    overlapping = (ts[1:] < reach[:-1]) & (tids[1:] != tids[:-1])
    if overlapping.any():
        frame = _frame(
            -1, Loop(ts, ends), "inference", np.ones(len(ts), np.int64), no_batches, ranges
        )
        return frame.assign(tid=tids)
    starts = anchor(ts, column(forward, "object"), last=False)
    loop = between(starts, starts, EMPTY, starts)
    frame = _frame(-1, loop, "inference", np.ones(len(loop.begin), np.int64), no_batches, ranges)
    return frame.assign(tid=tids[np.searchsorted(ts, loop.begin)])


def _counted(loop: Loop, ts: Ints) -> Ints:
    """How many of `ts` (sorted) fall in each step."""
    return np.searchsorted(ts, loop.end) - np.searchsorted(ts, loop.begin)


def _frame(
    tid: int,
    loop: Loop,
    phase: str,
    micro_steps: Ints,
    batches: Batches,
    ranges: pd.DataFrame | None,
) -> pd.DataFrame:
    """The steps as rows; warm-up is recognised where the phase repeats."""
    cut = covered(merged(loop.cut), loop.begin, loop.end)
    dur = loop.end - loop.begin - cut
    rare = column(of_category(ranges, "checkpoint"), "ts")
    own = np.sort(np.concatenate((batches.ts[batches.start], rare)))
    warm = warm_up(dur, _counted(loop, own) > 0) if phase != "eval" else np.zeros(len(dur), bool)
    distorted: NDArray[np.bool_] = np.zeros(len(dur), bool)
    frame = pd.DataFrame(
        {
            "ts": loop.begin,
            "dur": dur,
            "micro_steps": micro_steps,
            "distorted": distorted,
            "cut": cut,
        }
    )
    return frame.assign(phase=np.where(warm, "warmup", phase), index=np.arange(len(dur)), tid=tid)
