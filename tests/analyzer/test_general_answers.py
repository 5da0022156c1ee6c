"""General answers: what takes the loop's time where no finding explains it."""

from typing import Any

import pytest

from perfscope.analyzer.compute.slow_operators import slow_operators
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Verdict
from perfscope.analyzer.explain import explain, ids
from perfscope.analyzer.verdict.general_answers import GENERAL
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, Loop
from tests.build import trace

STEPS, STEP_MS = 40, 50
WHOLE_MS = STEPS * STEP_MS
MAIN = "main (./train.py:20)"
MODEL = f"{MAIN};_call_impl (torch/nn/modules/module.py:1)"
TORCH_FACTS = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": False}


def sampled(stack: str, library: str, *, state: str = "running") -> dict[str, list[dict[str, Any]]]:
    """Return samples of a thread that does the same for the whole recording."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for at in range(0, WHOLE_MS * MS, 10 * MS):
        row = {"process": 0, "tid": 100, "ts": at}
        stacks = shown.setdefault("outside_stacks", [])
        stacks.append({**row, "weight_ns": 10 * MS, "stack": stack})
        shown.setdefault("thread_states", []).append({**row, "state": state})
        if state == "running":
            native = shown.setdefault("native_samples", [])
            native.append({**row, "weight_ns": 10 * MS, "library": library})
    return shown


def steps_of(forward_ms: float) -> Loop:
    """Return steps with a model call, the rest of which is outside of torch's calls."""
    loop = Loop()
    for _ in range(STEPS):
        loop.forward(forward_ms).optimizer(1).idle(STEP_MS - forward_ms - 1)
    return loop


def windowed(loop: Loop, ops: list[dict[str, Any]], **more: Any) -> Trace:
    """Return a recording with a window over the steps 10 and 11."""
    begin, end = 10 * STEP_MS * MS, 12 * STEP_MS * MS
    window = {"process": 0, "ts": begin - MS, "dur": end - begin + 2 * MS}
    window |= {"begin": begin - MS, "end": end + MS, "steps": 2, "stall_ns": 0, "kept": True}
    manifest = {"depth": "kernels", "torch": TORCH_FACTS | more.pop("torch", {})}
    return trace(ops=ops, windows=[window], manifest=manifest, **loop.tables, **more)


def operators(name: str, begin_ms: float, *, count: int, ms: float, **more: Any) -> list[Any]:
    """Return operators one after the other, from `begin_ms` after the begin of steps 10 and 11."""
    return [
        {
            "tid": 100,
            "ts": round((step * STEP_MS + begin_ms + number * ms) * MS),
            "dur": round(0.9 * ms * MS),
            "name": name,
            **more,
        }
        for step in (10, 11)
        for number in range(count)
    ]


def line_of(verdict: Verdict) -> tuple[str, int] | None:
    return None if verdict.where is None else (verdict.where.file, verdict.where.line)


def test_operators_called_outside_of_the_model_are_dispatched_by_the_program() -> None:
    update = f"{MAIN};update (./train.py:8)"
    loop = steps_of(forward_ms=5)
    views = operators("aten::view", 6, count=880, ms=0.05)
    shown = sampled(update, "libtorch_cpu.so")
    computing = operators("aten::mm", 1, count=1, ms=2)
    verdict = diagnose_trace(windowed(loop, [*views, *computing], **shown)).verdict
    assert (verdict.id, verdict.kind, line_of(verdict)) == (
        "operator-dispatch",
        "general",
        ("train.py", 8),
    )


