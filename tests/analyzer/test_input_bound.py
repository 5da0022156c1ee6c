"""Every cause of input-bound, and the predictions' closed forms."""

import re

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.input.what_if import what_if
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.claims import claim
from tests.analyzer.loop import MS, Loop
from tests.analyzer.pipelines import pipeline, worker_process


def found(trace: Trace) -> Finding:
    finding = input_bound.detect(trace, LIMITS)
    assert finding is not None
    return finding


def told(finding: Finding) -> str:
    return " ".join([claim(finding), *(action.text for action in finding.actions)])


def gain(finding: Finding) -> Speedup:
    assert finding.speedup is not None
    assert finding.speedup.likely is not None
    assert finding.speedup.low is not None
    assert finding.speedup.low <= finding.speedup.likely <= finding.speedup.high
    return finding.speedup


def predicted(trace: Trace, workers: int) -> float:
    """Return the speedup that `what_if` predicts for so many workers."""
    answer = what_if(trace, 0, workers, 1.0)
    assert answer.after is not None
    return round(answer.step / answer.after.likely, 3)


def test_too_few_workers_says_how_many() -> None:
    # 2 workers, 40 ms a batch: one every 20 ms; the consumer takes 10. 40 / (0.9 x 10) -> 5
    # workers. Fetches sleep.
    finding = found(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert finding.cause == "too-few-workers"
    assert (
        gain(finding).likely == 2.222
    )  # the consumer's 10 ms are 9 when its core no longer sleeps
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=5, persistent_workers=True)"
    assert finding.share == 0.5
    assert finding.processes == [0]


def test_workers_that_a_fork_server_forked_are_the_ranks_own() -> None:
    fork_server = {
        "process": 5,
        "pid": 105,
        "ns_pid": 105,
        "parent": 0,
        "role": "other",
        "worker": -1,
        "rank": 0,
    }
    finding = found(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}, below=fork_server))
    assert finding.cause == "too-few-workers"
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=5, persistent_workers=True)"


def test_too_few_workers_is_bounded_by_cores_for_cpu_work() -> None:
    # 40 ms of CPU a batch and 10 of training on 4 cores: 12.5 ms a step is the floor, reached with
    # 4 workers.
    finding = found(pipeline(wait=30, workers=1, fetch={"wall": 40, "cpu": 40}, cores=1.25))
    assert finding.cause == "too-few-workers"
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=4, persistent_workers=True)"
    assert gain(finding).likely == 3.2  # 40 / 12.5


def test_in_process_loading() -> None:
    finding = found(pipeline(wait=30, workers=0, fetch={"wall": 30, "cpu": 2}, cores=0.3))
    assert finding.cause == "in-process-loading"
    assert gain(finding).likely == 4.301  # 40 / (9 + 0.3 for taking over), with 4 workers
    assert "num_workers=4" in (finding.actions[0].snippet or "")


def test_decoding_on_full_cores_never_advises_workers() -> None:
    finding = found(
        pipeline(
            wait=20, workers=4, fetch={"wall": 120, "cpu": 80, "delay": 40}, cores=3.9, busy=0.99
        )
    )
    assert finding.cause == "decode-bound"
    assert "num_workers" not in told(finding)
    # 3.9 cores x 30 ms of CPU a step, against 10 ms of the consumer: 12 cores
    assert "12 cores" in finding.explanation
    # pessimistically half of the decoding stays: 3.9 cores x 30 - 40 ms of CPU a step, where 3.9
    # and what is idle can be had
    assert gain(finding).low == pytest.approx(30 / (77 / 3.97), abs=0.02)


def test_cheap_batches_on_full_cores_are_not_called_decoding() -> None:
    finding = found(
        pipeline(wait=1, workers=0, fetch={"wall": 0.9, "cpu": 0.8}, cores=3.9, busy=0.99)
    )
    assert finding.cause == "decode-bound"
    assert "BatchSampler" in (finding.actions[0].snippet or "") and "JPEG" not in told(finding)


