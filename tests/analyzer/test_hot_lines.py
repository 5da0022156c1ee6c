"""The program's lines and functions by time."""

import pytest

from perfscope.analyzer.diagnosis import CodeCost, Interval
from perfscope.analyzer.summary.hot_lines import hot_functions, hot_lines


def cost(
    name: str, line: int, self_s: float, *children: CodeCost, phase: str = "steps"
) -> CodeCost:
    total_s = self_s + sum(child.total_s for child in children)
    share = Interval(0.0, 0.0, 0.0)
    file = f"{name}.py"
    return CodeCost(
        name, file, line, None, 0, "main", phase, self_s, total_s, share, list(children)
    )


def test_a_line_is_summed_over_its_callers_and_recursion_counts_once() -> None:
    inner = cost("walk", 5, 1.0, cost("walk", 5, 2.0))
    costs = [cost("main", 1, 0.5, inner, cost("load", 9, 0.25, cost("walk", 5, 0.25)))]
    rows = hot_lines(costs).set_index("place")
    assert rows.index[0] == "walk.py:5"
    assert rows.loc["walk.py:5", ["self_s", "total_s"]].tolist() == [3.25, 3.25]
    assert rows.loc["main.py:1", "total_s"] == 4.0 and rows.loc["main.py:1", "share"] == 1.0
    assert rows["self_s"].sum() == pytest.approx(4.0)


def test_lines_of_different_phases_are_separate() -> None:
    rows = hot_lines([cost("f", 3, 1.0), cost("f", 3, 2.0, phase="start-up")])
    assert rows["phase"].tolist() == ["start-up", "steps"]


def test_a_function_is_named_by_its_hottest_line() -> None:
    rows = hot_functions([cost("f", 3, 1.0), cost("f", 7, 2.0)])
    assert rows["place"].tolist() == ["f.py:7"] and rows["self_s"].tolist() == [3.0]


def test_without_costs_there_are_no_rows() -> None:
    assert len(hot_lines([])) == 0 and len(hot_functions([])) == 0
