"""What every device did at every instant between the first and last event of its process."""

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.cpu_kinds import cpu_kinds
from perfscope.analyzer.budget.idle_intervals import Idle, idle
from perfscope.analyzer.budget.thread_work import Calls, thread_work
from perfscope.analyzer.categories import (
    CATEGORY_IDS,
    CHECKPOINT,
    HOST_BOUND,
    INPUT_WAIT,
    OTHER_IDLE,
    PROFILER_OVERHEAD,
    SYNC_WAIT,
)
from perfscope.analyzer.run.accelerators.device_activity import activity, rows_on_device
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.accelerators.other_devices import busy_elsewhere
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.process_rows import fact_rows
from perfscope.analyzer.run.table_access import column, recording_of
from perfscope.traces.intervals import (
    Ints,
    Spans,
    inside,
    intersected,
    labeled_intervals,
    merged,
    single_interval,
    subtracted,
)
from perfscope.traces.trace import Trace

CATEGORY = pd.CategoricalDtype(list(CATEGORY_IDS))
CODES = {name: code for code, name in enumerate(CATEGORY_IDS)}
COLUMNS = ("process", "device", "rank", "ts", "dur", "category", "tid", "launch", "call")
CLOCKS_NS = 2_000
"""Host and device clocks of a trace match to about this: a call that returns so little before the
device's work ended still waited for it.
"""
LAUNCH_NS = 100_000
"""A kernel that starts this long after its launch call returned was delayed by the device, not by
the launch (HTA calls launch delays from 100 us on unusual; an idle device starts a kernel within
about 10).
"""


@dataclass(frozen=True)
class UnitPieces:
    """The time of one unit or of several in pieces: a value for each in every field.

    `code` is that of the category; the last three are those of `whole_segments`.
    """

    begin: Ints
    end: Ints
    code: Ints
    tid: Ints
    launch: Ints
    call: Ints

    def rows(self, order: Ints) -> "UnitPieces":
        """Return these pieces in this order."""
        return UnitPieces(*(getattr(self, field.name)[order] for field in fields(self)))


@dataclass(frozen=True)
class GapsOfThread:
    """Gaps of a device that the launches of one thread ended: begin, end, that launch's row.

    `ready` is when the next work had been launched, so that the device itself made it wait.
    """

    begin: Ints
    end: Ints
    launch: Ints
    ready: Ints


def segments(trace: Trace) -> pd.DataFrame:
    """Return the pieces of `whole_segments` in which the device's work is known.

    What is before its first and after its last work is left out, and where kernels were lost.
    """
    pieces = trace.fact(whole_segments)
    cuts = []
    for unit in units(trace):
        of_unit = rows_on_device(fact_rows(trace, whole_segments, unit.process), unit.device)
        ts, known = column(of_unit, "ts"), observed_time(trace, unit).spans
        row, begin, dur = cut_to(ts, ts + column(of_unit, "dur"), known)
        cuts.append((of_unit.index.to_numpy()[row], begin, dur))
    if not cuts:
        return pieces
    row, begin, dur = (np.concatenate(parts) for parts in zip(*cuts, strict=True))
    return pieces.iloc[row].assign(ts=begin, dur=dur).reset_index(drop=True)


