"""The lines of a timeline: every event with a duration on its thread or its stream, split so that
what shares a line nests.

Viewers take the events of one line for calls in calls. Where two only overlap (ranges that begin
and end by hand, kernels of one stream side by side) the later one goes to a further lane of the
same track.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import Trace

MOST_LANES = 16
LOADER = "enumerate(DataLoader)#_{}DataLoaderIter.__next__"
"""torch's own name for the wait for a batch, by the class of its iterator."""
ENDS = {
    "h2d": ("HtoD", "{} -> Device"),
    "d2h": ("DtoH", "Device -> {}"),
    "d2d": ("DtoD", "Device -> Device"),
}
OTHER_ENDS = {"p2p": ("PtoP", "Device -> Device"), "h2h": ("HtoH", "Host -> Host")}
HOST_SIDE = {1: "Pinned", 0: "Pageable"}


@dataclass(frozen=True)
class Track:
    """A thread of a process, or (`device` 0 and above) a stream of one of its devices; `number` is
    its tid or stream.
    """

    process: int
    device: int
    number: int


@dataclass
class Slices:
    """The events of one table that have a place on a track: their rows, tracks, lanes, times and
    names.
    """

    table: str
    rows: Ints
    track: Ints
    ts: Ints
    dur: Ints
    codes: NDArray[np.int64]
    names: list[str]
    lane: Ints = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class Layout:
    """All slices, and what their track numbers stand for."""

    slices: list[Slices]
    tracks: list[Track]


def laid_out(trace: Trace) -> Layout:
    """Every event with a duration on its track and lane."""
    found: list[Slices] = []
    places: dict[Track, int] = {}
    for table in ("ops", "launches", "ranges", "loader", "fetches", "kernels", "copies"):
        frame = trace.table(table)
        if frame is None:
            continue
        on_device = (
            frame["device"].to_numpy() >= 0 if "device" in frame else np.zeros(len(frame), bool)
        )
        if table == "kernels":
            on_device = np.ones(len(frame), bool)
        for device in (False, True):
            rows = np.flatnonzero(on_device == device)
            if len(rows):
                found.append(placed(table, frame.iloc[rows], rows, device, places))
    spread(found)
    return Layout(found, list(places))


def placed(
    table: str, frame: pd.DataFrame, rows: Ints, device: bool, places: dict[Track, int]
) -> Slices:
    second, third = (
        (frame["device"], frame["stream"]) if device else (np.full(len(frame), -1), frame["tid"])
    )
    keys = np.stack(
        [
            frame["process"].to_numpy(np.int64),
            np.asarray(second, np.int64),
            np.asarray(third, np.int64),
        ]
    )
    different, place = np.unique(keys, axis=1, return_inverse=True)
    numbers = [places.setdefault(Track(*map(int, key)), len(places)) for key in different.T]
    codes, names = spelled(table, frame)
    ts, dur = frame["ts"].to_numpy(np.int64), np.maximum(frame["dur"].to_numpy(np.int64), 0)
    return Slices(table, rows, np.array(numbers, np.int64)[place.ravel()], ts, dur, codes, names)


def spelled(table: str, frame: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """Codes and names of the events; what has no name is called after its table."""
    if table in ("loader", "fetches", "copies"):
        words = {"loader": loader_names, "fetches": fetch_names, "copies": copy_names}[table](frame)
        numbers, different = pd.factorize(words)
        return numbers.astype(np.int64), [str(one) for one in different]
    names = [clean(one) for one in frame["name"].cat.categories]
    codes = np.array(frame["name"].cat.codes, np.int64)
    codes[codes < 0] = len(names)
    return codes, [*names, table]


def clean(text: object) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def loader_names(frame: pd.DataFrame) -> NDArray[np.object_]:
    wait = np.where(
        frame["workers"] == 0, LOADER.format("SingleProcess"), LOADER.format("MultiProcessing")
    )
    return np.where(frame["kind"] == "next", wait, "DataLoader: start of an iterator").astype(
        object
    )


def fetch_names(frame: pd.DataFrame) -> NDArray[np.object_]:
    return np.full(len(frame), "DataLoader: fetch of a batch", object)


def copy_names(frame: pd.DataFrame) -> NDArray[np.object_]:
    """`Memcpy HtoD (Pageable -> Device)`, as the PyTorch profiler writes."""
    pairs = frame[["direction", "pinned"]].astype({"direction": object})
    words = {
        key: copy_name(*key) for key in pairs.drop_duplicates().itertuples(index=False, name=None)
    }
    return np.array([words[key] for key in pairs.itertuples(index=False, name=None)], object)


def copy_name(direction: object, pinned: int) -> str:
    ends = (ENDS | OTHER_ENDS).get(str(direction))
    if ends is None:
        return "Memset (Device)" if direction == "memset" else "Memcpy"
    short, long = ends
    if "{}" in long and pinned not in HOST_SIDE:
        return f"Memcpy {short}"
    return f"Memcpy {short} ({long.format(HOST_SIDE.get(pinned, ''))})"


def spread(slices: list[Slices]) -> None:
    """Gives every slice its lane, so that of one track and lane all nest; what does not fit into 16
    lanes shares the last.
    """
    if not slices:
        return
    track, ts, dur = (
        np.concatenate([getattr(one, name) for one in slices]) for name in ("track", "ts", "dur")
    )
    end, lane = ts + dur, np.zeros(len(ts), np.int64)
    holder = enclosing(track, ts, end)
    crossed = np.unique(track[(holder >= 0) & (end > end[holder])])
    some = np.flatnonzero(np.isin(track, crossed))
    some = some[np.lexsort((-end[some], ts[some], track[some]))]
    lane[some] = lanes(track[some].tolist(), ts[some].tolist(), end[some].tolist())
    cuts = np.cumsum([len(one) for one in slices])[:-1]
    for one, part in zip(slices, np.split(lane, cuts), strict=True):
        one.lane = part


def lanes(tracks: list[int], starts: list[int], ends: list[int]) -> list[int]:
    """For each interval, sorted by track, start and falling end, the first lane on which it
    nests.
    """
    found: list[int] = []
    open_ends: list[list[int]] = []
    last = None
    for track, start, end in zip(tracks, starts, ends, strict=True):
        if track != last:
            open_ends, last = [[] for _ in range(MOST_LANES)], track
        for lane, stack in enumerate(open_ends):  # noqa: B007  where it broke off is the answer
            while stack and stack[-1] <= start:
                stack.pop()
            if not stack or end <= stack[-1]:
                break
        stack.append(end)
        found.append(lane)
    return found
