"""Steps: one period of the outer loop of each training or serving process."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.loops.outer_loop import (
    NO_LOOP,
    Batches,
    Loop,
    anchor,
    evaluations,
    every_nth,
    loop_of_loader,
    steps_between,
    training_iterator_rows,
)
from perfscope.analyzer.run.loops.trace_steps import traced_steps
from perfscope.analyzer.run.loops.warm_up import warm_up
from perfscope.analyzer.run.phases.evaluating_calls import EVALUATION, flags_of_calls
from perfscope.analyzer.run.table_access import column, rows_of, rows_of_category, table
from perfscope.analyzer.run.thread_intervals import busiest_tid
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
FEW_PERIODS = 3
"""With fewer periods from the loader while the optimizer shows more, the loader is not the outer
loop (a replay buffer filled once, then many updates).
"""
UPDATES_PER_CALL = 4
"""Updates of the weights per evaluation, from which on a single call is one."""
STEADY = ("train", "inference")


def steps(trace: Trace) -> pd.DataFrame:
    """Return every whole step of every process that trains or serves, by process and time.

    Columns: those of table `steps` (process, rank, index, ts ns, dur ns, phase, micro_steps
    batches, distorted), and `tid` (the thread whose loop it is) and `cut` (ns of evaluation inside
    [ts, ts + dur + cut) that do not belong to the step: `dur` is without them). Periods cut off by
    the ends of the recording are not steps. Empty without probe tables.
    """
    if trace.has_profiled_work:
        frame = traced_steps(trace)
        return frame[list(COLUMNS)] if len(frame) else no_steps()
    parts = []
    for process, rank in trainers(trace):
        loader, ranges = rows_of(trace, "loader", process), rows_of(trace, "ranges", process)
        part = process_steps(loader, ranges, samples_of_threads(trace, process))
        if len(part):
            parts.append(part.assign(process=process, rank=rank))
    if not parts:
        return no_steps()
    return mark_distorted_steps(pd.concat(parts, ignore_index=True)[list(COLUMNS)], trace)


def steady(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that times are measured on.

    They are training or inference, not warm-up, and not in or next to a profiling window.
    """
    return rows[rows["phase"].isin(STEADY) & ~rows["distorted"]]


def steady_steps(trace: Trace) -> pd.DataFrame:
    """Return the steady rows of `steps`."""
    return steady(trace.fact(steps))


def mark_distorted_steps(frame: pd.DataFrame, trace: Trace) -> pd.DataFrame:
    """Return the steps with `distorted` set for those in a profiling window and its neighbors."""
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


def no_steps() -> pd.DataFrame:
    """Return the columns without rows."""
    columns = {name: pd.Series(dtype="int64") for name in COLUMNS}
    return pd.DataFrame(columns).astype({"phase": "str"})


def trainers(trace: Trace) -> list[tuple[int, int]]:
    """Return process and rank of each process that trains or serves.

    It has module calls, optimizer steps or loader waits. Python collects garbage in any process.
    """
    if trace.has_profiled_work:
        return list(dict.fromkeys((unit.process, unit.rank) for unit in units(trace)))
    seen: set[int] = set()
    for name in ("loader", "ranges"):
        frame = table(trace, name)
        if frame is not None and name == "ranges":
            frame = frame[frame["category"] != "gc"]
        if frame is not None:
            seen.update(int(code) for code in frame["process"].unique())
    processes = table(trace, "processes")
    if processes is None:
        return [(code, 0) for code in sorted(seen)]
    mains = processes[(processes["role"] == "main") | (processes["role"] == "other")]
    ranks = zip(mains["process"], mains["rank"], strict=True)
    rows = [(int(code), max(int(rank), 0)) for code, rank in ranks if int(code) in seen]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def training_tid(loader: pd.DataFrame | None, ranges: pd.DataFrame | None) -> int:
    """Return the thread whose loop is timed, -1 for none.

    It calls backward, else the optimizer, else the loader, else the modules. A loader asked from
    another thread (one that prefetches) does not keep this one waiting.
    """
    for frame in (
        rows_of_category(ranges, "backward"),
        rows_of_category(ranges, "optimizer", "scaler"),
        loader,
        rows_of_category(ranges, "forward"),
    ):
        tid = busiest_tid(column(frame, "tid"))
        if tid >= 0:
            return tid
    return -1


def batches_of(loader: pd.DataFrame | None, tid: int) -> Batches:
    """Return the loader calls of one thread."""
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


def samples_of_threads(trace: Trace, process: int) -> pd.DataFrame | None:
    """Return the stack samples of a process from outside, else those of the probe."""
    outside = rows_of(trace, "outside_stacks", process)
    return outside if outside is not None else rows_of(trace, "stacks", process)