def test_cheap_batches_that_lie_ready_on_full_cores_are_made_in_the_loop() -> None:
    trace = pipeline(wait=3, depth=4, fetch={"wall": 0.9, "cpu": 0.8}, cores=3.9, busy=0.99)
    finding = found(trace)
    assert finding.cause == "transfer-bound"
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=0)"
    assert gain(finding).likely == round(13 / 10.9, 3) == predicted(trace, 0)
    assert max(predicted(trace, workers) for workers in range(3, 9)) < LIMITS.workers_gain


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(("workers", "depth"), [(0, 0), (2, 0), (2, 4)])
@pytest.mark.parametrize("wait", [0.9, 1.5, 3, 6])
@pytest.mark.parametrize("busy", [0.5, 0.99])
def test_advice_on_workers_is_what_the_question_what_if_answers(
    elsewhere: bool, workers: int, depth: int, wait: float, busy: float
) -> None:
    """Cheap batches, with and without workers, on cores that are full by this job, by others, or
    half idle.
    """
    cores = 1.0 if elsewhere else 4 * busy
    wall = 0.9 if workers else wait
    trace = pipeline(
        wait=wait,
        workers=workers,
        depth=depth,
        fetch={"wall": wall, "cpu": 0.8},
        cores=cores,
        busy=busy,
    )
    finding = input_bound.detect(trace, LIMITS)
    if finding is None:
        return
    more = max(predicted(trace, count) for count in range(workers + 1, 9))
    if "workers would not help" in (finding.caveat or "").lower():
        assert more < LIMITS.workers_gain, claim(finding)
    advised = re.search(r"num_workers=(\d+)", finding.actions[0].snippet or "")
    if advised:
        assert predicted(trace, int(advised[1])) == pytest.approx(gain(finding).likely, abs=0.001)


def test_decoding_on_full_cores_gains_what_waits_for_cores() -> None:
    # the loop's thread waits for a core 10 % of the time: 3 of its 10 ms would go too
    rates = {(0, 100, "run_delay_ns"): 0.1e9, (0, -1, "cpu_ns"): 0.1e9, (10, -1, "cpu_ns"): 3.8e9}
    finding = found(
        pipeline(wait=20, workers=4, fetch={"wall": 120, "cpu": 110}, busy=0.99, rates=rates)
    )
    assert finding.cause == "decode-bound"
    # the workers want 3.8 cores of the 3.86 that others than the loop want, and decoding is 110 of
    # their 114 ms a step
    waits = 10 - 3 * 110 / 114 * 3.8 / 3.86
    # its own 3 ms a step are interrupted for as long, which makes them 15 % longer; and it is warm
    # then
    assert gain(finding).likely == round(30 / (0.9 * (waits - 3 * 0.3 * 0.5)), 3)
    assert gain(finding).high == round(30 / (0.75 * 3 * (1 - 0.55 * 0.5)), 3)


def test_pure_decoding_with_many_workers_is_never_storage() -> None:
    # off the CPU three quarters of the time, all of it waiting for a core
    finding = found(
        pipeline(
            wait=20, workers=8, fetch={"wall": 240, "cpu": 60, "delay": 175}, cores=3.9, busy=1.0
        )
    )
    assert finding.cause == "decode-bound"


def test_waiting_for_cores_that_another_job_holds_is_no_decoding() -> None:
    # 82 ms of sleep, 2 of work; each waking waits for a core, and the job itself keeps 0.1 of 4
    # busy
    finding = found(
        pipeline(wait=90, fetch={"wall": 210, "cpu": 2, "delay": 126}, cores=0.1, busy=0.99)
    )
    assert finding.cause == "too-few-workers"
    # decoding that has to share its cores remains decoding, and reports the cores of other jobs
    finding = found(
        pipeline(wait=50, fetch={"wall": 120, "cpu": 55, "delay": 60}, cores=1.9, busy=0.99)
    )
    assert finding.cause == "decode-bound"
    assert "99 %" in (finding.caveat or "") and "2.06" in (finding.caveat or "")


def test_storage_needs_evidence_of_io() -> None:
    slow = {"wall": 40.0, "cpu": 4.0, "read": 5e6}
    finding = found(pipeline(wait=10, fetch=slow))
    assert finding.cause == "storage-bound"
    assert (
        gain(finding).likely == 2.222
    )  # the consumer's 10 ms are 9 when its core no longer sleeps
    assert "5 MB read from disk per batch" in finding.evidence[-2].text
    assert found(pipeline(wait=10, fetch={**slow, "read": 0})).cause == "too-few-workers"


