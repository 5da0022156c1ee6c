"""The timeline inside an HTML file.

It has every event where these are few enough, else pixels of the whole run and the events at the
places that the page links to.

The embedded data is gzip of: uint32 length of the header (little endian), the header as JSON,
padding to a multiple of 4, then the blobs that it refers to by [offset, length]. The events of a
lane are five columns of variable-length integers (7 bits per byte, low bits first): gaps since the
end of the last event and durations in the lane's unit, palette indices, causes and notes. The page
reads it with assets/timeline/embedded.js.
"""

import base64
import gzip
import json
import struct
from dataclasses import replace
from itertools import pairwise
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
from perfscope.ui.timeline.component_json import longest_places, timeline_header

MOST_EXACT = 150_000
"""Events in one file: about 6 bytes each when compressed, so a report stays below 5 MB."""
LEVELS = ((2048, 1), (2048, 8))
"""(pixels per tile, tiles) of each level that shows the whole run where events are too many."""
MOST_TILED = 800_000
"""Bytes of all tiles before compression; with very many lanes only the coarse level is kept."""
STRIP_COLUMNS = 480
AROUND = 0.8
"""The margin on each side of an interval that the page links to, in lengths of the interval."""
UNIQUE = {"correlation", "sequence", "device", "stream", "iterator", "kind", "category"}
"""Columns that differ for every event, or that follow from its lane; they are left out."""

Intervals = list[tuple[int, int]]


def embedded_timeline(trace: Trace, diagnosis: Diagnosis) -> str:
    """Return the data as text for a script element; empty without events."""
    lanes = without_counters(trace.fact(timeline_lanes))
    if not lanes.lanes:
        return ""
    whole = lanes.events <= MOST_EXACT
    held = [lanes.span_ns] if whole else linked_intervals(trace, lanes, diagnosis)
    blobs: list[bytes] = []
    header = timeline_header(lanes, diagnosis)
    header["places"] = longest_places(trace, diagnosis)
    header["names"] = lanes.names.texts
    header["held"] = held
    header["whole"] = whole
    header["strip"] = {
        name: [round(float(share), 3) for share in shares]
        for name, shares in strip(lanes, STRIP_COLUMNS).items()
    }
    header["notes_of_events"], header["lanes"] = exact(trace, lanes, held, blobs)
    header["tiles"] = [] if whole else pyramid(lanes, blobs)
    return packed_file(header, blobs)


def without_counters(lanes: Lanes) -> Lanes:
    """Return the lanes of work; counters over time have charts in the report."""
    kept: list[Lane] = []
    tracks: list[Track] = []
    for track in lanes.tracks:
        if track.kind != COUNTER:
            tracks.append(replace(track, first=len(kept)))
            kept += lanes.lanes[track.first : track.first + track.rows]
    if len(tracks) == len(lanes.tracks):
        return lanes
    used = sorted({track.group for track in tracks})
    number_of = {group: number for number, group in enumerate(used)}
    tracks = [replace(track, group=number_of[track.group]) for track in tracks]
    groups = [lanes.groups[group] for group in used]
    return replace(lanes, lanes=kept, tracks=tracks, groups=groups)


def packed_file(header: dict[str, Any], blobs: list[bytes]) -> str:
    """Return header and blobs, compressed and in base64."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 4) % 4)
    body = struct.pack("<I", len(text)) + text + b"".join(blobs)
    return base64.b64encode(gzip.compress(body, 9, mtime=0)).decode()


def append_blob(blobs: list[bytes], blob: bytes) -> list[int]:
    """Append a blob; return its offset among all blobs and its length."""
    begin = sum(map(len, blobs))
    blobs.append(blob + b"\0" * (-len(blob) % 4))
    return [begin, len(blob)]


def linked_intervals(trace: Trace, lanes: Lanes, diagnosis: Diagnosis) -> Intervals:
    """Return the intervals that the page links to, as long as their events fit."""
    rank = diagnosis.budget_rank if diagnosis.budget_rank is not None else 0
    places = [
        (fact.start_ns, fact.end_ns) for finding in diagnosis.findings for fact in finding.evidence
    ]
    wanted = [(begin, end) for begin, end in places if begin is not None and end is not None]
    wanted += [
        (stretch.start_ns, stretch.end_ns)
        for (stretch_rank, _), stretch in trace.fact(longest_stretch).items()
        if stretch_rank == rank
    ]
    held: Intervals = []
    for begin, end in wanted or [middle_interval(lanes)]:
        room = int(AROUND * (end - begin)) + 1000
        fits = interval_that_fits(lanes, (begin - room, end + room), held)
        if fits is None:
            fits = interval_that_fits(lanes, (begin, end), held)
        if fits is not None:
            held = merge_intervals_in_file([*held, fits])
    return held


def middle_interval(lanes: Lanes) -> tuple[int, int]:
    """Return an interval in the middle with about half as many events as a file can have."""
    begin, end = lanes.span_ns
    half = (end - begin) * MOST_EXACT // (4 * max(lanes.events, 1))
    return (begin + end) // 2 - half, (begin + end) // 2 + half


def interval_that_fits(
    lanes: Lanes, interval: tuple[int, int], held: Intervals
) -> tuple[int, int] | None:
    """Return the interval within the span, None where too many events would be in the file."""
    begin, end = max(interval[0], lanes.span_ns[0]), min(interval[1], lanes.span_ns[1])
    if end <= begin:
        return None
    intervals = merge_intervals_in_file([*held, (begin, end)])
    windows = [lane.window(*interval) for lane in lanes.lanes for interval in intervals]
    events = sum(window.stop - window.start for window in windows)
    return (begin, end) if events <= MOST_EXACT else None


def merge_intervals_in_file(intervals: Intervals) -> Intervals:
    """Return the intervals in order, those that touch merged."""
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
    """Return the notes, and per lane its events.

    A lane is [first start, unit, events, palette, [offset, length] of each of its five columns].
    """
    rows = [events_in_file(lane, held) for lane in lanes.lanes]
    place = places(trace, lanes, rows)
    notes: dict[str, int] = {"": 0}
    described: list[Any] = []
    for lane, at in zip(lanes.lanes, rows, strict=True):
        if not len(at):
            described.append(None)
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
        stored = [append_blob(blobs, varints(values)) for values in columns]
        stored.append(append_blob(blobs, varints(noted(trace, lane, at, notes))))
        described.append([int(ts[0]), unit, len(at), lane.codes[used].tolist(), stored])
    return list(notes), described


def events_in_file(lane: Lane, held: Intervals) -> Ints:
    """Return the numbers of a lane's events that touch the intervals in the file."""
    parts = [lane.window(*interval) for interval in held]
    found = [np.arange(part.start, part.stop) for part in parts]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def places(trace: Trace, lanes: Lanes, rows: list[Ints]) -> dict[str, Ints]:
    """Return per table the number of each row's event in the file, from 1; 0 if it is not in it."""
    found = {}
    for source in ("ops", "launches"):
        frame = trace.table(source)
        found[source] = np.zeros(0 if frame is None else len(frame), np.int64)
    first = 1
    for lane, at in zip(lanes.lanes, rows, strict=True):
        for source, place in found.items():
            of_source = np.flatnonzero(lane.source[at] == SOURCES.index(source))
            place[lane.row[at[of_source]]] = first + of_source
        first += len(at)
    return found


