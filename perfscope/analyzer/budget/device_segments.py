"""Every instant of every device from the first event of its process to the last: what it did, or
why it stood idle.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.cpu_work import cpu_kinds
from perfscope.analyzer.budget.idle_stretches import Idle, idle
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
from perfscope.analyzer.run.device_activity import activity
from perfscope.analyzer.run.units import NO_DEVICE, Unit, units
from perfscope.traces.intervals import Ints, Spans, labeled, merged, subtracted
from perfscope.traces.trace import Trace

CATEGORY = pd.CategoricalDtype(list(CATEGORY_IDS))
CODES = {name: code for code, name in enumerate(CATEGORY_IDS)}
COLUMNS = ("process", "device", "rank", "ts", "dur", "category", "tid", "launch", "call")
# Host and device clocks of a trace are matched to about this; a call that returns so little before
# the device's work ended still waited for it.
CLOCKS_NS = 2_000
# A kernel that starts this long after its launch call returned was held up by the device and not by
# the way there (HTA calls launch delays from 100 us on unusual; an idle device starts a kernel
# within about 10).
LAUNCH_NS = 100_000


def segments(trace: Trace) -> pd.DataFrame:
    """The time of every unit in pieces that do not overlap and leave nothing out, in order of rank
    and time.

    Columns: process, device (-1: the CPU), rank, ts and dur (int64 ns), category (of the time
    budget); for idle pieces also `tid` (the thread that launched what came next), `launch` (row of
    `launches` that did, -1 unknown) and `call` (row of `launches`: the synchronising call that
    drained the device, for sync-wait inside and behind it), else -1.

    Idle time is attributed by what the thread that launches the next work did meanwhile; the first
    that applies wins: the work had been launched, so the device itself made it wait: it waits for
    another stream, device or peer, or runs what is not in the trace (other-idle); the profiler's
    own work (profiler-overhead); writing checkpoints; waiting for the loader (input-wait); a call
    that waited for the device, and all from its return to the next work (sync-wait); anything else
    the thread did since its first recorded event (host-bound). The rest is other-idle.
    """
    parts = [_of_unit(trace, unit) for unit in units(trace)]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS)).astype({"category": CATEGORY})
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _of_unit(trace: Trace, unit: Unit) -> pd.DataFrame:
    whole: Spans = (np.array([unit.begin_ns]), np.array([unit.end_ns]))
    if unit.device == NO_DEVICE:
        kinds = cpu_kinds(trace, unit)
        return _framed(unit, [_busy([*kinds, (OTHER_IDLE, merged(whole))])])
    kinds = activity(trace, unit).kinds()
    busy = _busy(kinds)
    gaps = subtracted(merged(whole), merged(*(spans for _, spans in kinds)))
    return _framed(unit, [busy, *_idle(trace, unit, gaps)])


def _framed(unit: Unit, parts: list[pd.DataFrame]) -> pd.DataFrame:
    some = [part for part in parts if len(part)] or parts[:1]
    frame = pd.concat(some, ignore_index=True).sort_values("ts", ignore_index=True)
    return frame.assign(process=unit.process, device=unit.device, rank=unit.rank)[list(COLUMNS)]


def _busy(kinds: list[tuple[str, Spans]]) -> pd.DataFrame:
    start, end, label = labeled([spans for _, spans in kinds])
    return _pieces(start, end, _coded(kinds)[label])


def _coded(kinds: list[tuple[str, Spans]]) -> Ints:
    """The code of each kind's category."""
    return np.array([CODES[name] for name, _ in kinds], np.int64)


def _pieces(start: Ints, end: Ints, code: Ints, **others: object) -> pd.DataFrame:
    category = pd.Categorical.from_codes(code, dtype=CATEGORY)
    rows = {
        "ts": start,
        "dur": end - start,
        "category": category,
        "tid": -1,
        "launch": -1,
        "call": -1,
    }
    return pd.DataFrame({**rows, **others})


def _idle(trace: Trace, unit: Unit, gaps: Spans) -> list[pd.DataFrame]:
    found = idle(trace, unit, gaps)
    return [_of_thread(trace, unit, found, int(tid)) for tid in np.unique(found.tid)]


def _of_thread(trace: Trace, unit: Unit, found: Idle, tid: int) -> pd.DataFrame:
    """The gaps that one thread ended, cut by what it did in them."""
    own = found.tid == tid
    begin, end, returned = found.begin[own], found.end[own], found.returned[own]
    work = thread_work(trace, unit.process, tid)
    drained = _drained_by(work.waits, begin)
    inside = merged((work.waits.begin, work.waits.end))
    ready = np.where(
        end - returned > LAUNCH_NS,
        np.maximum(returned, begin),
        np.where(returned <= begin, begin, end),
    )
    ready = np.where(found.launch[own] >= 0, ready, end)
    active = (
        merged((np.array([work.first_ns or 0]), np.array([unit.end_ns])))
        if work.first_ns is not None
        else merged()
    )
    kinds = [
        (OTHER_IDLE, merged((ready, end))),
        (PROFILER_OVERHEAD, work.overhead),
        (CHECKPOINT, work.checkpoint),
        (INPUT_WAIT, work.loading),
        (SYNC_WAIT, merged((begin[drained >= 0], end[drained >= 0]), inside)),
        (HOST_BOUND, active),
        (OTHER_IDLE, (begin, end)),
    ]
    start, stop, label = labeled([*(spans for _, spans in kinds)])
    gap = np.searchsorted(begin, start, side="right") - 1
    within = (gap >= 0) & (start < end[np.maximum(gap, 0)])
    start, stop, label, gap = start[within], stop[within], label[within], gap[within]
    code = _coded(kinds)[label]
    call = np.where(drained[gap] >= 0, drained[gap], _call_at(work.waits, start))
    call = np.where(code == CODES[SYNC_WAIT], call, -1)
    return _pieces(start, stop, code, tid=tid, launch=found.launch[own][gap], call=call)


def _drained_by(waits: Calls, begin: Ints) -> Ints:
    """For each gap the row of the call during which it began, -1 for none: that call emptied the
    queue.
    """
    if not len(waits.row):
        return np.full(len(begin), -1, np.int64)
    at = np.searchsorted(waits.begin, begin, side="right") - 1
    held = (at >= 0) & (waits.end[np.maximum(at, 0)] + CLOCKS_NS >= begin)
    return np.where(held, waits.row[np.maximum(at, 0)], -1)


def _call_at(waits: Calls, instant: Ints) -> Ints:
    """The row of the call that runs at each instant, -1 for none."""
    if not len(waits.row):
        return np.full(len(instant), -1, np.int64)
    at = np.searchsorted(waits.begin, instant, side="right") - 1
    runs = (at >= 0) & (waits.end[np.maximum(at, 0)] > instant)
    return np.where(runs, waits.row[np.maximum(at, 0)], -1)
