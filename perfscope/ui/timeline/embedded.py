"""The timeline inside one HTML file: every event where that is few enough, else pixels of the whole
and events where it matters.

What is embedded is gzip of: uint32 length of the header (little endian), the header as JSON, zeros
to a multiple of 4, then the blobs it names by [offset, length]. A lane's events are five columns of
variable-length integers (7 bits a byte, low ones first): gaps since the last event's end and
durations in the lane's unit, palette indices, causes and notes. The page reads it with
assets/timeline/embedded.js.
"""

import base64
import gzip
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np

from perfscope.analyzer.budget.longest_interval import longest_stretch
from perfscope.analyzer.diagnosis import Diagnosis
from perfscope.analyzer.timeline.event import SHOWN, details, table_of
from perfscope.analyzer.timeline.lane import Lane
from perfscope.analyzer.timeline.lanes import timeline_lanes
from perfscope.analyzer.timeline.strip import strip
from perfscope.analyzer.timeline.tiles import edges_of, tile
from perfscope.analyzer.timeline.track import COUNTER, SOURCES, Lanes, Track
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace
from perfscope.ui.timeline.data import meta

MOST_EXACT = 150_000
"""Events in one file: about 6 bytes each once compressed, so that a report stays below 5 MB."""
LEVELS = ((2048, 1), (2048, 8))
"""(pixels of a tile, tiles) of each level that shows the whole where events are too many."""
MOST_TILED = 800_000
"""Bytes of all tiles before compression; a trace of very many lanes keeps its coarser level only.
"""
STRIP_COLUMNS = 480
AROUND = 0.8
"""Room left and right of an interval that the page points at, in lengths of the interval."""
UNIQUE = {"correlation", "sequence", "device", "stream", "iterator", "kind", "category"}
"""What is different for every event, or told by its lane: not worth its place in the file."""

Intervals = list[tuple[int, int]]


def embedded_timeline(trace: Trace, diagnosis: Diagnosis) -> str:
    """The whole as text for a script element; empty where there is no event to show."""
    lanes = without_counters(trace.fact(timeline_lanes))
    if not lanes.lanes:
        return ""
    whole = lanes.events <= MOST_EXACT
    held = [lanes.span_ns] if whole else pointed_at(trace, lanes, diagnosis)
    blobs: list[bytes] = []
    header = meta(lanes, diagnosis)
    header["names"] = lanes.names.texts
    header["held"] = held
    header["whole"] = whole
    header["strip"] = {
        name: [round(float(one), 3) for one in shares]
        for name, shares in strip(lanes, STRIP_COLUMNS).items()
    }
    header["notes_of_events"], header["lanes"] = exact(trace, lanes, held, blobs)
    header["tiles"] = [] if whole else pyramid(lanes, blobs)
    return packed(header, blobs)


def without_counters(lanes: Lanes) -> Lanes:
    """The lanes of work: counters over time have charts of their own in the report."""
    kept: list[Lane] = []
    tracks: list[Track] = []
    for one in lanes.tracks:
        if one.kind != COUNTER:
            tracks.append(replace(one, first=len(kept)))
            kept += lanes.lanes[one.first : one.first + one.rows]
    if len(tracks) == len(lanes.tracks):
        return lanes
    used = sorted({one.group for one in tracks})
    place = {group: at for at, group in enumerate(used)}
    tracks = [replace(one, group=place[one.group]) for one in tracks]
    return replace(lanes, lanes=kept, tracks=tracks, groups=[lanes.groups[at] for at in used])


def packed(header: dict[str, Any], blobs: list[bytes]) -> str:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 4) % 4)
    body = struct.pack("<I", len(text)) + text + b"".join(blobs)
    return base64.b64encode(gzip.compress(body, 9, mtime=0)).decode()


def added(blobs: list[bytes], blob: bytes) -> list[int]:
    """Where the blob begins among all, and its length."""
    begin = sum(map(len, blobs))
    blobs.append(blob + b"\0" * (-len(blob) % 4))
    return [begin, len(blob)]


def pointed_at(trace: Trace, lanes: Lanes, diagnosis: Diagnosis) -> Intervals:
    """The stretches that sentences and bars of the page lead to, as long as their events fit."""
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    places = [
        (one.start_ns, one.end_ns) for finding in diagnosis.findings for one in finding.evidence
    ]
    wanted = [(begin, end) for begin, end in places if begin is not None and end is not None]
    wanted += [
        (one.start_ns, one.end_ns)
        for (of, _), one in trace.fact(longest_stretch).items()
        if of == rank
    ]
    held: Intervals = []
    for begin, end in wanted or [middle(lanes)]:
        room = int(AROUND * (end - begin)) + 1000
        wide = fitting(lanes, (begin - room, end + room), held) or fitting(
            lanes, (begin, end), held
        )
        held = joined([*held, wide]) if wide is not None else held
    return held


def middle(lanes: Lanes) -> tuple[int, int]:
    begin, end = lanes.span_ns
    half = (end - begin) * MOST_EXACT // (4 * max(lanes.events, 1))
    return (begin + end) // 2 - half, (begin + end) // 2 + half


def fitting(lanes: Lanes, interval: tuple[int, int], held: Intervals) -> tuple[int, int] | None:
    """The interval inside the span, None where its events and those already held are too many."""
    begin, end = max(interval[0], lanes.span_ns[0]), min(interval[1], lanes.span_ns[1])
    if end <= begin:
        return None
    both = joined([*held, (begin, end)])
    events = sum(
        part.stop - part.start
        for one in lanes.lanes
        for part in (one.window(*each) for each in both)
    )
    return (begin, end) if events <= MOST_EXACT else None