def process_steps(
    loader: pd.DataFrame | None, ranges: pd.DataFrame | None, stacks: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return the steps of one process from its rows of `loader` and `ranges`, sorted by time.

    Without the columns process and rank. `stacks` are samples of its threads.
    """
    marked = rows_of_category(ranges, "step")
    if len(column(marked, "ts")) > FEW_PERIODS:
        return steps_at_marks(marked, loader, ranges)
    tid = training_tid(loader, ranges)
    batches = batches_of(loader, tid)
    updates = column(rows_of_category(ranges, "optimizer", "scaler"), "ts")
    backward = rows_of_category(ranges, "backward")
    marks = updates if len(updates) else column(backward, "ts") + column(backward, "dur")
    if len(marks):
        stacks = None if stacks is None else stacks[column(stacks, "tid") == tid]
        flags = flags_of_calls(rows_of_category(ranges, "forward"), stacks)
        return training_steps(LoopFrame(tid, batches, ranges), marks, flags)
    delivered = batches.end[~batches.start & ~batches.last]
    if len(delivered) >= FEW_PERIODS:
        loop = loop_of_loader(batches, delivered, EMPTY, delivered)
        micro_steps = count_per_step(loop, batches.ts[~batches.start & ~batches.last])
        return LoopFrame(tid, batches, ranges).of(loop, "inference", micro_steps)
    return calls_as_steps(rows_of_category(ranges, "forward"), ranges)


@dataclass(frozen=True)
class LoopFrame:
    """The thread of a loop, and the calls that explain long steps."""

    tid: int
    batches: Batches
    ranges: pd.DataFrame | None

    def of(self, loop: Loop, phase: str, micro_steps: Ints) -> pd.DataFrame:
        """Return the steps of `loop` as rows; warm-up is recognized where the phase repeats."""
        cut = covered(merged(loop.cut), loop.begin, loop.end)
        # In a damaged recording a step may end before it begins.
        dur = np.maximum(loop.end - loop.begin - cut, 0)
        warm = np.zeros(len(dur), bool)
        if phase != "eval":
            writes = column(rows_of_category(self.ranges, "checkpoint"), "ts")
            starts = self.batches.ts[self.batches.start]
            explaining = np.sort(np.concatenate((starts, writes)))
            warm = warm_up(dur, count_per_step(loop, explaining) > 0)
        return pd.DataFrame(
            {
                "ts": loop.begin,
                "dur": dur,
                "micro_steps": micro_steps,
                "distorted": np.zeros(len(dur), bool),
                "cut": cut,
                "phase": np.where(warm, "warmup", phase),
                "index": np.arange(len(dur)),
                "tid": self.tid,
            }
        )


def steps_at_marks(
    marked: pd.DataFrame | None, loader: pd.DataFrame | None, ranges: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the steps that the program marks itself (`scope.step()`), from mark to mark."""
    tid = busiest_tid(column(marked, "tid"))
    ts, tids = column(marked, "ts"), column(marked, "tid")
    ends = np.sort(ts[tids == tid])
    batches = batches_of(loader, tid)
    loop = Loop(ends[:-1], ends[1:])
    trains = len(column(rows_of_category(ranges, "optimizer", "scaler", "backward"), "ts"))
    batch_ts = batches.ts[~batches.start & ~batches.last]
    micro_steps = np.maximum(count_per_step(loop, batch_ts), 1)
    phase = "train" if trains else "inference"
    return LoopFrame(tid, batches, ranges).of(loop, phase, micro_steps)


def training_steps(frame: LoopFrame, marks: Ints, flags: Ints) -> pd.DataFrame:
    """Return the steps of a loop that trains, and its evaluations as steps of their own.

    `marks` are the times of optimizer or scaler steps, else the ends of backward; `flags` are those
    of the calls of modules.
    """
    tid, batches, ranges = frame.tid, frame.batches, frame.ranges
    forward, backward = rows_of_category(ranges, "forward"), rows_of_category(ranges, "backward")
    starts = column(forward, "ts")
    ends = starts + column(forward, "dur")
    feeds = training_iterator_rows(
        batches, np.sort(np.concatenate((marks, column(backward, "ts"))))
    )
    work = np.concatenate((starts[flags != EVALUATION], column(backward, "ts")))
    feeding = batches.where(feeds)
    runs, single = evaluations(
        batches.where(~feeds),
        np.sort(np.concatenate((feeding.ts, work))),
        ends[flags == EVALUATION],
    )
    if not len(runs[0]):
        trains = np.sort(np.concatenate((work, marks)))
        runs, single = evaluation_calls(forward, flags, trains, len(marks))
    loop = loop_of_loader(feeding, marks, runs, work) if len(feeding) else NO_LOOP
    if len(loop.begin) < FEW_PERIODS:
        anchored = steps_between(iteration_ends(ranges, marks), marks, runs, work)
        loop = anchored if len(anchored.begin) > FEW_PERIODS * len(loop.begin) else loop
    batch_ts = feeding.ts[~feeding.start & ~feeding.last]
    micro_steps = count_per_step(loop, batch_ts if len(batch_ts) else column(backward, "ts"))
    train = LoopFrame(tid, feeding, ranges).of(loop, "train", micro_steps)
    ones = np.ones(len(single[0]), np.int64)
    evaluation = LoopFrame(tid, batches, None).of(Loop(*single), "eval", ones)
    if not len(evaluation):
        return train
    both = pd.concat([train, evaluation], ignore_index=True)
    both = both.sort_values("ts", kind="stable", ignore_index=True)
    return both.assign(index=np.arange(len(both)))


def iteration_ends(ranges: pd.DataFrame | None, marks: Ints) -> Ints:
    """Return the ends of iterations by optimizers and scalers, for loops without a loader."""
    optimizers, scalers = rows_of_category(ranges, "optimizer"), rows_of_category(ranges, "scaler")
    ts, ends = column(optimizers, "ts"), column(optimizers, "ts") + column(optimizers, "dur")
    scaled = column(scalers, "ts") + column(scalers, "dur")
    if len(scaled):  # a scaler's step happens also when the optimizer is skipped
        within = inside(merged((column(scalers, "ts"), scaled)), ts)
        return every_nth(np.sort(scaled), len(np.unique(column(optimizers, "object")[within])))
    if not len(ts):
        return marks
    order = np.argsort(ends, kind="stable")
    order = order[last_of_backward(ends[order], column(rows_of_category(ranges, "backward"), "ts"))]
    return anchor(ends[order], column(optimizers, "object")[order], last=True)


def last_of_backward(ends: Ints, backward: Ints) -> "np.typing.NDArray[np.bool_]":
    """Return which optimizer steps (ends, in order) are the last after the begin of a backward.

    One iteration may call an optimizer for each group of parameters (DeepSpeed), or in backward for
    each parameter (optimizers that run in hooks). All of them where no backward was recorded.
    """
    if not len(backward):
        return np.ones(len(ends), bool)
    begun = np.searchsorted(np.sort(backward), ends)
    last: np.typing.NDArray[np.bool_] = np.append(begun[1:] != begun[:-1], True)
    return last


def evaluation_calls(
    forward: pd.DataFrame | None, flags: Ints, trains: Ints, updates: int
) -> tuple[Spans, Spans]:
    """Return evaluation loops without a PyTorch loader, and their single calls, ns.

    A loop is two or more calls in evaluation mode of a module that is also trained. A frozen
    teacher is called in evaluation mode only, so it does not count. A single call is a loop where
    such calls are much rarer than the `updates` of the weights: an agent acts before each of them.
    """
    objects = column(forward, "object")
    quiet = (flags == EVALUATION) & np.isin(objects, np.unique(objects[flags == 1]))
    if not quiet.any():
        return EMPTY, EMPTY
    ts = column(forward, "ts")[quiet]
    ends = ts + column(forward, "dur")[quiet]
    _, group, size = np.unique(np.searchsorted(trains, ts), return_inverse=True, return_counts=True)
    several = size[group] >= (1 if UPDATES_PER_CALL * len(size) <= updates else 2)
    ts, ends, group = ts[several], ends[several], group[several]
    if not len(ts):
        return EMPTY, EMPTY
    first = np.concatenate(([True], group[1:] != group[:-1]))
    final = np.concatenate((first[1:], [True]))
    until = np.where(final, ends, np.append(ts[1:], 0))
    return (ts[first], until[final]), (ts, until)


def calls_as_steps(forward: pd.DataFrame | None, ranges: pd.DataFrame | None) -> pd.DataFrame:
    """Return the steps of inference without a loader: from module call to module call.

    Where threads overlap, the calls themselves.
    """
    ts, tids = column(forward, "ts"), column(forward, "tid")
    ends = ts + column(forward, "dur")
    frame_of = LoopFrame(-1, batches_of(None, -1), ranges).of
    reach = np.maximum.accumulate(ends) if len(ends) else ends
    overlapping = (ts[1:] < reach[:-1]) & (tids[1:] != tids[:-1])
    if overlapping.any():
        frame = frame_of(Loop(ts, ends), "inference", np.ones(len(ts), np.int64))
        return frame.assign(tid=tids)
    starts = anchor(ts, column(forward, "object"), last=False)
    loop = steps_between(starts, starts, EMPTY, starts)
    frame = frame_of(loop, "inference", np.ones(len(loop.begin), np.int64))
    return frame.assign(tid=tids[np.searchsorted(ts, loop.begin)])


def count_per_step(loop: Loop, ts: Ints) -> Ints:
    """Return how many of `ts` (sorted) are in each step."""
    return np.searchsorted(ts, loop.end) - np.searchsorted(ts, loop.begin)