def causes(trace: Trace, lane: Lane, at: Ints, place: dict[str, Ints]) -> Ints:
    """Return per event the number of its cause: of a kernel its call, of a call its operator.

    0 is unknown.
    """
    cause = np.zeros(len(at), np.int64)
    for source, column, above in (
        ("kernels", "launch", "launches"),
        ("copies", "launch", "launches"),
        ("launches", "op", "ops"),
    ):
        of_source = lane.source[at] == SOURCES.index(source)
        frame = trace.table(source)
        if frame is None or not of_source.any() or not len(place[above]):
            continue
        row = frame[column].to_numpy(np.int64)[lane.row[at[of_source]]]
        known = (row >= 0) & (row < len(place[above]))
        cause[of_source] = np.where(known, place[above][np.clip(row, 0, len(place[above]) - 1)], 0)
    return cause


def noted(trace: Trace, lane: Lane, at: Ints, notes: dict[str, int]) -> Ints:
    """Return per event the number of its note: its details as JSON; equal ones are stored once."""
    found = np.zeros(len(at), np.int64)
    for number, source in enumerate(SOURCES):
        of_source = np.flatnonzero(lane.source[at] == number)
        frame = table_of(trace, source)
        columns = [
            name
            for name in SHOWN[source]
            if name not in UNIQUE and frame is not None and name in frame
        ]
        if frame is None or not len(of_source) or not columns:
            continue
        part = frame[columns].iloc[lane.row[at[of_source]]]
        group = part.groupby(columns, dropna=False, observed=True, sort=False).ngroup().to_numpy()
        _, firsts = np.unique(group, return_index=True)
        words = [
            json.dumps(details(part.iloc[first], source), separators=(",", ":")) for first in firsts
        ]
        codes = np.array(
            [notes.setdefault("" if text == "{}" else text, len(notes)) for text in words], np.int64
        )
        found[of_source] = codes[group]
    return found


def varints(values: Ints) -> bytes:
    """Return numbers from 0 as bytes of 7 bits, low bits first; bit 8 is set if more follow."""
    rest = values.astype(np.uint64)
    size = np.ones(len(rest), np.int64)
    for bits in range(7, 64, 7):
        size += rest >= np.uint64(1 << bits)
    begin = np.cumsum(size) - size
    out = np.zeros(int(size.sum()), np.uint8)
    for number in range(int(size.max()) if len(size) else 0):
        has_byte = size > number
        part = (rest[has_byte] >> np.uint64(7 * number)).astype(np.uint8) & 0x7F
        more = np.where(size[has_byte] > number + 1, 0x80, 0).astype(np.uint8)
        out[begin[has_byte] + number] = part | more
    return out.tobytes()


def pyramid(lanes: Lanes, blobs: list[bytes]) -> list[Any]:
    """Return tiles of the whole run, per level that fits: [[from, to, [offset, length]], ...]."""
    levels: list[Any] = []
    room = MOST_TILED
    for pixels, count in LEVELS:
        edges = edges_of(*lanes.span_ns, count).tolist()
        windows = [(begin, end) for begin, end in pairwise(edges) if end > begin]
        numbers = range(len(lanes.lanes))
        bodies = [tile(lanes.lanes, *window, pixels, numbers) for window in windows]
        room -= sum(map(len, bodies))
        if room < 0 and levels:
            break
        levels.append(
            [
                [*window, append_blob(blobs, body)]
                for window, body in zip(windows, bodies, strict=True)
            ]
        )
    return levels