def joined(intervals: Intervals) -> Intervals:
    """In order, those that touch made one."""
    found: Intervals = []
    for begin, end in sorted(intervals):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def exact(
    trace: Trace, lanes: Lanes, held: Intervals, blobs: list[bytes]
) -> tuple[list[str], list[Any]]:
    """(notes, lanes): per lane [first start, unit, events, palette, [begin, length] of its five
    columns].
    """
    rows = [chosen(one, held) for one in lanes.lanes]
    place = places(trace, lanes, rows)
    notes: dict[str, int] = {"": 0}
    told: list[Any] = []
    for lane, at in zip(lanes.lanes, rows, strict=True):
        if not len(at):
            told.append(None)
            continue
        ts, dur, local = lane.ts[at], lane.key[at] >> lane.bits, lane.key[at] & lane.mask
        gaps = np.concatenate(([0], ts[1:] - ts[:-1] - dur[:-1]))
        unit = int(max(np.gcd.reduce(np.concatenate((gaps, dur, ts[1:] - ts[:-1]))), 1))
        used, index = np.unique(local, return_inverse=True)
        cause = causes(trace, lane, at, place)
        zigzag = np.diff(cause, prepend=0)
        columns = (
            gaps // unit,
            dur // unit,
            index,
            np.where(zigzag < 0, -2 * zigzag - 1, 2 * zigzag),
        )
        stored = [added(blobs, varints(one)) for one in columns]
        stored.append(added(blobs, varints(noted(trace, lane, at, notes))))
        told.append([int(ts[0]), unit, len(at), lane.codes[used].tolist(), stored])
    return list(notes), told


def chosen(lane: Lane, held: Intervals) -> Ints:
    """Numbers of the events of a lane that touch what is held."""
    parts = [lane.window(*one) for one in held]
    found = [np.arange(part.start, part.stop) for part in parts]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def places(trace: Trace, lanes: Lanes, rows: list[Ints]) -> dict[str, Ints]:
    """Per table the number in the file of each row's event, from 1; 0 for rows that are not in
    it.
    """
    found = {}
    for source in ("ops", "launches"):
        frame = trace.table(source)
        found[source] = np.zeros(0 if frame is None else len(frame), np.int64)
    first = 1
    for lane, at in zip(lanes.lanes, rows, strict=True):
        for source, place in found.items():
            own = np.flatnonzero(lane.source[at] == SOURCES.index(source))
            place[lane.row[at[own]]] = first + own
        first += len(at)
    return found


def causes(trace: Trace, lane: Lane, at: Ints, place: dict[str, Ints]) -> Ints:
    """Per event the number of what caused it: a kernel's call, a call's operator; 0 unknown."""
    cause = np.zeros(len(at), np.int64)
    for source, column, above in (
        ("kernels", "launch", "launches"),
        ("copies", "launch", "launches"),
        ("launches", "op", "ops"),
    ):
        own = lane.source[at] == SOURCES.index(source)
        frame = trace.table(source)
        if frame is None or not own.any() or not len(place[above]):
            continue
        row = frame[column].to_numpy(np.int64)[lane.row[at[own]]]
        known = (row >= 0) & (row < len(place[above]))
        cause[own] = np.where(known, place[above][np.clip(row, 0, len(place[above]) - 1)], 0)
    return cause


def noted(trace: Trace, lane: Lane, at: Ints, notes: dict[str, int]) -> Ints:
    """Per event the number of its note: what the trace says of it, as JSON; equal ones are stored
    once.
    """
    found = np.zeros(len(at), np.int64)
    for number, source in enumerate(SOURCES):
        own = np.flatnonzero(lane.source[at] == number)
        frame = table_of(trace, source)
        columns = [
            one for one in SHOWN[source] if one not in UNIQUE and frame is not None and one in frame
        ]
        if frame is None or not len(own) or not columns:
            continue
        part = frame[columns].iloc[lane.row[at[own]]]
        group = part.groupby(columns, dropna=False, observed=True, sort=False).ngroup().to_numpy()
        _, firsts = np.unique(group, return_index=True)
        words = [
            json.dumps(details(part.iloc[one], source), separators=(",", ":")) for one in firsts
        ]
        codes = np.array(
            [notes.setdefault("" if one == "{}" else one, len(notes)) for one in words], np.int64
        )
        found[own] = codes[group]
    return found


def varints(values: Ints) -> bytes:
    """Numbers from 0 as bytes of 7 bits, the low ones first, bit 8 set while more follow."""
    rest = values.astype(np.uint64)
    size = np.ones(len(rest), np.int64)
    for bits in range(7, 64, 7):
        size += rest >= np.uint64(1 << bits)
    begin = np.cumsum(size) - size
    out = np.zeros(int(size.sum()), np.uint8)
    for number in range(int(size.max()) if len(size) else 0):
        own = size > number
        part = (rest[own] >> np.uint64(7 * number)).astype(np.uint8) & 0x7F
        out[begin[own] + number] = part | np.where(size[own] > number + 1, 0x80, 0).astype(np.uint8)
    return out.tobytes()


def pyramid(lanes: Lanes, blobs: list[bytes]) -> list[Any]:
    """Tiles of the whole: per level [[from, to, [begin, length]], ...], as long as there is room
    for a level.
    """
    levels: list[Any] = []
    room = MOST_TILED
    for pixels, count in LEVELS:
        edges = edges_of(*lanes.span_ns, count).tolist()
        windows = [(edges[at], edges[at + 1]) for at in range(count) if edges[at + 1] > edges[at]]
        bodies = [tile(lanes.lanes, *one, pixels, range(len(lanes.lanes))) for one in windows]
        room -= sum(map(len, bodies))
        if room < 0 and levels:
            break
        levels.append(
            [[*one, added(blobs, body)] for one, body in zip(windows, bodies, strict=True)]
        )
    return levels