def test_samples_in_file_reads_are_evidence_too() -> None:
    assert (
        found(pipeline(wait=10, fetch={"wall": 40, "cpu": 4}, states="disk")).cause
        == "storage-bound"
    )
    assert (
        found(pipeline(wait=10, fetch={"wall": 40, "cpu": 4}, states="sleep")).cause
        == "too-few-workers"
    )


def test_collate_bound() -> None:
    finding = found(pipeline(wait=10, fetch={"wall": 40, "cpu": 39, "collate": 30}, cores=2.0))
    assert finding.cause == "collate-bound"
    assert (
        gain(finding).likely == 2.222
    )  # (40 - 30) / 2 = 5 ms a batch, so the consumer sets the pace: 10 ms, warm 9


def test_transfer_bound() -> None:
    loop, worker = Loop(), Loop(process=10, tid=200)
    for _ in range(40):
        loop.next(10, queue_depth=3, cpu_before_ns=0, cpu_after_ns=4_000_000).work()
        worker.at = loop.at - 5_000_000
        worker.add("fetches", 2, worker=0, dataset_ns=2_000_000, collate_ns=0, cpu_ns=2_000_000)
    trace = loop.trace(processes=[build.MAIN, worker_process(0)], fetches=worker.tables["fetches"])
    finding = found(trace)
    assert finding.cause == "transfer-bound"


def test_worker_restart() -> None:
    loop = Loop()
    for epoch in range(8):
        loop.start(30, iterator=epoch).next(20, iterator=epoch, queue_depth=0).work()
        for _ in range(4):
            loop.next(0.1, iterator=epoch, queue_depth=2).work()
        loop.end(0.1, iterator=epoch)
    finding = found(loop.trace())
    assert finding.cause == "worker-restart"
    assert "persistent_workers=True" in (finding.actions[0].snippet or "")
    assert finding.speedup is not None
    assert " ms" not in (finding.caveat or "")


def test_worker_restart_reports_the_waits_between_restarts() -> None:
    loop = Loop()
    for epoch in range(8):
        loop.start(30, iterator=epoch).next(20, iterator=epoch, queue_depth=0).work()
        for _ in range(4):
            loop.next(5, iterator=epoch, queue_depth=0).work()
        loop.end(0.1, iterator=epoch)
    finding = found(loop.trace())
    assert finding.cause == "worker-restart"
    assert "5 ms" in (finding.caveat or "")


def test_unknown_loader() -> None:
    loop = Loop()
    for _ in range(40):
        loop.idle(12).work()
    loop.sampled("thread_states", 1.7, state="network")
    loop.sampled("stacks", 1.3, stack="main (train.py:9);load (data.py:5)", weight_ns=1_300_000)
    for row in loop.tables["stacks"]:
        if row["ts"] % (18 * MS) > 12 * MS:
            row["stack"] = "main (train.py:12);forward (torch/nn/modules/linear.py:1)"
    finding = found(loop.trace())
    assert finding.cause == "unknown-loader"
    assert "100 % of it in `load (data.py:5)`" in finding.explanation
    assert (
        gain(finding).likely == 3.158
    )  # 18 -> 5.7: three workers make a batch in 4 ms, the consumer's 6 are 5.4 when warm, 0.3 for taking over  # noqa: E501


def test_silent_when_batches_are_ready() -> None:
    trace = pipeline(wait=0.2, depth=4, fetch={"wall": 15, "cpu": 15})
    assert input_bound.detect(trace, LIMITS) is None
    assert "input-bound" in diagnose_trace(trace).clear


def test_not_applicable_without_steps() -> None:
    loop = Loop().next().work()
    groups = {item.id: item.group for item in diagnose_trace(loop.trace()).not_checked}
    assert groups["input-bound"] == "too-short"


def test_waits_on_a_gpu_without_device_timing_carry_no_verdict() -> None:
    torch = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    trace = pipeline(wait=10, fetch={"wall": 40, "cpu": 1}, manifest={"torch": torch})
    finding = found(trace)
    assert finding.severity == "info"
    assert finding.speedup is not None
    assert finding.speedup.likely is None
    assert diagnose_trace(trace).verdict.id == "unknown"


