"""The operators of windows in the diagnosis: phase, shapes, and time without the operators they
call.
"""

from typing import Any

from perfscope.analyzer.summary.operator_summary import operator_summary
from perfscope.traces.trace import Trace
from tests.build import Rows, trace

MS = 1_000_000
WINDOW = {
    "process": 0,
    "ts": 0,
    "dur": 100 * MS,
    "begin": 0,
    "end": 100 * MS,
    "steps": 1,
    "stall_ns": 0,
    "kept": True,
}


def windowed(ops: Rows, ranges: Rows) -> Trace:
    """Return a recording with these operators in its window."""
    return trace(ranges=ranges, ops=ops, windows=[WINDOW], manifest={"depth": "kernels"})


def op(ts: int, dur: int, name: str, **more: Any) -> dict[str, Any]:
    return {"tid": 100, "ts": ts * MS, "dur": dur * MS, "name": name, **more}


def test_operators_are_summed_by_phase_and_shapes() -> None:
    ranges = [
        {
            "tid": 100,
            "ts": 0,
            "dur": 40 * MS,
            "category": "forward",
            "name": "Net",
            "object": 1,
            "value": 1,
        },
        {"tid": 100, "ts": 40 * MS, "dur": 30 * MS, "category": "backward", "name": ""},
        {
            "tid": 100,
            "ts": 80 * MS,
            "dur": 10 * MS,
            "category": "optimizer",
            "name": "SGD",
            "object": 2,
        },
    ]
    ops = [
        op(1, 20, "aten::linear", shapes="[[8, 4]]"),
        op(2, 15, "aten::addmm", shapes="[[8, 4]]", parent=0),
        op(25, 5, "aten::addmm", shapes="[[2, 4]]"),
        op(45, 20, "AddmmBackward0"),
        op(72, 4, "aten::item"),
        op(82, 6, "aten::add_", shapes="[[4]]"),
    ]
    found = operator_summary(windowed(ops, ranges), 0)
    assert [
        (row.phase, row.name, row.shapes, row.host_ms, row.host_self_ms, row.share) for row in found
    ] == [
        ("backward", "AddmmBackward0", "", 20.0, 20.0, 0.363636),
        ("forward", "aten::addmm", "[[8, 4]]", 15.0, 15.0, 0.272727),
        ("optimizer", "aten::add_", "[[4]]", 6.0, 6.0, 0.109091),
        ("forward", "aten::linear", "[[8, 4]]", 20.0, 5.0, 0.090909),
        ("forward", "aten::addmm", "[[2, 4]]", 5.0, 5.0, 0.090909),
        ("other", "aten::item", "", 4.0, 4.0, 0.072727),
    ]


def test_each_thread_has_its_phases_from_its_ranges() -> None:
    ranges = [
        {
            "tid": 100,
            "ts": 0,
            "dur": 40 * MS,
            "category": "forward",
            "name": "Net",
            "object": 1,
            "value": 1,
        },
        {"tid": 200, "ts": 0, "dur": 40 * MS, "category": "backward", "name": ""},
    ]
    ops = [
        op(1, 5, "aten::addmm"),
        op(1, 5, "aten::mm") | {"tid": 200},
        op(1, 5, "aten::mul") | {"tid": 300},
    ]
    found = operator_summary(windowed(ops, ranges), 0)
    assert {row.name: row.phase for row in found} == {
        "aten::addmm": "forward",
        "aten::mm": "backward",
        "aten::mul": "backward",  # on autograd's thread
    }


def test_operators_called_by_autograd_are_backward_where_ranges_are_missing() -> None:
    ops = [
        op(1, 20, "autograd::engine::evaluate_function: AddmmBackward0"),
        op(2, 15, "AddmmBackward0", parent=0),
        op(3, 5, "aten::mm", parent=1),
        op(30, 5, "aten::mm"),
    ]
    found = operator_summary(windowed(ops, []), 0)
    assert sorted(row.phase for row in found if row.name == "aten::mm") == ["backward", "other"]


def test_a_recording_without_windows_has_no_operators() -> None:
    profiled = trace(ops=[op(1, 20, "aten::linear")], manifest={"depth": "trace"})
    assert operator_summary(profiled, 0) == []
