"""The file format of speedscope: a profile for each thread and stream, and one for the stack
samples of each thread. Times are in nanoseconds.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.naming import path_text
from perfscope.traces.shown_text import shown_text
from perfscope.traces.trace import Trace
from perfscope.traces.tracks import (
    EventTrack,
    Slices,
    lay_out_tracks,
    valid_utf8,
)
from perfscope.traces.writer import Writer

SCHEMA: Final = "https://www.speedscope.app/file-format-schema.json"
UNIT: Final = "nanoseconds"
EVENTS_AT_ONCE: Final = 1 << 15
to_json = msgspec.json.encode
ProfileWriter = Callable[[IO[bytes]], object]
"""Writes one profile to a file."""


def write_speedscope(trace: Trace, path: Path) -> None:
    """Write one file. The frames come last, because all profiles add to them."""
    frames = FrameTable()
    title = shown_text(path_text((trace.path or path).name))
    with open(path, "wb") as file:
        file.write(b'{"$schema":' + to_json(SCHEMA) + b',"exporter":"perfscope","name":')
        file.write(to_json(valid_utf8(title)) + b',"activeProfileIndex":0,"profiles":[')
        separator = b"\n"
        for write_profile in (*track_profiles(trace, frames), *sample_profiles(trace, frames)):
            file.write(separator)
            separator = b",\n"
            write_profile(file)
        all_frames = [{"name": name} for name in frames.number_of_name]
        file.write(b'\n],"shared":{"frames":' + to_json(all_frames) + b"}}\n")


class FrameTable:
    """The names of a file, each with one number."""

    def __init__(self) -> None:
        self.number_of_name: dict[str, int] = {}

    def number(self, name: str) -> int:
        """Return the number of a name."""
        return self.number_of_name.setdefault(name, len(self.number_of_name))


def track_profiles(trace: Trace, frames: FrameTable) -> Iterator[ProfileWriter]:
    """Yield a function per track and lane that writes its profile."""
    layout = lay_out_tracks(trace)
    if not layout.slices:
        return
    track, lane, ts, dur = (
        np.concatenate([getattr(slices, name) for slices in layout.slices])
        for name in ("track", "lane", "ts", "dur")
    )
    frame = np.concatenate([frame_numbers(slices, frames) for slices in layout.slices])
    order = np.lexsort((-dur, ts, lane, track))
    key = track[order] * (lane.max() + 1) + lane[order]
    cuts = np.flatnonzero(np.diff(key)) + 1
    titles = ProfileTitles(trace)
    for rows in np.split(order, cuts):
        title = titles.title(layout.tracks[int(track[rows[0]])], int(lane[rows[0]]))
        yield EventedProfile(title, ts[rows], ts[rows] + dur[rows], frame[rows]).write


def frame_numbers(slices: Slices, frames: FrameTable) -> Ints:
    """Return the frame of each slice."""
    return np.array([frames.number(name) for name in slices.names], np.int64)[slices.codes]


class ProfileTitles:
    """The titles of the profiles of a trace."""

    def __init__(self, trace: Trace) -> None:
        self.process_names: dict[int, str] = {}
        self.pids: dict[int, int] = {}
        self.thread_names: dict[tuple[int, int], str] = {}
        processes, threads = trace.table("processes"), trace.table("threads")
        if processes is not None:
            names = map(valid_utf8, processes["name"])
            self.process_names = dict(zip(processes["process"], names, strict=True))
            self.pids = dict(zip(processes["process"], processes["pid"], strict=True))
        if threads is not None:
            keys = zip(threads["process"], threads["tid"], strict=True)
            names = map(valid_utf8, threads["name"])
            self.thread_names = dict(zip(keys, names, strict=True))

    def title(self, track: EventTrack, lane: int) -> str:
        """Return the title of the profile of a track and lane."""
        process = self.process_names.get(track.process, "process")
        owner = f"{process} {self.pids.get(track.process, '')}".strip()
        if track.device >= 0:
            line = f"GPU {track.device} stream {track.number}"
        else:
            thread = self.thread_names.get((track.process, track.number))
            line = f"thread {track.number}" + (f" {thread}" if thread else "")
        return f"{owner}: {line}" + (f" (overlapping, {lane})" if lane else "")


class EventedProfile:
    """A profile of calls that open and close, sorted by start and descending length."""

    def __init__(self, title: str, start: Ints, end: Ints, frame: Ints) -> None:
        self.title, self.start, self.end, self.frame = title, start, end, frame

    def write(self, file: IO[bytes]) -> None:
        """Write the profile, a batch of events at a time."""
        head = {
            "type": "evented",
            "name": self.title,
            "unit": UNIT,
            "startValue": int(self.start.min()),
            "endValue": int(self.end.max()),
        }
        file.write(to_json(head)[:-1] + b',"events":[')
        batch: list[dict[str, Any]] = []
        separator = b""
        for event in self.events():
            batch.append(event)
            if len(batch) == EVENTS_AT_ONCE:
                file.write(separator + to_json(batch)[1:-1])
                batch, separator = [], b","
        if batch:
            file.write(separator + to_json(batch)[1:-1])
        file.write(b"]}")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events in the order of time. At the same instant, calls close before others
        open.
        """
        open_calls: list[tuple[int, int]] = []
        for start, end, frame in zip(
            self.start.tolist(), self.end.tolist(), self.frame.tolist(), strict=True
        ):
            while open_calls and open_calls[-1][0] <= start:
                closing_end, closing_frame = open_calls.pop()
                yield {"type": "C", "frame": closing_frame, "at": closing_end}
            # On the last lane, which all further overlaps share, a call may outlast the one
            # around it. It is cut off there.
            end = min(end, open_calls[-1][0]) if open_calls else end
            open_calls.append((end, frame))
            yield {"type": "O", "frame": frame, "at": start}
        for closing_end, closing_frame in reversed(open_calls):
            yield {"type": "C", "frame": closing_frame, "at": closing_end}


def sample_profiles(trace: Trace, frames: FrameTable) -> Iterator[ProfileWriter]:
    """Yield a function per thread with stack samples that writes its profile."""
    table = trace.table("stacks")
    if table is None:
        return
    titles = ProfileTitles(trace)
    frames_of_stack = [
        [frames.number(valid_utf8(part)) for part in str(stack).split(";") if part]
        for stack in table["stack"].cat.categories
    ]
    for _, rows in table.groupby(["process", "tid"]):
        process, tid = rows[["process", "tid"]].iloc[0]
        weights = rows["weight_ns"].tolist()
        profile = {
            "type": "sampled",
            "name": titles.title(EventTrack(int(process), -1, int(tid)), 0) + " (samples)",
            "unit": UNIT,
            "startValue": 0,
            "endValue": sum(weights),
            "samples": [
                frames_of_stack[code] if code >= 0 else [] for code in rows["stack"].cat.codes
            ],
            "weights": weights,
        }
        yield partial(write_profile, profile)


def write_profile(value: dict[str, Any], file: IO[bytes]) -> None:
    """Write a value as JSON."""
    file.write(to_json(value))


WRITER = Writer(name="speedscope", suffix=".speedscope.json", write=write_speedscope)
