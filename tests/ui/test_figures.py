"""The figures as data: what they draw, and from what."""

import numpy as np
import pandas as pd
import pytest

from perfscope.analyzer.run.stacks.stack_tree import Node, stack_nodes
from perfscope.ui.figures.stack_icicle import stack_icicle
from perfscope.ui.figures.worker_timeline import worker_lanes
from perfscope.ui.html.arrival_bars import shown_arrivals
from perfscope.ui.html.bus_bandwidth_bars import bus_bandwidth_bars
from perfscope.ui.html.level_area import Level, extreme_positions, level_area


def tree(*stacks: str) -> list[Node]:
    return stack_nodes(
        pd.DataFrame({"stack": list(stacks), "weight_ns": [1_000_000_000] * len(stacks)})
    )


def test_frames_common_to_all_stacks_are_folded_and_counted() -> None:
    trunk = ";".join(f"f{at} (a.py:{at})" for at in range(12))
    below = ";".join(f"g{at} (b.py:{at})" for at in range(7))
    (icicle,) = stack_icicle(tree(f"{trunk};{below}", f"{trunk};h (c.py:1)")).data
    assert icicle.labels[0] == "11 callers, f11 (a.py:11)" and icicle.parents[0] == ""
    assert len(icicle.labels) == 1 + 7 + 1 and sum(icicle.values[1:3]) == icicle.values[0] == 2.0


def test_a_short_or_branching_stack_is_not_folded() -> None:
    (icicle,) = stack_icicle(tree("main (a.py:1);x (a.py:2)", "main (a.py:1);y (a.py:3)")).data
    assert list(icicle.labels) == ["main (a.py:1)", "x (a.py:2)", "y (a.py:3)"]


def test_workers_of_two_loaders_with_the_same_number_have_separate_lanes() -> None:
    fetches = pd.DataFrame({"process": [1, 2, 3, 0], "worker": [0, 1, 0, -1]})
    assert worker_lanes(fetches) == {
        0: "loading in main",
        1: "worker 0 (process 1)",
        3: "worker 0 (process 3)",
        2: "worker 1",
    }


def test_links_that_carry_nothing_have_bars_of_no_width() -> None:
    row = {
        "kind": "all_reduce",
        "group": "0 [0]",
        "bus_bytes_per_s": 0.0,
        "carried_bytes_per_s": 0.0,
        "at_least": False,
    }
    chart = bus_bandwidth_bars(pd.DataFrame([{**row, "peak_bytes_per_s": float("nan")}]))
    assert "width:0.00%" in chart and "0 GB/s" in chart and 'class="mark"' not in chart
    with_peak = bus_bandwidth_bars(
        pd.DataFrame([{**row, "bus_bytes_per_s": 5e9, "peak_bytes_per_s": 20e9}])
    )
    assert "width:25.00%" in with_peak and 'class="mark" style="left:100.00%"' in with_peak


def test_a_level_keeps_its_value_until_the_next_instant() -> None:
    times, levels = np.array([0, 10, 20], np.int64), np.array([4, 0, 2], np.int64)
    outline = "0.00% 100.0%,0.00% 0.0%,50.00% 0.0%,50.00% 100.0%,100.00% 100.0%,100.00% 50.0%"
    single = level_area(times, [Level("queue", "other-idle", levels)], "4", "kernels")
    assert f"polygon({outline},100.00% 100.0%)" in single and 'class="legend"' not in single
    behind = Level("all", "peer-wait", np.array([8, -1, 8], np.int64))
    both = level_area(times, [behind, Level("queue", "other-idle", levels)], "8", "")
    assert "0.00% 100.0%,0.00% 50.0%,50.00% 50.0%,50.00% 100.0%" in both
    assert both.count('class="area"') == 2 and 'class="legend"' in both


@pytest.mark.parametrize("at_ns", [0, 10**9, 2 * 10**18])
def test_a_level_of_a_single_instant_is_drawn(at_ns: int) -> None:
    level = Level("queue", "other-idle", np.array([4], np.int64))
    assert level_area(np.array([at_ns], np.int64), [level], "4", "").count('class="area"') == 1


def test_a_long_level_keeps_its_extremes() -> None:
    values = np.zeros(10_000, np.int64)
    values[1234] = 9
    kept = extreme_positions(values)
    assert len(kept) <= 1000 and 1234 in kept


def test_of_many_ranks_those_that_arrive_last_are_drawn() -> None:
    spread = pd.DataFrame({"rank": range(40), "median_ns": [40 - rank for rank in range(40)]})
    assert shown_arrivals(spread, 30)["rank"].tolist() == [*range(16), 30]
    assert shown_arrivals(spread, 3)["rank"].tolist() == list(range(16))