def test_slow_products_are_native_code() -> None:
    shapes = {"shapes": "[[512, 512], [512, 512]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=1, ms=40, **shapes)
    seen = windowed(steps_of(forward_ms=45), products, **sampled(MODEL, "libtorch_cpu.so"))
    slow = seen.fact(slow_operators)[0]
    # 2 x 512^3 FLOP in 36 ms.
    assert slow[0].rate == pytest.approx(7.456e9, rel=0.01)
    verdict = diagnose_trace(seen).verdict
    assert (verdict.id, verdict.kind) == ("native-code", "general")
    assert line_of(verdict) == ("train.py", 20)


def run_delay(share: float) -> list[dict[str, Any]]:
    """Return counters of the loop's thread, which has no core for this share of the time."""
    return [
        {"process": 0, "tid": 100, "ts": ts, "name": "run_delay_ns", "value": share * ts}
        for ts in (0, WHOLE_MS * MS)
    ]


@pytest.mark.parametrize(("delay", "is_slow"), [(0.0, True), (0.2, True), (0.4, False)])
def test_products_whose_thread_has_no_core_are_not_slow(delay: float, is_slow: bool) -> None:
    shapes = {"shapes": "[[512, 512], [512, 512]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=1, ms=40, **shapes)
    shown = sampled(MODEL, "libtorch_cpu.so")
    seen = windowed(steps_of(forward_ms=45), products, counters=run_delay(delay), **shown)
    assert bool(seen.fact(slow_operators).get(0)) is is_slow


def test_the_rate_that_is_usual_is_that_of_the_time_on_a_core() -> None:
    shapes = {"shapes": "[[512, 512], [512, 512]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=1, ms=40, **shapes)
    seen = windowed(steps_of(forward_ms=45), products, counters=run_delay(0.25))
    assert seen.fact(slow_operators)[0][0].usual_rate == pytest.approx(0.75 * 64e9)


def test_products_at_the_usual_rate_are_healthy() -> None:
    shapes = {"shapes": "[[1024, 1024], [1024, 1024]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=1, ms=40, **shapes)
    seen = windowed(steps_of(forward_ms=45), products, **sampled(MODEL, "libtorch_cpu.so"))
    assert not seen.fact(slow_operators)[0]
    assert diagnose_trace(seen).verdict.id == "healthy"


@pytest.mark.parametrize(
    ("library", "id"), [("libtorch_cpu.so", "operator-dispatch"), ("python3.11", "python-code")]
)
def test_a_step_that_mostly_does_not_compute_is_not_healthy(library: str, id: str) -> None:
    """No cause has enough of it: the loop runs many functions and calls operators in turn."""
    shapes = {"shapes": "[[64, 64], [64, 64]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=10, ms=0.5, **shapes)
    shown = sampled(MODEL, library)
    for number, (row, native) in enumerate(
        zip(shown["outside_stacks"], shown["native_samples"], strict=True)
    ):
        if number % 10 >= 4:
            row["stack"] = f"{MAIN};part{number % 70} (./train.py:{100 + number % 70})"
            native["library"] = library if number % 10 == 4 else "libc.so.6"
    verdict = diagnose_trace(windowed(steps_of(forward_ms=20), products, **shown)).verdict
    assert (verdict.id, verdict.kind) == (id, "general")
    assert line_of(verdict) == ("train.py", 20)


def test_operators_of_a_busy_machine_are_not_called_slow() -> None:
    shapes = {"shapes": "[[512, 512], [512, 512]]", "dtypes": '["float", "float"]'}
    products = operators("aten::mm", 1, count=1, ms=40, **shapes)
    delays = [
        {"process": 0, "tid": 100, "ts": at * MS, "name": "run_delay_ns", "value": 0.4 * at * MS}
        for at in range(0, WHOLE_MS, 50)
    ]
    shown = sampled(MODEL, "libtorch_cpu.so")
    alone = windowed(steps_of(forward_ms=45), products, **shown)
    seen = windowed(steps_of(forward_ms=45), products, counters=delays, **shown)
    assert alone.fact(slow_operators)[0] and not seen.fact(slow_operators)
    assert "Slow operators" not in diagnose_trace(seen).verdict.headline


def test_copies_of_objects_are_native_code() -> None:
    copying = "deepcopy (copy.py:172);__deepcopy__ (torch/nn/parameter.py:61)"
    copy = f"{MAIN};update (./train.py:8);{copying}"
    loop = steps_of(forward_ms=30)
    shown = sampled(MODEL, "libtorch_cpu.so")
    for number, row in enumerate(shown["outside_stacks"]):
        row["stack"] = copy if number % 5 == 4 else MODEL
    verdict = diagnose_trace(loop.trace(**shown)).verdict
    assert (verdict.id, verdict.kind, line_of(verdict)) == (
        "native-code",
        "general",
        ("train.py", 8),
    )


def test_an_operator_before_one_with_the_same_number_has_no_gradient() -> None:
    loop = steps_of(forward_ms=5)
    copies = operators("aten::contiguous", 8, count=30, ms=1, sequence=5)
    update = f"{MAIN};prepare (./train.py:9)"
    verdict = diagnose_trace(windowed(loop, copies, **sampled(update, "libtorch_cpu.so"))).verdict
    assert (verdict.id, verdict.kind, line_of(verdict)) == (
        "native-code",
        "general",
        ("train.py", 9),
    )


def test_a_recording_without_steps_says_whose_code_runs() -> None:
    rollout = f"{MAIN};rollout (./train.py:30)"
    shown = sampled(rollout, "libtorch_cpu.so")
    verdict = diagnose_trace(Loop().forward(5).trace(**shown)).verdict
    assert (verdict.id, verdict.kind, line_of(verdict)) == (
        "native-code",
        "general",
        ("train.py", 30),
    )


def test_anomaly_detection_is_the_caveat_of_expensive_calls() -> None:
    views = operators("aten::view", 1, count=800, ms=0.05)
    computing = operators("aten::mm", 43, count=1, ms=2)
    shown = sampled(MODEL, "libtorch_cpu.so")
    usual, anomaly = (
        diagnose_trace(
            windowed(
                steps_of(forward_ms=45),
                [*views, *computing],
                torch={"anomaly_detection": is_on},
                **shown,
            )
        ).verdict
        for is_on in (False, True)
    )
    assert (usual.id, anomaly.id) == ("launch-bound", "operator-dispatch")
    assert "set_detect_anomaly" in (anomaly.caveat or "")


@pytest.mark.parametrize("id", GENERAL)
def test_each_general_answer_is_explained(id: str) -> None:
    assert id in ids() and explain(id).startswith(id)
