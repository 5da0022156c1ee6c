"""Assigns the events of a trace to the tracks of a timeline: one per thread and one per stream.

Viewers show the events of one track as nested calls. Where two events only overlap (ranges that
begin and end by hand, concurrent kernels of one stream), the later one is put into another lane of
the same track.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import Trace

MOST_LANES: Final = 16
TABLES_WITH_EVENTS: Final = (
    "ops",
    "launches",
    "ranges",
    "loader",
    "fetches",
    "kernels",
    "copies",
)
LOADER_WAIT_NAME: Final = "enumerate(DataLoader)#_{}DataLoaderIter.__next__"
"""torch's name for the wait for a batch, by the class of its iterator."""
COPY_NAMES: Final = {
    "h2d": ("HtoD", "{} -> Device"),
    "d2h": ("DtoH", "Device -> {}"),
    "d2d": ("DtoD", "Device -> Device"),
    "p2p": ("PtoP", "Device -> Device"),
    "h2h": ("HtoH", "Host -> Host"),
}
"""Direction -> (its name in the PyTorch profiler, its ends with {} for the kind of host memory)."""
HOST_MEMORY: Final = {1: "Pinned", 0: "Pageable"}


@dataclass(frozen=True)
class EventTrack:
    """A thread of a process, or a stream of one of its devices. `number` is the tid or the stream;
    `device` is -1 for a thread.
    """

    process: int
    device: int
    number: int


@dataclass
class Slices:
    """The events of one table that are on a track."""

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
class TrackLayout:
    """All slices, and the tracks that `Slices.track` refers to."""

    slices: list[Slices]
    tracks: list[EventTrack]


def lay_out_tracks(trace: Trace) -> TrackLayout:
    """Return every event with a duration on its track and lane."""
    slices: list[Slices] = []
    track_numbers: dict[EventTrack, int] = {}
    for name in TABLES_WITH_EVENTS:
        table = trace.table(name)
        if table is None:
            continue
        if name == "kernels":
            on_device = np.ones(len(table), bool)
        elif "device" in table:
            on_device = table["device"].to_numpy() >= 0
        else:
            on_device = np.zeros(len(table), bool)
        for is_device in (False, True):
            rows = np.flatnonzero(on_device == is_device)
            if len(rows):
                part = table.iloc[rows]
                track = tracks_of_rows(part, track_numbers, is_device=is_device)
                ts = part["ts"].to_numpy(np.int64)
                dur = np.maximum(part["dur"].to_numpy(np.int64), 0)
                slices.append(Slices(name, rows, track, ts, dur, *event_names(name, part)))
    assign_lanes(slices)
    return TrackLayout(slices, list(track_numbers))


def tracks_of_rows(
    rows: pd.DataFrame, track_numbers: dict[EventTrack, int], *, is_device: bool
) -> Ints:
    """Return the number of the track of each row. New tracks are added to `track_numbers`.

    Kernels of an unknown device, whatever negative number it has, are on tracks of their process.
    """
    device = np.maximum(rows["device"], -1) if is_device else np.full(len(rows), -1)
    number = rows["stream"] if is_device else rows["tid"]
    columns = [np.asarray(column, np.int64) for column in (rows["process"], device, number)]
    keys, place = np.unique(np.stack(columns), axis=1, return_inverse=True)
    numbers = [
        track_numbers.setdefault(EventTrack(*map(int, key)), len(track_numbers)) for key in keys.T
    ]
    return np.array(numbers, np.int64)[place.ravel()]


