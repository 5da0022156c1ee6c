"""Tiles of the timeline, compared with a simple count: the busy share and the longest event of each
pixel.
"""

from itertools import pairwise

import numpy as np
import pytest

from perfscope.analyzer.timeline.lane import BLOCKS, Events, Lane, lane
from perfscope.analyzer.timeline.tiles import edges_of, tile
from tests.analyzer.timeline.unpack import unpack_tile

RNG = np.random.default_rng(7)


def random_lane(events: int, names: int = 40) -> Lane:
    """Return a lane of events of a few ns with gaps; some events have no duration."""
    gap, dur = RNG.integers(0, 9, events), RNG.integers(0, 30, events)
    ts = np.cumsum(gap + np.concatenate(([0], dur[:-1]))).astype(np.int64)
    code = RNG.integers(5, 5 + names, events)
    return lane(
        Events(
            ts,
            dur.astype(np.int64),
            code,
            np.zeros(events, np.uint8),
            np.arange(events, dtype=np.int32),
        )
    )


def count_per_pixel(events: Lane, edges: np.ndarray) -> tuple[list[int], list[set[int]]]:
    """Return the busy ns of each pixel, and the codes of the longest events that touch it."""
    whole = slice(None)
    ts, dur, code = events.ts, events.dur(whole), events.code(whole)
    busy, longest = [], []
    for begin, end in pairwise(edges):
        inside = np.minimum(ts + dur, end) - np.maximum(ts, begin)
        busy.append(int(np.maximum(inside, 0).sum()))
        touch = ((ts >= begin) & (ts < end)) | (inside > 0)
        most = dur[touch].max() if touch.any() else -1
        longest.append(set(code[touch & (dur == most)].tolist()))
    return busy, longest


@pytest.mark.parametrize("window", [(0, 20_000), (-500, 9_000), (333, 15_001), (0, 9_999_999)])
def test_every_pixel_has_the_busy_share_and_longest_event_of_a_simple_count(
    window: tuple[int, int],
) -> None:
    events, pixels = random_lane(1500), 200
    found = unpack_tile(tile([events], *window, pixels, [0]))[0]
    edges = edges_of(*window, pixels)
    busy, longest = count_per_pixel(events, edges)
    assert found["kind"] in (2, 3)
    for at in range(pixels):
        share = 255 * busy[at] / (edges[at + 1] - edges[at])
        assert found["busy"][at] == (max(np.ceil(share), 1) if longest[at] else 0)
        assert not longest[at] or found["code"][at] in longest[at]


def test_few_events_are_rectangles_to_an_eighth_of_a_pixel() -> None:
    events = random_lane(1500)
    begin, end = int(events.ts[700]) - 3, int(events.ts[730])
    found = unpack_tile(tile([events], begin, end, 1000, [0]))[0]
    assert found["kind"] == 1
    part = events.window(begin, end)
    scale = 1000 / (end - begin)
    left = np.clip((events.ts[part] - begin) * scale, 0, 1000)
    right = np.clip((events.ts[part] + events.dur(part) - begin) * scale, 0, 1000)
    assert np.abs(found["x"] - left).max() <= 1 / 16
    assert np.abs(found["x"] + found["w"] - right).max() <= 1 / 8
    assert (found["code"] == events.code(part)).all()


@pytest.mark.parametrize("size", BLOCKS)
def test_tiles_of_very_many_events_use_blocks_and_have_exact_shares(size: int) -> None:
    events, pixels = random_lane(size * 2 * 20 * 4), 20
    window = (0, int(events.ts[-1]))
    found = unpack_tile(tile([events], *window, pixels, [0]))[0]
    edges = edges_of(*window, pixels)
    busy, _ = count_per_pixel(events, edges)
    shares = np.array(busy) / np.diff(edges)
    assert found["busy"].tolist() == np.ceil(255 * shares).astype(int).tolist()


def test_tiles_outside_of_the_events_are_empty_and_lanes_keep_their_numbers() -> None:
    lanes = [random_lane(10), random_lane(4000)]
    found = unpack_tile(tile(lanes, -100, -50, 64, [1, 0]))
    assert {number: drawn["kind"] for number, drawn in found.items()} == {0: 0, 1: 0}


def test_equal_pixels_are_sent_as_runs() -> None:
    many = np.arange(3000, dtype=np.int64)
    events = lane(
        Events(
            many,
            np.ones(3000, np.int64),
            np.full(3000, 3),
            many.astype(np.uint8),
            many.astype(np.int32),
        )
    )
    body = tile([events], 0, 3000, 1000, [0])
    assert unpack_tile(body)[0]["kind"] == 3 and len(body) < 100
    assert unpack_tile(body)[0]["busy"].tolist() == [255] * 1000


def test_an_event_of_centuries_does_not_distort_the_others() -> None:
    ts = np.array([0, 10, 10**18], np.int64)
    events = lane(
        Events(
            ts,
            np.array([5, 5, 10**18], np.int64),
            np.array([0, 1, 2]),
            np.zeros(3, np.uint8),
            np.arange(3, dtype=np.int32),
        )
    )
    assert events.dur(slice(0, 2)).tolist() == [5, 5]
    assert unpack_tile(tile([events], 0, 20, 40, [0]))[0]["code"].tolist() == [0, 1]
    assert unpack_tile(tile([events], 0, 2 * 10**18, 8, [0]))[0]["kind"] == 1
