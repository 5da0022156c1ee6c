"""What the timeline holds of a run too long to hold whole."""

import pandas as pd

from perfscope.analyzer.engine import diagnose
from perfscope.ui.blocks.excerpt import MOST_EVENTS, Excerpt, excerpt, joined, within
from tests.ui.runs import MS, STEP, input_bound


def test_a_short_run_is_held_whole() -> None:
    run = input_bound()
    loader = run.table("loader")
    assert loader is not None
    part = excerpt(run, diagnose(run), [loader], 0)
    assert part.whole and len(part.of(loader)) == len(loader)
    assert run.span_ns[0] <= part.view[0] < part.view[1] <= run.span_ns[1]


def test_of_a_long_run_what_the_findings_point_at_is_held() -> None:
    run = input_bound(steps=4000, slow={3000: 400 * MS})
    diagnosis = diagnose(run)
    loader = run.table("loader")
    assert loader is not None
    part = excerpt(run, diagnosis, [loader] * 3, 0)
    kept = part.of(loader)
    assert not part.whole and 0 < len(kept) < len(loader) / 10 < MOST_EVENTS
    assert kept["dur"].max() == 400 * MS
    begin, end = next((one.start_ns, one.end_ns) for one in diagnosis.findings[0].evidence if one.start_ns is not None)
    assert part.view[0] <= begin <= end <= part.view[1]
    assert part.view[1] - part.view[0] >= 20 * STEP


def test_rows_that_reach_into_an_interval_are_held() -> None:
    rows = pd.DataFrame({"ts": [0, 5, 20, 40], "dur": [4, 6, 5, 5]})
    assert list(Excerpt((10, 22), [(10, 22)], whole=False).of(rows)["ts"]) == [5, 20]


def test_intervals_that_touch_are_one_and_none_leaves_the_recording() -> None:
    assert joined([(0, 5), (5, 9), (12, 14), (13, 13)]) == [(0, 9), (12, 14)]
    assert within((-5, 5), (0, 100)) == (0, 10)
    assert within((95, 105), (0, 100)) == (90, 100)
    assert within((-50, 150), (0, 100)) == (0, 100)