def event_names(table: str, rows: pd.DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """Return the names of events as codes and texts. An event without a name has that of its
    table.
    """
    if table in ("loader", "fetches", "copies"):
        name_functions = {"loader": loader_names, "fetches": fetch_names, "copies": copy_names}
        codes, texts = pd.factorize(name_functions[table](rows))
        return codes.astype(np.int64), [str(text) for text in texts]
    names = [valid_utf8(name) for name in rows["name"].cat.categories]
    codes = np.array(rows["name"].cat.codes, np.int64)
    codes[codes < 0] = len(names)
    return codes, [*names, table]


def valid_utf8(text: object) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 cannot represent."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def loader_names(rows: pd.DataFrame) -> NDArray[np.object_]:
    """Return the names of rows of `loader`."""
    single = LOADER_WAIT_NAME.format("SingleProcess")
    multi = LOADER_WAIT_NAME.format("MultiProcessing")
    wait = np.where(rows["workers"] == 0, single, multi)
    is_wait = rows["kind"] == "next"
    return np.where(is_wait, wait, "DataLoader: start of an iterator").astype(object)


def fetch_names(rows: pd.DataFrame) -> NDArray[np.object_]:
    """Return the names of rows of `fetches`."""
    return np.full(len(rows), "DataLoader: fetch of a batch", object)


def copy_names(rows: pd.DataFrame) -> NDArray[np.object_]:
    """Return the names of rows of `copies`, as the PyTorch profiler writes them."""
    pairs = rows[["direction", "pinned"]].astype({"direction": object})
    different = pairs.drop_duplicates().itertuples(index=False, name=None)
    name_of_pair = {pair: copy_name(*pair) for pair in different}
    return np.array(
        [name_of_pair[pair] for pair in pairs.itertuples(index=False, name=None)], object
    )


def copy_name(direction: object, pinned: int) -> str:
    """Return a name such as `Memcpy HtoD (Pageable -> Device)`."""
    names = COPY_NAMES.get(str(direction))
    if names is None:
        return "Memset (Device)" if direction == "memset" else "Memcpy"
    short, ends = names
    if "{}" in ends and pinned not in HOST_MEMORY:
        return f"Memcpy {short}"
    return f"Memcpy {short} ({ends.format(HOST_MEMORY.get(pinned, ''))})"


def assign_lanes(slices: list[Slices]) -> None:
    """Set the lane of every slice, so that all events of one track and lane nest. Events that do
    not fit into MOST_LANES lanes share the last one.
    """
    if not slices:
        return
    track, ts, dur = (
        np.concatenate([getattr(part, name) for part in slices]) for name in ("track", "ts", "dur")
    )
    end, lane = ts + dur, np.zeros(len(ts), np.int64)
    holder = enclosing(track, ts, end)
    # Only tracks on which some event outlasts the one around it need more than one lane.
    crossed = np.unique(track[(holder >= 0) & (end > end[holder])])
    rows = np.flatnonzero(np.isin(track, crossed))
    rows = rows[np.lexsort((-end[rows], ts[rows], track[rows]))]
    lane[rows] = nesting_lanes(track[rows].tolist(), ts[rows].tolist(), end[rows].tolist())
    cuts = np.cumsum([len(part) for part in slices])[:-1]
    for part, lanes_of_part in zip(slices, np.split(lane, cuts), strict=True):
        part.lane = lanes_of_part


def nesting_lanes(tracks: list[int], starts: list[int], ends: list[int]) -> list[int]:
    """Return for each interval the first lane on which it nests. The intervals are sorted by track,
    start and descending end.
    """
    lanes: list[int] = []
    open_ends: list[list[int]] = []
    last_track = None
    for track, start, end in zip(tracks, starts, ends, strict=True):
        if track != last_track:
            open_ends, last_track = [[] for _ in range(MOST_LANES)], track
        lane = first_free_lane(open_ends, start, end)
        open_ends[lane].append(end)
        lanes.append(lane)
    return lanes


def first_free_lane(open_ends: list[list[int]], start: int, end: int) -> int:
    """Return the first lane on which an interval nests, else the last. `open_ends` has the ends of
    the open intervals of each lane, from which those before `start` are removed.
    """
    for lane, ends in enumerate(open_ends):
        while ends and ends[-1] <= start:
            ends.pop()
        if not ends or end <= ends[-1]:
            return lane
    return len(open_ends) - 1
