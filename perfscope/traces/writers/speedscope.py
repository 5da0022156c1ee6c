"""speedscope's file format: one profile a thread or stream, in nanoseconds; stack samples as
profiles of their own.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace
from perfscope.traces.tracks import Layout, Slices, Track, clean, laid_out
from perfscope.traces.writer import Writer

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
UNIT = "nanoseconds"
EVENTS_AT_ONCE = 1 << 15


def write_speedscope(trace: Trace, path: Path) -> None:
    """Writes one file. The frames stand last, since only then all are known."""
    frames = Frames()
    with open(path, "wb") as file:
        file.write(
            b'{"$schema":'
            + encoded(SCHEMA)
            + b',"exporter":"perfscope","name":'
            + encoded(title(trace, path))
        )
        file.write(b',"activeProfileIndex":0,"profiles":[')
        first = True
        for profile in (*timelines(trace, frames), *samples(trace, frames)):
            file.write(b"\n" if first else b",\n")
            first = False
            profile(file)
        file.write(
            b'\n],"shared":{"frames":'
            + encoded([{"name": name} for name in frames.places])
            + b"}}\n"
        )


def encoded(value: Any) -> bytes:
    return msgspec.json.encode(value)


def title(trace: Trace, path: Path) -> str:
    return clean(trace.path.name if trace.path is not None else path.name)


class Frames:
    """Names, each numbered once for the whole file."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def number(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))


def timelines(trace: Trace, frames: Frames) -> Iterator[Any]:
    """For each track and lane what writes its profile."""
    layout: Layout = laid_out(trace)
    if not layout.slices:
        return
    every = layout.slices
    track, lane, ts, dur = (
        np.concatenate([getattr(one, name) for one in every])
        for name in ("track", "lane", "ts", "dur")
    )
    code = np.concatenate([frame_codes(one, frames) for one in every])
    order = np.lexsort((-dur, ts, lane, track))
    key = track[order] * (lane.max() + 1) + lane[order]
    cuts = np.flatnonzero(np.diff(key)) + 1
    names = Titles(trace)
    for rows in np.split(order, cuts):
        name = names.of(layout.tracks[int(track[rows[0]])], int(lane[rows[0]]))
        yield Evented(name, ts[rows], ts[rows] + dur[rows], code[rows]).write


def frame_codes(slices: Slices, frames: Frames) -> Ints:
    return np.array([frames.number(name) for name in slices.names], np.int64)[slices.codes]


class Titles:
    """What a profile is called."""

    def __init__(self, trace: Trace) -> None:
        processes, threads = trace.table("processes"), trace.table("threads")
        self.process = (
            {}
            if processes is None
            else dict(zip(processes["process"], map(clean, processes["name"]), strict=True))
        )
        self.pid = (
            {}
            if processes is None
            else dict(zip(processes["process"], processes["pid"], strict=True))
        )
        keys = [] if threads is None else zip(threads["process"], threads["tid"], strict=True)
        self.thread = (
            {} if threads is None else dict(zip(keys, map(clean, threads["name"]), strict=True))
        )

    def of(self, track: Track, lane: int) -> str:
        owner = f"{self.process.get(track.process, 'process')} {self.pid.get(track.process, '')}".strip()  # noqa: E501
        called = self.thread.get((track.process, track.number))
        line = f"thread {track.number}" + (f" {called}" if called else "")
        if track.device >= 0:
            line = f"GPU {track.device} stream {track.number}"
        return f"{owner}: {line}" + (f" (overlapping, {lane})" if lane else "")


class Evented:
    """A profile of calls that open and close."""

    def __init__(self, name: str, start: Ints, end: Ints, frame: Ints) -> None:
        self.name, self.start, self.end, self.frame = name, start, end, frame

    def write(self, file: IO[bytes]) -> None:
        head = {"type": "evented", "name": self.name, "unit": UNIT}
        bounds = {"startValue": int(self.start.min()), "endValue": int(self.end.max())}
        file.write(encoded(head | bounds)[:-1] + b',"events":[')
        batch: list[dict[str, Any]] = []
        first = True
        for event in self.events():
            batch.append(event)
            if len(batch) == EVENTS_AT_ONCE:
                file.write((b"" if first else b",") + encoded(batch)[1:-1])
                batch, first = [], False
        file.write((b"" if first or not batch else b",") + encoded(batch)[1:-1] + b"]}")

    def events(self) -> Iterator[dict[str, Any]]:
        """In order; at one instant the closing ones first. The rows are sorted by start and falling
        length.
        """
        open_calls: list[tuple[int, int]] = []
        for start, end, frame in zip(
            self.start.tolist(), self.end.tolist(), self.frame.tolist(), strict=True
        ):
            while open_calls and open_calls[-1][0] <= start:
                at, closing = open_calls.pop()
                yield {"type": "C", "frame": closing, "at": at}
            # On the last lane, where all the rest is, a call may outlast the one around it: cut
            # there.
            end = min(end, open_calls[-1][0]) if open_calls else end
            open_calls.append((end, frame))
            yield {"type": "O", "frame": frame, "at": start}
        for at, closing in reversed(open_calls):
            yield {"type": "C", "frame": closing, "at": at}


def samples(trace: Trace, frames: Frames) -> Iterator[Any]:
    """For each thread with stack samples what writes its profile."""
    table = trace.table("stacks")
    if table is None:
        return
    names = Titles(trace)
    stacks = [
        [frames.number(clean(part)) for part in str(stack).split(";") if part]
        for stack in table["stack"].cat.categories
    ]
    for _, rows in table.groupby(["process", "tid"]):
        process, tid = rows[["process", "tid"]].iloc[0]
        picked = [stacks[code] if code >= 0 else [] for code in rows["stack"].cat.codes]
        weights = rows["weight_ns"].tolist()
        name = names.of(Track(int(process), -1, int(tid)), 0) + " (samples)"
        profile = {
            "type": "sampled",
            "name": name,
            "unit": UNIT,
            "startValue": 0,
            "endValue": sum(weights),
        }
        profile |= {"samples": picked, "weights": weights}
        yield lambda file, profile=profile: file.write(encoded(profile))


WRITER = Writer(name="speedscope", suffix=".speedscope.json", write=write_speedscope)
