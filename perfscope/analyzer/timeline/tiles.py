"""A window of the timeline at a width in pixels, as bytes. The level of detail is chosen per lane.

A lane with few events in the window is sent as rectangles; a fuller one as, per pixel, the name of
the longest event that overlaps it and the busy share of the pixel. Both are computed from the
lane's columns; nothing is precomputed per zoom level.

Format, little endian, version 1. Header: `PFTL`, uint16 version, uint16 0, uint32 lanes, uint32
pixels. Then per lane: uint32 number of the lane, uint8 kind, uint8 width of an index in bytes (1 or
2), uint16 0, uint32 n, uint32 p, then uint32[p] palette: codes of names that indices point into.
Then by kind, and zeros up to a multiple of 4:

- 0 empty: nothing
- 1 rectangles: uint16[n] left edge and uint16[n] width, both in eighths of a pixel; index[n]
- 2 pixels: index[n]; uint8[n] busy share in 255ths (0: nothing; the least for an event however
  short is 1); n = pixels
- 3 runs of equal pixels: uint16[n] length in pixels; index[n]; uint8[n] busy share
- 4 levels of a counter: uint8[n] highest level in the pixel in 255ths of its limit; n = pixels, the
  palette holds one name
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfscope.analyzer.timeline.lane import BLOCKS, Lane
from perfscope.traces.intervals import Ints

MAGIC, VERSION = b"PFTL", 1
EMPTY, RECTANGLES, PIXELS, RUNS, LEVELS = range(5)
MOST_PIXELS = 8192
EIGHTHS = 8
FULL = 255
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class PixelGrid:
    """A window of time, [begin_ns, end_ns), and its width in pixels."""

    begin_ns: int
    end_ns: int
    pixels: int


@dataclass(frozen=True)
class NameIndices:
    """The names of events: a palette of their codes, and an index into it per event or pixel."""

    palette: NDArray[np.uint32]
    index: NDArray[np.uint8] | NDArray[np.uint16]


def tile(
    lanes: Sequence[Lane], begin_ns: int, end_ns: int, pixels: int, numbers: Sequence[int]
) -> bytes:
    """Return the window [begin_ns, end_ns) of the lanes with these numbers, `pixels` wide."""
    parts = [struct.pack("<4sHHII", MAGIC, VERSION, 0, len(numbers), pixels)]
    grid = PixelGrid(begin_ns, end_ns, pixels)
    edges = edges_of(begin_ns, end_ns, pixels)
    for number in numbers:
        parts.append(lane_part(number, lanes[number], grid, edges))
    return b"".join(parts)


def edges_of(begin_ns: int, end_ns: int, pixels: int) -> Ints:
    """Return the instants between pixels, one more than there are pixels."""
    pixel_ns = (end_ns - begin_ns) / pixels
    edges: Ints = begin_ns + np.rint(np.arange(pixels + 1) * pixel_ns).astype(np.int64)
    return edges


def lane_part(number: int, lane: Lane, grid: PixelGrid, edges: Ints) -> bytes:
    """Return one lane of a tile; `edges` are those of the grid."""
    part = lane.window(grid.begin_ns, grid.end_ns)
    events = part.stop - part.start
    if not events:
        return struct.pack("<IBBHII", number, EMPTY, 1, 0, 0, 0)
    if lane.level is not None:
        return level_part(number, lane, lane.level, part, edges)
    if events <= grid.pixels // 2:
        return rectangle_part(number, lane, part, grid)
    busy, local = pixel_columns(lane, part, edges)
    return pixel_part(number, lane, busy, local)


def level_part(number: int, lane: Lane, level: Bytes, part: slice, edges: Ints) -> bytes:
    """Return the highest level in each pixel; 0 where there is no reading."""
    ts = lane.ts[part]
    end = ts + lane.dur(part)
    first = np.searchsorted(end, edges[:-1], side="right")
    until = np.searchsorted(ts, edges[1:], side="left")
    padded = np.append(level[part], np.uint8(0))
    begins = np.minimum(first, len(ts))
    ends = np.minimum(np.maximum(until, first), len(ts))
    bounds = np.stack([begins, ends], axis=1).ravel()
    highest = np.maximum.reduceat(padded, bounds)[::2]
    shown = np.where(until > first, np.maximum(highest, 1), 0).astype(np.uint8)
    only_name = NameIndices(lane.codes[:1].astype("<u4"), np.zeros(0, np.uint8))
    return lane_bytes(number, LEVELS, len(shown), only_name, shown.tobytes())


def rectangle_part(number: int, lane: Lane, part: slice, grid: PixelGrid) -> bytes:
    """Return the events as rectangles."""
    scale = EIGHTHS * grid.pixels / (grid.end_ns - grid.begin_ns)
    start = (lane.ts[part] - grid.begin_ns) * scale
    stop = start + lane.dur(part) * scale
    last = min(EIGHTHS * grid.pixels, 0xFFFF)
    left = np.clip(np.rint(start), 0, last)
    width = np.clip(np.rint(stop), 0, last) - left
    names = name_indices(lane, lane.key[part] & lane.mask)
    body = left.astype("<u2").tobytes() + width.astype("<u2").tobytes() + names.index.tobytes()
    return lane_bytes(number, RECTANGLES, len(left), names, body)


def pixel_columns(lane: Lane, part: slice, edges: Ints) -> tuple[Bytes, Ints]:
    """Return, per pixel, its busy share in 255ths and the name number of its longest event."""
    ts, key = lane.ts[: part.stop], lane.key[: part.stop]
    at = np.searchsorted(ts[part], edges) + part.start
    before = np.maximum(at - 1, 0)
    over = np.where(at > 0, np.maximum(ts[before] + (key[before] >> lane.bits) - edges, 0), 0)
    until = lane.total[at] - over
    share = np.diff(until) / np.maximum(np.diff(edges), 1)
    begins = at[1:] > at[:-1]
    carried = over[:-1] > 0
    longest = longest_from(lane, part, at[:-1], len(edges) - 1)
    longest = np.maximum(np.where(begins, longest, -1), np.where(carried, key[before[:-1]], -1))
    busy = np.ceil(np.clip(share, 0, 1) * FULL).astype(np.uint8)
    occupied = begins | carried
    shares = np.where(occupied, np.maximum(busy, 1), 0).astype(np.uint8)
    return shares, np.where(occupied, longest & lane.mask, 0)


def longest_from(lane: Lane, part: slice, at: Ints, pixels: int) -> Ints:
    """Return the largest key from each of `at` to the next.

    Where a pixel contains several blocks of events, whole blocks are used.
    """
    size, keys = 1, lane.key
    for block, maxima in zip(BLOCKS, lane.blocks, strict=True):
        if part.stop - part.start > 2 * block * pixels:
            size, keys = block, maxima
    keys = keys[: (part.stop - 1) // size + 1]
    longest: Ints = np.maximum.reduceat(keys, np.minimum(at // size, len(keys) - 1))
    return longest


def name_indices(lane: Lane, local: Ints) -> NameIndices:
    """Return the names with these numbers in the lane; the palette has those that occur."""
    occurs = np.zeros(len(lane.codes), bool)
    occurs[local] = True
    used = np.flatnonzero(occurs)
    index = np.zeros(len(lane.codes), "<u1" if len(used) <= 256 else "<u2")
    index[used] = np.arange(len(used))
    return NameIndices(lane.codes[used].astype("<u4"), index[local])


def pixel_part(number: int, lane: Lane, busy: Bytes, local: Ints) -> bytes:
    """Return pixels, or runs of equal pixels where that is shorter."""
    names = name_indices(lane, local)
    index = names.index
    changes = np.flatnonzero((busy[1:] != busy[:-1]) | (index[1:] != index[:-1])) + 1
    first = np.concatenate(([0], changes))
    if len(first) * (3 + index.itemsize) < len(busy) * (1 + index.itemsize):
        length = np.diff(np.append(first, len(busy))).astype("<u2")
        body = length.tobytes() + index[first].tobytes() + busy[first].tobytes()
        return lane_bytes(number, RUNS, len(first), names, body)
    return lane_bytes(number, PIXELS, len(busy), names, index.tobytes() + busy.tobytes())


def lane_bytes(number: int, kind: int, count: int, names: NameIndices, body: bytes) -> bytes:
    """Return a lane with its header and palette, padded to a multiple of 4."""
    palette, width = names.palette, names.index.itemsize
    head = struct.pack("<IBBHII", number, kind, width, 0, count, len(palette))
    return head + palette.tobytes() + body + b"\0" * (-len(body) % 4)
