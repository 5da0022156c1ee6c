"""`padding-waste`: columns that no row of a batch uses, and the work that is done on them."""

from typing import Any

import pytest

from perfscope.analyzer.compute import padding_waste
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop
from tests.analyzer.outcomes import found, is_clear, not_checked
from tests.build import MAIN, Rows

STEPS, STEP_MS = 60, 20
PADDED: dict[str, Any] = {
    "source": "call",
    "rows": 8,
    "width": 256,
    "longest": 64,
    "shortest": 10,
    "padded_share": 0.9,
    "side": "right",
    "masked": False,
}
LINEAR = ("aten::addmm", "[[64], [2048, 64], [64, 64]]")
SCORES = ("aten::bmm", "[[32, 256, 16], [32, 16, 256]]")
SOFTMAX = ("aten::_softmax", "[[8, 4, 256, 256], [], []]")
PARAMETERS = ("aten::addcdiv_", "[[64, 64], [64, 64]]")
Call = tuple[str, str]


def batches(count: int = 10, **columns: Any) -> Rows:
    """Return batches that were seen, one per 100 ms."""
    row = {"process": 0, "tid": 100, "dur": 1000, **PADDED, **columns}
    return [{**row, "ts": (1 + at) * 100 * MS} for at in range(count)]


def recorded(
    padding: Rows,
    *calls: tuple[Call, float],
    wait_ms: float = 0.0,
    in_optimizer: Call = PARAMETERS,
    ranges: Rows | None = None,
) -> Trace:
    """Return steps of 20 ms: 18 of forward, of which the operators are `calls` (and their ms)."""
    loop = Loop()
    for _ in range(STEPS):
        if wait_ms:
            loop.next(wait_ms)
        loop.forward(18).optimizer(2)
    step_ns = loop.at // STEPS
    begin = 20 * step_ns
    ops: Rows = []
    at = begin + round(wait_ms * MS)
    for (name, shapes), ms in (*calls, (in_optimizer, 18.0 - sum(ms for _, ms in calls) + 2.0)):
        if name == in_optimizer[0]:
            at = begin + step_ns - 2 * MS
            ms = 2.0
        row = {"process": 0, "tid": 100, "ts": at, "dur": round(ms * MS) - 10}
        ops.append({**row, "name": name, "shapes": shapes, "dtypes": '["float"]'})
        at += round(ms * MS)
    window = {"process": 0, "ts": begin - MS, "dur": 2 * step_ns, "steps": 1, "kept": True}
    window |= {"begin": begin, "end": begin + step_ns, "stall_ns": 0}
    manifest = {"depth": "kernels"}
    tables = {"ops": ops, "windows": [window], "padding": padding, "processes": [MAIN]}
    if ranges is not None:
        loop.tables["ranges"] += ranges
    return loop.trace(manifest=manifest, **tables)


def test_linear_work_on_columns_that_no_row_uses_is_lost() -> None:
    """18 of 20 ms are proportional to the width, of which a quarter is used."""
    finding = found(padding_waste, recorded(batches(), (LINEAR, 18.0)))
    assert finding.share == pytest.approx(0.9 * 0.75, abs=0.02)
    assert finding.lost_s == pytest.approx(finding.share * STEPS * STEP_MS / 1e3, rel=0.12)
    assert [action.id for action in finding.actions] == [
        "pad-to-longest-row",
        "group-rows-by-length",
    ]
    assert finding.speedup is not None and finding.speedup.likely is None
    assert finding.speedup.high > 1 / (1 - finding.share)


def test_attention_is_proportional_to_the_square_of_the_width() -> None:
    finding = found(padding_waste, recorded(batches(), (SOFTMAX, 18.0)))
    assert finding.share == pytest.approx(0.9 * (1 - 1 / 16), abs=0.02)
    finding = found(padding_waste, recorded(batches(), (SCORES, 18.0)))
    assert finding.share == pytest.approx(0.9 * 0.75, abs=0.02)


def test_a_width_that_parameters_have_too_does_not_count_twice() -> None:
    parameters = ("aten::addcdiv_", "[[256, 256], [256, 256]]")
    trace = recorded(batches(), (SOFTMAX, 18.0), in_optimizer=parameters)
    assert found(padding_waste, trace).share == pytest.approx(0.9 * 0.75, abs=0.02)


def test_work_without_the_width_in_its_shapes_is_not_lost() -> None:
    other = ("aten::convolution", "[[8, 3, 224, 224], [64, 3, 7, 7]]")
    assert is_clear(padding_waste, recorded(batches(), (other, 18.0)))
    trace = recorded(batches(), (LINEAR, 9.0), (other, 9.0))
    assert found(padding_waste, trace).share == pytest.approx(0.45 * 0.75, abs=0.02)


def test_grouping_is_advised_only_where_padding_is_left() -> None:
    trace = recorded(batches(padded_share=0.76), (LINEAR, 18.0))
    assert [action.id for action in found(padding_waste, trace).actions] == ["pad-to-longest-row"]


@pytest.mark.parametrize(
    "padding",
    [
        batches(longest=250),
        batches(count=4),
        batches(shortest=64),
        batches(side="none"),
        [*batches(5), *batches(5, longest=256, side="none")],
        [*batches(5, width=300), *batches(5)],
        [*batches(5, side="left"), *batches(5)],
    ],
)
def test_batches_that_are_full_few_or_unlike_are_clear(padding: Rows) -> None:
    assert is_clear(padding_waste, recorded(padding, (LINEAR, 18.0)))


def test_what_the_model_was_called_with_counts_more_than_what_was_loaded() -> None:
    trimmed = [*batches(source="loader"), *batches(longest=250)]
    assert is_clear(padding_waste, recorded(trimmed, (LINEAR, 18.0)))
    assert found(padding_waste, recorded(batches(source="loader"), (LINEAR, 18.0)))


@pytest.mark.parametrize(
    "name",
    ["aten::_pack_padded_sequence", "aten::_nested_tensor_from_mask", "flash_attn::varlen_fwd"],
)
def test_a_model_that_leaves_out_padding_is_clear(name: str) -> None:
    skips = (name, "[[8, 256]]")
    assert is_clear(padding_waste, recorded(batches(), (LINEAR, 15.0), (skips, 3.0)))


def test_a_loop_that_waits_for_input_gains_nothing() -> None:
    assert is_clear(padding_waste, recorded(batches(), (LINEAR, 18.0), wait_ms=4.0))


def test_compiled_code_is_not_checked() -> None:
    compiled = {"process": 0, "tid": 100, "ts": MS, "dur": MS, "category": "compilation"}
    trace = recorded(batches(), (LINEAR, 18.0), ranges=[compiled])
    assert "compile" in not_checked(padding_waste, trace).reason
