"""Tracks of device streams: kernels, collectives and copies, in the order in which they ran."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from perfscope.analyzer.categories import DEVICE_COMPUTE, EXPOSED_COMMUNICATION, EXPOSED_COPY
from perfscope.analyzer.timeline.event_rows import serial_rows
from perfscope.analyzer.timeline.lane import Events, concatenate_events, merge_events
from perfscope.analyzer.timeline.names import Names
from perfscope.analyzer.timeline.track import Draft, events_of, is_one_of
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

MOST_ROWS = 8
"""The most rows of one stream: more kernels of one queue at the same time are a recorder's error or
branches of a graph.
"""
COPIES = {
    "h2d": "copy, host to device",
    "d2h": "copy, device to host",
    "d2d": "copy on the device",
    "p2p": "copy to another device",
    "memset": "memset",
}

PlacedEvents = tuple[Events, Ints]
"""Events, and per event its process, device and stream (3 x n)."""


def device_events(trace: Trace, names: Names) -> Iterator[PlacedEvents]:
    """Yield kernels and copies with the stream they ran on."""
    kernels, copies = trace.table("kernels"), trace.table("copies")
    if kernels is not None and len(kernels):
        talks = is_one_of(kernels["kind"], "communication")
        for chosen, color in ((talks, EXPOSED_COMMUNICATION), (~talks, DEVICE_COMPUTE)):
            rows = np.flatnonzero(chosen)
            if len(rows):
                code = names.of(kernels["name"].iloc[rows], color)
                yield events_of(kernels, "kernels", code, rows), streams_of_rows(kernels, rows)
    if copies is not None:
        rows = np.flatnonzero(copies["device"].to_numpy(np.int64) >= 0)
        if len(rows):
            words = copies["direction"].iloc[rows].astype(str).map(lambda way: COPIES.get(way, way))
            yield (
                events_of(copies, "copies", names.of(words, EXPOSED_COPY), rows),
                streams_of_rows(copies, rows),
            )


def streams_of_rows(frame: pd.DataFrame, rows: Ints) -> Ints:
    """Return process, device and stream of these rows."""
    return np.stack(
        [frame[name].to_numpy(np.int64)[rows] for name in ("process", "device", "stream")]
    )


def stream_tracks(trace: Trace, names: Names) -> Iterator[Draft]:
    """Yield a track per stream, with several rows only where its kernels overlap."""
    found = list(device_events(trace, names))
    if not found:
        return
    place = np.concatenate([where for _, where in found], axis=1)
    events = concatenate_events([placed for placed, _ in found])
    streams, stream = np.unique(place, axis=1, return_inverse=True)
    stream = np.asarray(stream).reshape(-1)
    order = np.argsort(stream, kind="stable")
    stops = np.cumsum(np.bincount(stream, minlength=streams.shape[1]))
    several = len(np.unique(streams[:2], axis=1)[0]) > 1
    for at, (process, device, number) in enumerate(streams.T.tolist()):
        of_stream = events.where(order[stops[at - 1] if at else 0 : stops[at]])
        rows, hidden = serial_rows(merge_events([of_stream]), MOST_ROWS)
        title = f"stream {number}" if number >= 0 else "device"
        title = f"GPU {device}, {title}" if several and device >= 0 else title
        yield Draft(
            process,
            (1, device, number),
            "stream",
            title,
            rows,
            hidden,
            device=device,
            stream=number,
        )
