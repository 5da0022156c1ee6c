"""Recordings with a window of torch's profiler: the probe measures the times, and the window
divides them.
"""

from typing import Any

import pytest

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.budget_units import units
from perfscope.analyzer.run.loops.steps import steps
from perfscope.analyzer.run.window_count import windows_taken
from perfscope.traces.trace import Trace
from tests.analyzer.claims import budget_shares
from tests.build import trace

MS = 1_000_000
INSIDE = {"begin": 410 * MS, "end": 590 * MS, "steps": 1, "stall_ns": 0, "kept": True}
WINDOW = {"process": 0, "ts": 405 * MS, "dur": 200 * MS, **INSIDE}
TRIAL = WINDOW | {
    "ts": 100 * MS,
    "dur": 250 * MS,
    "begin": 100 * MS,
    "end": 320 * MS,
    "kept": False,
}


def ranges() -> list[dict[str, Any]]:
    """Return twelve steps of 100 ms: 60 of forward, 20 of the optimizer, and 20 outside of both."""
    rows: list[dict[str, Any]] = []
    for step in range(12):
        at = step * 100 * MS
        rows += [
            {
                "tid": 100,
                "ts": at,
                "dur": 60 * MS,
                "category": "forward",
                "name": "Net",
                "object": 1,
                "value": 1,
            },
            {
                "tid": 100,
                "ts": at + 60 * MS,
                "dur": 20 * MS,
                "category": "optimizer",
                "name": "SGD",
                "object": 2,
            },
        ]
    return rows