@pytest.mark.parametrize(("busy", "verdict"), [(0.4, "input-bound"), (0.95, "unknown")])
def test_waits_on_a_gpu_carry_a_verdict_where_the_driver_shows_it_idle_meanwhile(
    busy: float, verdict: str
) -> None:
    torch = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    placed = {"host": "host", "device": 0}
    bare = pipeline(wait=10, fetch={"wall": 40, "cpu": 1}, manifest={"torch": torch})
    load = [
        {**placed, "ts": at * 50_000_000, "name": "kernel_time_share", "value": busy}
        for at in range(20)
    ]
    tables = {
        **{name: frame for name in TABLES if (frame := bare.table(name)) is not None},
        "device_counters": build.table("device_counters", load),
        "device_processes": build.table("device_processes", [{**placed, "process": 0, "pid": 100}]),
    }
    bare.manifest.devices = [DeviceFacts(0, "NVIDIA H100")]
    trace = Trace(tables, {}, bare.manifests, span_ns=bare.span_ns)
    assert diagnose_trace(trace).verdict.id == verdict


def test_workers_out_of_sight_give_a_ceiling() -> None:
    loop = Loop()
    for _ in range(30):
        loop.next(6).work()
    finding = found(loop.trace())
    assert finding.cause is None
    assert finding.speedup == Speedup(None, None, 2.0)


def test_ranks_that_wait_for_each_other_share_their_waits() -> None:
    # rank 1 waits 8 ms for its batch; rank 0 waits 2 and then 6 for rank 1 in backward: the
    # consumer takes 8 ms, not 14
    zero, one = Loop(), Loop(process=1, tid=101)
    for _ in range(30):
        zero.next(2).forward(2).backward(10).optimizer(2)
        one.next(8).forward(2).backward(4).optimizer(2)
    second = {**build.MAIN, "process": 1, "pid": 101, "ns_pid": 101, "rank": 1, "local_rank": 1}
    fetched = Loop(process=10, tid=200)
    while fetched.at < one.at:
        fetched.add("fetches", 32, worker=0, dataset_ns=32_000_000, collate_ns=0, cpu_ns=0)
    worker = {**worker_process(0), "parent": 1, "rank": 1}
    trace = build.trace(
        processes=[build.MAIN, second, worker],
        fetches=fetched.tables["fetches"],
        **{name: zero.tables[name] + one.tables[name] for name in ("loader", "ranges")},
    )
    finding = found(trace)
    assert finding.processes == [1]
    assert (
        gain(finding).likely == 2.222
    )  # the consumer's 10 ms are 9 when its core no longer sleeps


def test_a_rank_that_is_late_for_its_input_is_input_bound_before_it_is_a_straggler() -> None:
    """Rank 1 waits 8 ms of each step for its batch, rank 0 waits for rank 1."""
    zero, one = Loop(), Loop(process=1, tid=101)
    for _ in range(60):
        zero.next(1).forward(2).backward(11).optimizer(2)
        one.next(8).forward(2).backward(4).optimizer(2)
    for loop in (zero, one):
        loop.sampled("thread_states", 0.7, state="running")
    for row in zero.tables["thread_states"]:
        row["state"] = "lock" if 7 * MS <= row["ts"] % (16 * MS) < 14 * MS else "running"
    second = {**build.MAIN, "process": 1, "pid": 101, "ns_pid": 101, "rank": 1, "local_rank": 1}
    tables = {name: zero.tables[name] + one.tables[name] for name in zero.tables}
    answer = diagnose_trace(build.trace(processes=[build.MAIN, second], **tables))
    assert [(found.id, found.cause) for found in answer.findings] == [
        ("input-bound", None),
        ("straggler", "input"),
    ]
    assert answer.verdict.id == "input-bound" and 1 in answer.findings[1].processes


@pytest.mark.parametrize(("delayed", "bound"), [(0.0, True), (0.4, False)])
def test_a_loop_that_waits_for_a_core_while_its_batch_lies_ready_is_not_input_bound(
    delayed: float, bound: bool
) -> None:
    """8 of 18 ms a step go into taking over a batch that is ready; making it takes 1 of the cores'
    70 ms a step.
    """
    rates = {(0, 100, "run_delay_ns"): delayed * 1e9, (0, -1, "cpu_ns"): 3.9e9}
    fetch = {"wall": 1.5, "cpu": 1}
    trace = pipeline(wait=8, workers=2, depth=4, fetch=fetch, cores=3.9, busy=0.99, rates=rates)
    assert (input_bound.detect(trace, LIMITS) is not None) == bound
