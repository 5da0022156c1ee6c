"""A track: a thread, a stream or a worker on the timeline, with its lanes below each other."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.timeline.lane import Events, Lane
from perfscope.analyzer.timeline.names import Names
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

SOURCES = (
    "ops",
    "launches",
    "kernels",
    "copies",
    "ranges",
    "loader",
    "fetches",
    "steps",
    "device_counters",
)
"""The source of an event: a table of the trace, or the fact `steps`."""
COUNTER = "counter"
"""The kind of a track whose events are levels, not work: statistics leave it out."""
NOT_IN_A_TABLE = 2**31 - 1
"""The row of an event that does not correspond to a single row."""
MOST_ROWS = 48
"""A thread nests deeper only by recursion; deeper events are counted and left out."""


@dataclass(frozen=True)
class Draft:
    """A track before its lanes have numbers.

    `order` sorts the tracks of a process, smallest first. `kind` is steps, nvtx, thread, python,
    calls, loader, stream or counter. `shut`: only its first row is shown until it is opened. `cut`
    says, for people, what is left out and why.
    """

    process: int
    order: tuple[int, ...]
    kind: str
    title: str
    rows: list[Events]
    hidden: int = 0
    shut: bool = False
    tid: int = -1
    device: int = -1
    stream: int = -1
    cut: str = ""


@dataclass(frozen=True)
class Track:
    """A track whose lanes are numbers `first` to `first + rows`."""

    group: int
    kind: str
    title: str
    first: int
    rows: int
    events: int
    hidden: int
    shut: bool
    process: int
    tid: int
    device: int
    stream: int


@dataclass(frozen=True)
class Group:
    """The tracks of one process, under its name."""

    title: str
    process: int
    rank: int


@dataclass(frozen=True)
class Lanes:
    """All that the timeline shows of a trace."""

    span_ns: tuple[int, int]
    names: Names
    lanes: list[Lane]
    tracks: list[Track]
    groups: list[Group]
    notes: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        """The number of events on all lanes."""
        return sum(map(len, self.lanes))


def events_of(frame: pd.DataFrame, source: str, code: Ints, rows: Ints | None = None) -> Events:
    """Return the rows (positions; all without) of a table as events; `code` has one entry each."""
    at = np.arange(len(frame)) if rows is None else rows
    return Events(
        frame["ts"].to_numpy(np.int64)[at],
        np.maximum(frame["dur"].to_numpy(np.int64)[at], 0),
        code,
        np.full(len(at), SOURCES.index(source), np.uint8),
        at.astype(np.int32),
    )


def is_one_of(column: "pd.Series[str]", *values: str) -> NDArray[np.bool_]:
    """Return which entries are one of these values."""
    return column.isin(values).to_numpy(bool)


def has_device(trace: Trace) -> bool:
    """Return whether kernels were recorded: then what runs on a thread is the host's part."""
    kernels = trace.table("kernels")
    return kernels is not None and len(kernels) > 0