def ops() -> list[dict[str, Any]]:
    """Return the operators of the window's only whole step: a product of 40 ms in its forward pass,
    10 of them for preparation.
    """
    return [
        {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::linear"},
        {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::addmm", "parent": 0},
        {"tid": 100, "ts": 500 * MS, "dur": 10 * MS, "name": "aten::expand", "parent": 1},
    ]


def windowed(*more: dict[str, Any], **manifest: Any) -> Trace:
    """Return a recording with the window, these other windows and these facts."""
    return trace(
        ranges=ranges(),
        ops=ops(),
        windows=[WINDOW, *more],
        manifest={"depth": "kernels", **manifest},
    )


def test_a_recording_with_a_window_is_not_a_profilers_trace_and_has_no_device() -> None:
    recording = windowed()
    assert not recording.has_profiled_work and units(recording) == []


def test_only_steps_in_and_next_to_a_window_are_distorted() -> None:
    frame = windowed().fact(steps)
    begins = [(int(row.ts) // MS, bool(row.distorted)) for row in frame.itertuples()]
    touched = [at for at, distorted in begins if distorted]
    assert touched and all(250 <= at <= 700 for at in touched)
    assert all(distorted for at, distorted in begins if 400 <= at < 600)
    assert len(touched) < len(begins) - 3


def test_a_trial_window_distorts_its_steps_and_does_not_change_the_shares() -> None:
    alone, tried = windowed(), windowed(TRIAL)
    assert tried.fact(steps)["distorted"].sum() > alone.fact(steps)["distorted"].sum()
    assert tried.fact(compute_shares) == alone.fact(compute_shares)
    assert tried.fact(windows_taken) == 1


def test_operators_of_a_window_divide_every_step_into_computing_and_dispatching() -> None:
    recording = windowed()
    found = recording.fact(compute_shares)[0]
    # 30 of the 80 ms inside torch's calls, less a microsecond for dispatching
    assert 0.3 < found.torch < 0.4
    budget = recording.fact(time_budget)
    assert (budget["compute-or-host"] == 0).all() and (budget["device-compute"] > 0).all()
    assert (budget[["device-compute", "host-bound"]].sum(axis=1) == budget["dur"]).all()


def test_with_an_accelerator_operators_do_not_show_what_computes() -> None:
    cuda = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    assert windowed(torch=cuda).fact(compute_shares) == {}


def test_steps_before_the_profiler_records_do_not_change_the_shares() -> None:
    early = WINDOW | {"ts": 105 * MS, "dur": 500 * MS, "begin": 110 * MS}
    late = trace(ranges=ranges(), ops=ops(), windows=[early], manifest={"depth": "kernels"})
    assert late.fact(compute_shares) == windowed().fact(compute_shares)


def test_a_window_in_validation_does_not_divide_steps() -> None:
    """Its operators say nothing about a training step, whose calls the window does not contain."""
    validated = [row | {"value": 0} if row["category"] == "forward" else row for row in ranges()]
    evaluation = [
        row
        for row in validated
        if row["category"] == "forward" or not 400 * MS <= row["ts"] < 600 * MS
    ]
    training = [row | {"value": 1} if row["ts"] < 400 * MS else row for row in evaluation]
    seen = trace(ranges=training, ops=ops(), windows=[WINDOW], manifest={"depth": "kernels"})
    assert set(seen.fact(steps)["phase"]) >= {"train", "eval"}
    assert seen.fact(compute_shares) == {}


def test_a_window_without_a_call_of_the_loop_does_not_divide_steps() -> None:
    early = [row for row in ranges() if row["ts"] + row["dur"] <= 400 * MS]
    seen = trace(ranges=early, ops=ops(), windows=[WINDOW], manifest={"depth": "kernels"})
    assert seen.fact(compute_shares) == {}


def test_waits_outside_of_operators_are_not_dispatching() -> None:
    waiting = [
        {"tid": 100, "ts": at * 10 * MS, "state": "lock" if at % 10 < 6 else "running"}
        for at in range(120)
    ]
    recording = trace(
        ranges=ranges(),
        ops=ops(),
        windows=[WINDOW],
        thread_states=waiting,
        manifest={"depth": "kernels"},
    )
    plain, sampled = windowed().fact(time_budget), recording.fact(time_budget)
    assert (sampled["device-compute"] == plain["device-compute"]).all()
    assert sampled["other-idle"].sum() > 0.2 * sampled["dur"].sum() > plain["other-idle"].sum()
    rest = ["host-bound", "other-idle"]
    assert sampled[rest].to_numpy().sum() <= plain[rest].to_numpy().sum() + 1000


def test_collectives_and_the_waits_for_them_are_communication() -> None:
    """In the step of the window, the thread waits 12 ms for gradients that DDP reduces, and then 9
    ms for a sum over ranks in the loop.
    """
    reducer = "torch.distributed.ddp.reducer::copy_bucket_to_grad"
    more = [
        {
            "tid": 100,
            "ts": 541 * MS,
            "dur": MS,
            "name": "autograd::engine::evaluate_function: AccumulateGrad",
        },
        {"tid": 100, "ts": 541 * MS, "dur": MS, "name": "c10d::allreduce_", "parent": 3},
        {"tid": 100, "ts": 554 * MS, "dur": 1000, "name": "aten::as_strided"},
        {"tid": 100, "ts": 554 * MS + 2000, "dur": 1000, "name": "aten::as_strided"},
        {"tid": 100, "ts": 554 * MS + 4000, "dur": 1000, "name": reducer},
        {"tid": 100, "ts": 484 * MS, "dur": MS, "name": "c10d::allreduce_"},
        {"tid": 100, "ts": 494 * MS, "dur": MS, "name": "aten::item"},
    ]
    recording = trace(
        ranges=ranges(), ops=[*ops(), *more], windows=[WINDOW], manifest={"depth": "kernels"}
    )
    shares = recording.fact(compute_shares)[0]
    assert shares.torch_communication == pytest.approx((1 + 12) / 80, rel=0.01)
    assert shares.other_communication == pytest.approx((1 + 9) / 20, rel=0.01)
    budget = recording.fact(time_budget)
    assert budget["exposed-communication"].mean() == pytest.approx(23 * MS, rel=0.01)
    product = {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::mm"}
    update = {"tid": 100, "ts": 560 * MS, "dur": 19 * MS, "name": "aten::_fused_adam_"}
    diagnosis = diagnose_trace(
        trace(
            ranges=ranges(),
            ops=[product, *more[2:], update],
            windows=[WINDOW],
            manifest={"depth": "kernels"},
        )
    )
    assert diagnosis.verdict.id == "healthy"
    assert budget_shares(diagnosis)["exposed-communication"] == 0.24


def test_where_collectives_are_recorded_only_waits_for_them_are_communication() -> None:
    """The first collective is asynchronous: 2 ms of it ran before the thread continued. The second
    one is waited for until its end.
    """
    ask = {"tid": 100, "dur": MS, "name": "c10d::allreduce_"}
    more = [
        {**ask, "ts": 484 * MS, "concrete": '["", "True", "-1"]'},
        {"tid": 100, "ts": 494 * MS, "dur": MS, "name": "aten::item"},
        {**ask, "ts": 541 * MS, "concrete": '["", "False", "-1"]'},
        {"tid": 100, "ts": 558 * MS, "dur": MS, "name": "aten::item"},
        # In DTensor and compiled code the wait is an operator.
        {"tid": 100, "ts": 560 * MS, "dur": 7 * MS, "name": "_c10d_functional::wait_tensor"},
    ]
    run = {"tid": 7, "category": "annotation", "name": "gloo:all_reduce"}
    runs = [{**run, "ts": 486 * MS, "dur": 2 * MS}, {**run, "ts": 543 * MS, "dur": 5 * MS}]
    manifest = {"depth": "kernels"}
    recording = trace(
        ranges=[*ranges(), *runs], ops=[*ops(), *more], windows=[WINDOW], manifest=manifest
    )
    shares = recording.fact(compute_shares)[0]
    assert shares.torch_communication == pytest.approx((7 + 7) / 80, rel=0.01)
    assert shares.other_communication == pytest.approx((1 + 2) / 20, rel=0.01)
    assert shares.torch == pytest.approx(31 / 80, rel=0.01)


@pytest.mark.parametrize(("state", "waited"), [("running", 0.0), ("lock", 9.0)])
def test_a_late_collective_is_communication_only_where_the_thread_waits(
    state: str, waited: float
) -> None:
    """The collective ends 9 ms after the call in the loop, and no operator runs meanwhile: samples
    show whether the thread waits.
    """
    more = [
        {
            "tid": 100,
            "ts": 484 * MS,
            "dur": 1000,
            "name": "c10d::allreduce_",
            "concrete": '["", "True", "-1"]',
        },
        {"tid": 100, "ts": 494 * MS, "dur": MS, "name": "aten::item"},
    ]
    run = {
        "tid": 7,
        "category": "annotation",
        "name": "gloo:all_reduce",
        "ts": 484 * MS,
        "dur": 9 * MS,
    }
    states = [
        {"tid": 100, "ts": at * MS, "state": state if 85 <= at % 100 < 94 else "running"}
        for at in range(1200)
    ]
    recording = trace(
        ranges=[*ranges(), run],
        ops=[*ops(), *more],
        windows=[WINDOW],
        thread_states=states,
        manifest={"depth": "kernels"},
    )
    budget = recording.fact(time_budget)
    assert budget["exposed-communication"].mean() / MS == pytest.approx(waited, abs=1.5)
    assert budget["input-wait"].mean() / MS == pytest.approx(0.0, abs=1.5)


def test_operators_between_steps_are_not_a_wait_for_input() -> None:
    """Without a loader, 20 ms are between optimizer and module; the user's lines call operators for
    15 of them.
    """
    product = {"tid": 100, "ts": 482 * MS, "dur": 15 * MS, "name": "aten::mm"}
    line = {"tid": 100, "weight_ns": MS, "stack": "main (./train.py:3);read (./train.py:9)"}
    stacks = [
        {**line, "ts": (step * 100 + at) * MS} for step in range(12) for at in (82, 86, 90, 94, 98)
    ]
    shown = {"stacks": stacks, "manifest": {"depth": "kernels"}, "windows": [WINDOW]}
    states = [{"tid": 100, "ts": at * 10 * MS, "state": "running"} for at in range(120)]
    idle, busy = (
        trace(ranges=ranges(), ops=made, thread_states=states, **shown)
        for made in (ops(), [*ops(), product])
    )
    assert idle.fact(time_budget)["input-wait"].mean() / MS == pytest.approx(20, rel=0.01)
    assert busy.fact(time_budget)["input-wait"].mean() / MS == pytest.approx(5, rel=0.01)
    more = busy.fact(time_budget)["device-compute"] - idle.fact(time_budget)["device-compute"]
    assert more.mean() / MS == pytest.approx(15, rel=0.01)


def test_the_time_between_calls_of_a_server_is_not_computing() -> None:
    calls = [row for row in ranges() if row["category"] == "forward"]
    product = [{"tid": 100, "ts": 500 * MS, "dur": 60 * MS, "name": "aten::mm"}]
    diagnosis = diagnose_trace(
        trace(ranges=calls, ops=product, windows=[WINDOW], manifest={"depth": "kernels"})
    )
    assert diagnosis.verdict.id == "healthy"
    assert budget_shares(diagnosis)["device-compute"] == 0.33
    assert diagnosis.bound_by.id == "unknown"
    assert diagnosis.bound_by.share == pytest.approx(0.4, abs=0.01)
