"""Recordings of our own with a window of torch's profiler: times stay the probe's, the window gives
proportions.
"""

from typing import Any

import pytest

from perfscope.analyzer.budget.compute_shares import compute_shares
from perfscope.analyzer.budget.time_budget import time_budget
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.steps import steps
from perfscope.analyzer.run.units import units
from perfscope.analyzer.run.window_count import windows_taken
from perfscope.traces.trace import Trace
from tests.analyzer.claims import claim
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
    """Twelve steps of 100 ms: forward 60, optimizer 20, then 20 outside."""
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
    """Within the only whole step of the window: a product of 30 ms in its forward, preparing for 10
    of these.
    """
    return [
        {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::linear"},
        {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::addmm", "parent": 0},
        {"tid": 100, "ts": 500 * MS, "dur": 10 * MS, "name": "aten::expand", "parent": 1},
    ]


def windowed(*more: dict[str, Any], **manifest: Any) -> Trace:
    return trace(
        ranges=ranges(),
        ops=ops(),
        windows=[WINDOW, *more],
        manifest={"depth": "kernels", **manifest},
    )


def test_it_is_no_recorded_trace_and_has_no_device_of_its_own() -> None:
    own = windowed()
    assert not own.has_profiled_work and units(own) == []


def test_steps_in_and_next_to_a_window_are_distorted_and_no_others() -> None:
    frame = windowed().fact(steps)
    begins = [(int(row.ts) // MS, bool(row.distorted)) for row in frame.itertuples()]
    touched = [at for at, distorted in begins if distorted]
    assert touched and all(250 <= at <= 700 for at in touched)
    assert all(distorted for at, distorted in begins if 400 <= at < 600)
    assert len(touched) < len(begins) - 3


def test_a_trial_distorts_its_steps_and_says_nothing_of_operators() -> None:
    alone, tried = windowed(), windowed(TRIAL)
    assert tried.fact(steps)["distorted"].sum() > alone.fact(steps)["distorted"].sum()
    assert tried.fact(compute_shares) == alone.fact(compute_shares)
    assert tried.fact(windows_taken) == 1


def test_operators_cut_the_budget_of_every_step_into_computing_and_dispatching() -> None:
    own = windowed()
    found = own.fact(compute_shares)[0]
    assert (
        0.3 < found.torch < 0.4
    )  # 30 of the 80 ms inside torch's calls, less a microsecond for dispatching
    budget = own.fact(time_budget)
    assert (budget["compute-or-host"] == 0).all() and (budget["device-compute"] > 0).all()
    assert (budget[["device-compute", "host-bound"]].sum(axis=1) == budget["dur"]).all()


def test_with_an_accelerator_operators_say_nothing_of_computing() -> None:
    cuda = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    assert windowed(torch=cuda).fact(compute_shares) == {}


def test_steps_before_the_profiler_records_anything_say_nothing() -> None:
    early = WINDOW | {"ts": 105 * MS, "dur": 500 * MS, "begin": 110 * MS}
    late = trace(ranges=ranges(), ops=ops(), windows=[early], manifest={"depth": "kernels"})
    assert late.fact(compute_shares) == windowed().fact(compute_shares)


def test_a_thread_that_waits_beyond_what_its_operators_compute_does_not_dispatch() -> None:
    waiting = [
        {"tid": 100, "ts": at * 10 * MS, "state": "lock" if at % 10 < 6 else "running"}
        for at in range(120)
    ]
    own = trace(
        ranges=ranges(),
        ops=ops(),
        windows=[WINDOW],
        thread_states=waiting,
        manifest={"depth": "kernels"},
    )
    plain, told = (one.fact(time_budget) for one in (windowed(), own))
    assert (told["device-compute"] == plain["device-compute"]).all()
    assert told["other-idle"].sum() > 0.2 * told["dur"].sum() > plain["other-idle"].sum()
    assert (told["host-bound"] + told["other-idle"]).sum() <= (
        plain["host-bound"] + plain["other-idle"]
    ).sum() + 1000


def test_collectives_and_the_waits_for_them_are_communication() -> None:
    """In the step of the window: gradients reduced by DDP, waited for 12 ms; then a sum over ranks
    in the loop, waited for 9.
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
    own = trace(
        ranges=ranges(), ops=[*ops(), *more], windows=[WINDOW], manifest={"depth": "kernels"}
    )
    shares = own.fact(compute_shares)[0]
    assert shares.torch_talks == pytest.approx((1 + 12) / 80, rel=0.01)
    assert shares.other_talks == pytest.approx((1 + 9) / 20, rel=0.01)
    budget = own.fact(time_budget)
    assert budget["exposed-communication"].mean() == pytest.approx(23 * MS, rel=0.01)
    product = {"tid": 100, "ts": 500 * MS, "dur": 40 * MS, "name": "aten::mm"}
    update = {"tid": 100, "ts": 560 * MS, "dur": 19 * MS, "name": "aten::_fused_adam_"}
    told = diagnose_trace(
        trace(
            ranges=ranges(),
            ops=[product, *more[2:], update],
            windows=[WINDOW],
            manifest={"depth": "kernels"},
        )
    )
    assert told.verdict.id == "healthy" and "24 % communication" in claim(told.verdict)


def test_where_collectives_are_seen_to_run_only_waits_for_them_are_communication() -> None:
    """Asked for and left alone: 2 ms of it ran before the loop's thread went on. Asked for and
    waited for: up to its end.
    """
    ask = {"tid": 100, "dur": MS, "name": "c10d::allreduce_"}
    more = [
        {**ask, "ts": 484 * MS, "concrete": '["", "True", "-1"]'},
        {"tid": 100, "ts": 494 * MS, "dur": MS, "name": "aten::item"},
        {**ask, "ts": 541 * MS, "concrete": '["", "False", "-1"]'},
        {"tid": 100, "ts": 558 * MS, "dur": MS, "name": "aten::item"},
        # of DTensor and compiled code: the wait is an operator
        {"tid": 100, "ts": 560 * MS, "dur": 7 * MS, "name": "_c10d_functional::wait_tensor"},
    ]
    run = {"tid": 7, "category": "annotation", "name": "gloo:all_reduce"}
    runs = [{**run, "ts": 486 * MS, "dur": 2 * MS}, {**run, "ts": 543 * MS, "dur": 5 * MS}]
    manifest = {"depth": "kernels"}
    own = trace(ranges=[*ranges(), *runs], ops=[*ops(), *more], windows=[WINDOW], manifest=manifest)
    shares = own.fact(compute_shares)[0]
    assert shares.torch_talks == pytest.approx((7 + 7) / 80, rel=0.01)
    assert shares.other_talks == pytest.approx((1 + 2) / 20, rel=0.01)
    assert shares.torch == pytest.approx(31 / 80, rel=0.01)


@pytest.mark.parametrize(("state", "waited"), [("running", 0.0), ("lock", 9.0)])
def test_what_runs_while_others_are_late_is_no_wait_for_them(state: str, waited: float) -> None:
    """Asked for in the loop, and over 9 ms later, with no operator meanwhile: a wait only where the
    thread is seen to wait.
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
    own = trace(
        ranges=[*ranges(), run],
        ops=[*ops(), *more],
        windows=[WINDOW],
        thread_states=states,
        manifest={"depth": "kernels"},
    )
    budget = own.fact(time_budget)
    assert budget["exposed-communication"].mean() / MS == pytest.approx(waited, abs=1.5)
    assert budget["input-wait"].mean() / MS == pytest.approx(0.0, abs=1.5)


def test_operators_between_the_steps_are_no_wait_for_data() -> None:
    """Without a loader, 20 ms between optimizer and module: in them the program's own lines call
    operators for 15.
    """
    product = {"tid": 100, "ts": 482 * MS, "dur": 15 * MS, "name": "aten::mm"}
    line = {"tid": 100, "weight_ns": MS, "stack": "main (train.py:3);forward (train.py:9)"}
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


def test_what_lies_between_the_calls_of_a_server_is_not_called_computing() -> None:
    calls = [row for row in ranges() if row["category"] == "forward"]
    product = [{"tid": 100, "ts": 500 * MS, "dur": 60 * MS, "name": "aten::mm"}]
    told = diagnose_trace(
        trace(ranges=calls, ops=product, windows=[WINDOW], manifest={"depth": "kernels"})
    )
    assert told.verdict.id == "healthy"
    assert "33 % compute, 40 % between calls" in claim(told.verdict)
    assert told.bound_by.id == "unknown" and told.bound_by.share == pytest.approx(0.4, abs=0.01)
