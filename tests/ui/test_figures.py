"""The figures as data: what they draw, and from what."""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.diagnosis import StepSummary
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.stacks.stack_tree import Node, stack_nodes
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from perfscope.ui.figures.budget_over_steps import MOST_COLUMNS, budget_over_steps
from perfscope.ui.figures.bus_bandwidth import bus_bandwidth
from perfscope.ui.figures.stack_icicle import stack_icicle
from perfscope.ui.figures.step_times import MOST_POINTS, step_times
from perfscope.ui.figures.worker_timeline import worker_lanes
from perfscope.ui.html.sections import (
    PROFILER,
    WARM_UP,
    WINDOW_LABEL,
    budget_sections,
    missing_steps_note,
)
from tests import build
from tests.ui.runs import MS, input_bound


def tree(*stacks: str) -> list[Node]:
    return stack_nodes(
        pd.DataFrame({"stack": list(stacks), "weight_ns": [1_000_000_000] * len(stacks)})
    )


def test_the_budget_of_many_steps_is_drawn_as_means_of_adjacent_steps() -> None:
    rows = input_bound(steps=1000).fact(time_budget)
    drawn = {bar.name: bar for bar in budget_over_steps(rows, (0.0, 10.0)).data}
    assert set(drawn) == {"input wait", "compute or host"}
    assert len(drawn["input wait"].x) <= MOST_COLUMNS
    assert set(drawn["input wait"].y) == {7.0} and drawn["input wait"].marker.pattern.shape == "/"


def test_the_slowest_step_is_drawn_however_many_there_are() -> None:
    run = input_bound(steps=3 * MOST_POINTS, slow={4000: 100 * MS})
    figure = step_times(run.fact(steps), StepSummary(7500, 10.0, 10.0, 10.0, 0), (0.0, 75.0))
    (points,) = figure.data
    assert len(points.x) <= MOST_POINTS + 1 and max(points.y) == 103.0


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


def test_links_that_carry_nothing_have_an_axis_that_can_be_read() -> None:
    row = {
        "kind": "all_reduce",
        "group": "0 [0]",
        "bus_bytes_per_s": 0.0,
        "carried_bytes_per_s": 0.0,
        "at_least": False,
    }
    figure = bus_bandwidth(pd.DataFrame([{**row, "peak_bytes_per_s": float("nan")}]))
    assert figure.layout.xaxis.range == (0, 1.3) and figure.data[0].text == ("0 GB/s",)


def test_only_gaps_in_the_budget_over_the_run_are_explained() -> None:
    rows = input_bound().fact(time_budget)
    drawn = rows[~rows["index"].between(20, 24)]
    assert missing_steps_note(rows, rows) == ""
    slowed = rows.assign(distorted=rows["index"].between(20, 24))
    assert PROFILER in missing_steps_note(slowed, drawn)
    phase = np.where(rows["index"].between(22, 24), "warmup", rows["phase"])
    both = slowed.assign(phase=phase, distorted=rows["index"].between(20, 21))
    assert all(reason in missing_steps_note(both, drawn) for reason in (PROFILER, WARM_UP))
    evaluated = rows.assign(phase=np.where(rows["index"].between(20, 24), "eval", "train"))
    assert missing_steps_note(evaluated, drawn) == ""
    late = rows.assign(distorted=rows["index"] > 55)
    # Missing steps after the last column are not a gap.
    assert missing_steps_note(late, late[~late["distorted"]]) == ""


def test_the_report_explains_the_gap_that_a_window_leaves_in_its_chart() -> None:
    whole = input_bound()
    tables = {name: frame for name in TABLES if (frame := whole.table(name)) is not None}
    taken = {
        "process": 0,
        "ts": 300 * MS,
        "dur": 50 * MS,
        "begin": 300 * MS,
        "end": 350 * MS,
        "steps": 5,
    }
    windows = build.trace(windows=[{**taken, "stall_ns": 0, "kept": True}]).table("windows")
    assert windows is not None
    run = Trace({**tables, "windows": windows}, {}, whole.manifests, span_ns=whole.span_ns)
    (section,) = budget_sections(run, 0)
    assert PROFILER in section.note
    shown = [index for index, _ in section.figure.data[0].customdata]
    assert 32 not in shown and 10 in shown
    (label,) = section.figure.layout.annotations
    assert label.text == WINDOW_LABEL and 0.3 < label.x < 0.35