def cut_to(ts: Ints, end: Ints, spans: Spans) -> tuple[Ints, Ints, Ints]:
    """Return row, begin and length of each part of pieces (in order of time) that is within sorted,
    disjoint spans.
    """
    edges = np.unique(np.concatenate(spans))
    first_edge = np.searchsorted(edges, ts, side="right")
    count = np.searchsorted(edges, end, side="left") - first_edge + 1
    row = np.repeat(np.arange(len(ts)), count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    edge = np.append(edges, 0)[np.minimum(first_edge[row] + number, len(edges))]
    is_last = number == count[row] - 1
    until = np.where(is_last, end[row], edge)
    begin = np.where(number == 0, ts[row], np.append(0, until[:-1]))
    within = inside(spans, begin)
    return row[within], begin[within], (until - begin)[within]


def whole_segments(trace: Trace) -> pd.DataFrame:
    """Return the time of every unit in pieces that do not overlap and leave nothing out.

    In order of rank and time. Columns: process, device (-1: the CPU), rank, ts and dur (int64 ns),
    category (of the time budget); for idle pieces also `tid` (the thread that launched what came
    next), `launch` (row of `launches` that did, -1 unknown) and `call` (row of `launches`: the
    synchronizing call that drained the device, for sync-wait inside and after it), else -1.

    Idle time is attributed by what the thread that launches the next work did meanwhile; the first
    that applies counts:

    - other-idle: the work had been launched, so the device itself made it wait. It waits for
      another stream, device or peer, or runs what is not in the trace.
    - profiler-overhead: the profiler's thread_gaps work.
    - checkpoint: writing checkpoints.
    - input-wait: waiting for the loader.
    - other-idle: a synchronizing call, while another device of the process is busy.
    - sync-wait: a call that waited for the device, and all from its return to the next work.
    - host-bound: anything else the thread did since its first recorded event.
    - other-idle: the rest.
    """
    found = units(trace)
    if not found:
        return pd.DataFrame(columns=list(COLUMNS)).astype({"category": CATEGORY})
    parts = [pieces_of_unit(trace, unit) for unit in found]
    count = [len(part.begin) for part in parts]
    pieces = joined_pieces(parts)
    columns = {
        **{
            name: np.repeat(np.array([getattr(unit, name) for unit in found], np.int64), count)
            for name in ("process", "device", "rank")
        },
        "ts": pieces.begin,
        "dur": pieces.end - pieces.begin,
        "category": pd.Categorical.from_codes(pieces.code, dtype=CATEGORY),
        "tid": pieces.tid,
        "launch": pieces.launch,
        "call": pieces.call,
    }
    return pd.DataFrame({name: columns[name] for name in COLUMNS}, copy=False)


def pieces_of_unit(trace: Trace, unit: Unit) -> UnitPieces:
    """Return the pieces of one device, or of a process without one."""
    span: Spans = (np.array([unit.begin_ns]), np.array([unit.end_ns]))
    if unit.device == NO_DEVICE:
        kinds = [*cpu_kinds(trace, unit), (OTHER_IDLE, merged(span))]
        return pieces_by_kind(kinds)
    kinds = activity(trace, unit).kinds()
    busy = merged(*(spans for _, spans in kinds))
    gaps = idle(trace, unit, subtracted(merged(span), busy))
    idle_pieces = [
        idle_pieces_of_thread(trace, unit, gaps, int(tid)) for tid in np.unique(gaps.tid)
    ]
    pieces = joined_pieces([pieces_by_kind(kinds), *idle_pieces])
    return pieces.rows(np.argsort(pieces.begin, kind="stable"))


def joined_pieces(parts: list[UnitPieces]) -> UnitPieces:
    """Return several sets of pieces, one after the other."""
    columns = ([getattr(part, field.name) for part in parts] for field in fields(UnitPieces))
    return UnitPieces(*map(np.concatenate, columns))


def pieces_by_kind(kinds: list[tuple[str, Spans]]) -> UnitPieces:
    """Return pieces of the first kind that covers each instant, in order of time."""
    begin, end, label = labeled_intervals([spans for _, spans in kinds])
    unknown = np.full(len(begin), -1, np.int64)
    return UnitPieces(begin, end, category_codes(kinds)[label], unknown, unknown, unknown)


def category_codes(kinds: list[tuple[str, Spans]]) -> Ints:
    """Return the code of each kind's category."""
    return np.array([CODES[name] for name, _ in kinds], np.int64)


def gaps_of_thread(gaps: Idle, tid: int) -> GapsOfThread:
    """Return the gaps that one thread ended."""
    of_thread = gaps.tid == tid
    begin, end = gaps.begin[of_thread], gaps.end[of_thread]
    launch, returned = gaps.launch[of_thread], gaps.returned[of_thread]
    in_time = np.where(returned <= begin, begin, end)
    ready = np.where(end - returned > LAUNCH_NS, np.maximum(returned, begin), in_time)
    return GapsOfThread(begin, end, launch, np.where(launch >= 0, ready, end))


def idle_pieces_of_thread(trace: Trace, unit: Unit, gaps: Idle, tid: int) -> UnitPieces:
    """Return the gaps that one thread ended, divided by what it did in them."""
    thread_gaps = gaps_of_thread(gaps, tid)
    begin, end = thread_gaps.begin, thread_gaps.end
    work = trace.fact(thread_work, unit.process, tid)
    drained = draining_call(work.waits, begin)
    waits = merged((work.waits.begin, work.waits.end))
    active = merged()
    # In the window of a recording the program ran before the first event.
    first_ns = work.first_ns if trace.fact(recording_of) is None else unit.begin_ns
    if first_ns is not None:
        active = single_interval(first_ns, unit.end_ns)
    synchronizes = merged((begin[drained >= 0], end[drained >= 0]), waits)
    kinds = [
        (OTHER_IDLE, merged((thread_gaps.ready, end))),
        (PROFILER_OVERHEAD, work.overhead),
        (CHECKPOINT, work.checkpoint),
        (INPUT_WAIT, work.loading),
        (OTHER_IDLE, intersected(busy_elsewhere(trace, unit), synchronizes)),
        (SYNC_WAIT, synchronizes),
        (HOST_BOUND, active),
        (OTHER_IDLE, (begin, end)),
    ]
    start, stop, label = labeled_intervals([spans for _, spans in kinds])
    gap = np.searchsorted(begin, start, side="right") - 1
    within = (gap >= 0) & (start < end[np.maximum(gap, 0)])
    start, stop, label, gap = start[within], stop[within], label[within], gap[within]
    code = category_codes(kinds)[label]
    call = np.where(drained[gap] >= 0, drained[gap], running_call(work.waits, start))
    call = np.where(code == CODES[SYNC_WAIT], call, -1)
    of_thread = np.full(len(start), tid, np.int64)
    return UnitPieces(start, stop, code, of_thread, thread_gaps.launch[gap], call)


def draining_call(waits: Calls, begin: Ints) -> Ints:
    """Return, for each gap, the row of the call during which it began: it emptied the queue.

    -1 for none.
    """
    return call_running_at(waits, begin, waits.end + CLOCKS_NS + 1)


def running_call(waits: Calls, instant: Ints) -> Ints:
    """Return the row of the call that runs at each instant, -1 for none."""
    return call_running_at(waits, instant, waits.end)


def call_running_at(waits: Calls, instant: Ints, end: Ints) -> Ints:
    """Return the row of the last call that began by each instant, -1 where it ended before."""
    if not len(waits.row):
        return np.full(len(instant), -1, np.int64)
    call = np.searchsorted(waits.begin, instant, side="right") - 1
    begun = np.maximum(call, 0)
    runs = (call >= 0) & (end[begun] > instant)
    return np.where(runs, waits.row[begun], -1)
