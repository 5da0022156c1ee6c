"""Every cause of input-bound, and the speedups predicted for it."""

import re
from dataclasses import replace

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.input.input_pipeline import input_pipelines
from perfscope.analyzer.input.loader_case import fastest_step
from perfscope.analyzer.input.what_if import what_if
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.device_facts import DeviceFacts
from perfscope.traces.schema import TABLES
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.claims import claim
from tests.analyzer.loop import MS, SECOND_RANK, Loop, trace_of_two_ranks
from tests.analyzer.pipelines import pipeline, worker_process

WARM_CONSUMER = 2.222
"""The speedup from 20 ms: the consumer's 10 ms are 9 when its core no longer sleeps."""

DECODER = "libjpeg.so.62"
"""A library whose code the workers run."""


def found(trace: Trace) -> Finding:
    finding = input_bound.detect(trace, LIMITS)
    assert finding is not None
    return finding


def text_of(finding: Finding) -> str:
    """Return what the finding claims and advises, in one text."""
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


def test_too_few_workers_advise_as_many_as_the_loop_needs() -> None:
    # 2 workers need 40 ms per batch: a batch every 20 ms; the consumer takes 10.
    # 40 / (0.9 x 10) -> 5 workers. Fetches sleep.
    finding = found(pipeline(wait=10, fetch={"wall": 40, "cpu": 1}))
    assert finding.cause == "too-few-workers"
    assert gain(finding).likely == WARM_CONSUMER
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=5, persistent_workers=True)"
    assert finding.share == 0.5
    assert finding.processes == [0]


def test_workers_forked_by_a_fork_server_belong_to_its_rank() -> None:
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


def test_workers_that_compute_are_advised_up_to_the_cores() -> None:
    # 40 ms of CPU per batch and 10 of training on 4 cores: 12.5 ms per step are the minimum,
    # reached with 4 workers.
    finding = found(pipeline(wait=30, workers=1, fetch={"wall": 40, "cpu": 40}, cores=1.25))
    assert finding.cause == "too-few-workers"
    assert finding.actions[0].snippet == "DataLoader(..., num_workers=4, persistent_workers=True)"
    assert gain(finding).likely == 3.2  # 40 / 12.5


def test_loading_without_workers_is_in_process_loading() -> None:
    finding = found(pipeline(wait=30, workers=0, fetch={"wall": 30, "cpu": 2}, cores=0.3))
    assert finding.cause == "in-process-loading"
    assert gain(finding).likely == 4.301  # 40 / (9 + 0.3 for taking over), with 4 workers
    assert "num_workers=4" in (finding.actions[0].snippet or "")


def test_decoding_on_full_cores_never_advises_workers() -> None:
    finding = found(
        pipeline(
            wait=20,
            workers=4,
            fetch={"wall": 120, "cpu": 80, "delay": 40},
            cores=3.9,
            busy=0.99,
            library=DECODER,
        )
    )
    assert finding.cause == "decode-bound"
    assert "num_workers" not in text_of(finding)
    # 3.9 cores x 30 ms of CPU per step, for 10 ms of the consumer: 12 cores
    assert "12 cores" in finding.explanation
    # In the worst case half of the decoding stays: 3.9 cores x 30 - 40 ms of CPU per step, on the
    # 3.9 cores and the idle rest.
    assert gain(finding).low == pytest.approx(30 / (77 / 3.97), abs=0.02)


def test_the_advice_for_cheap_batches_on_full_cores_does_not_mention_images() -> None:
    finding = found(
        pipeline(
            wait=1, workers=0, fetch={"wall": 0.9, "cpu": 0.8, "samples": 64}, cores=3.9, busy=0.99
        )
    )
    assert finding.cause == "per-sample-overhead"
    assert "BatchSampler" in (finding.actions[0].snippet or "")
    assert "JPEG" not in text_of(finding)


def test_cheap_batches_that_are_ready_on_full_cores_are_better_made_in_the_loop() -> None:
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
def test_advice_on_workers_agrees_with_what_if(
    elsewhere: bool, workers: int, depth: int, wait: float, busy: float
) -> None:
    """Cheap batches, with and without workers; this job or another uses the cores, or half of
    them.
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
    if "workers would not help" in (finding.caveat or "").lower():  # no field says it
        assert more < LIMITS.workers_gain, claim(finding)
    snippets = " ".join(action.snippet or "" for action in finding.actions)
    advised = re.search(r"num_workers=(\d+)", snippets)
    if advised:
        assert predicted(trace, int(advised[1])) == pytest.approx(gain(finding).likely, abs=0.001)


def test_less_decoding_on_full_cores_saves_the_waits_for_cores() -> None:
    # the loop's thread waits for a core 10 % of the time: 3 of its 10 ms would go too
    rates = {(0, 100, "run_delay_ns"): 0.1e9, (0, -1, "cpu_ns"): 0.1e9, (10, -1, "cpu_ns"): 3.8e9}
    finding = found(
        pipeline(
            wait=20,
            workers=4,
            fetch={"wall": 120, "cpu": 110},
            busy=0.99,
            rates=rates,
            library=DECODER,
        )
    )
    assert finding.cause == "decode-bound"
    # The workers want 3.8 of the 3.86 cores that processes other than the loop want, and decoding
    # is 110 of their 114 ms per step.
    waits = 10 - 3 * 110 / 114 * 3.8 / 3.86
    # The loop's 3 ms per step are interrupted for as long, which makes them 15 % longer; then its
    # core is warm.
    assert gain(finding).likely == round(30 / (0.9 * (waits - 3 * 0.3 * 0.5)), 3)
    assert gain(finding).high == round(30 / (0.75 * 3 * (1 - 0.55 * 0.5)), 3)


def test_pure_decoding_with_many_workers_is_not_storage_bound() -> None:
    # three quarters of the time not on a core, all of it waiting for one
    finding = found(
        pipeline(
            wait=20,
            workers=8,
            fetch={"wall": 240, "cpu": 60, "delay": 175},
            cores=3.9,
            busy=1.0,
            library=DECODER,
        )
    )
    assert finding.cause == "decode-bound"


def test_waiting_for_cores_that_another_job_uses_is_not_decoding() -> None:
    # 82 ms of sleep, 2 of work; after each sleep the thread waits for a core, and the job itself
    # uses 0.1 of 4.
    finding = found(
        pipeline(wait=90, fetch={"wall": 210, "cpu": 2, "delay": 126}, cores=0.1, busy=0.99)
    )
    assert finding.cause == "too-few-workers"
    # Decoding on cores that other jobs use is still decoding, and the caveat has their cores.
    finding = found(
        pipeline(
            wait=50,
            fetch={"wall": 120, "cpu": 55, "delay": 60},
            cores=1.9,
            busy=0.99,
            library=DECODER,
        )
    )
    assert finding.cause == "decode-bound"
    assert "99 %" in (finding.caveat or "") and "2.06" in (finding.caveat or "")


def test_storage_bound_needs_evidence_of_reads() -> None:
    slow = {"wall": 40.0, "cpu": 4.0, "read": 5e6}
    finding = found(pipeline(wait=10, fetch=slow))
    assert finding.cause == "storage-bound"
    assert gain(finding).likely == WARM_CONSUMER
    assert "5 MB" in finding.evidence[-2].text
    assert found(pipeline(wait=10, fetch={**slow, "read": 0})).cause == "too-few-workers"


def test_samples_of_threads_that_wait_for_a_disk_are_evidence_of_storage() -> None:
    fetch = {"wall": 40.0, "cpu": 4.0}
    assert found(pipeline(wait=10, fetch=fetch, states="disk")).cause == "storage-bound"
    assert found(pipeline(wait=10, fetch=fetch, states="sleep")).cause == "too-few-workers"


def test_a_fetch_that_mostly_collates_is_collate_bound() -> None:
    finding = found(pipeline(wait=10, fetch={"wall": 40, "cpu": 39, "collate": 30}, cores=2.0))
    assert finding.cause == "collate-bound"
    # (40 - 30) / 2 = 5 ms per batch, so the consumer sets the pace
    assert gain(finding).likely == WARM_CONSUMER


def test_a_long_wait_for_a_batch_that_is_ready_is_transfer_bound() -> None:
    loop, worker = Loop(), Loop(process=10, tid=200)
    for _ in range(40):
        loop.next(10, queue_depth=3, cpu_before_ns=0, cpu_after_ns=4_000_000).work()
        worker.at = loop.at - 5_000_000
        worker.add("fetches", 2, worker=0, dataset_ns=2_000_000, collate_ns=0, cpu_ns=2_000_000)
    trace = loop.trace(processes=[build.MAIN, worker_process(0)], fetches=worker.tables["fetches"])
    finding = found(trace)
    assert finding.cause == "transfer-bound"


def test_starting_workers_for_each_epoch_is_a_worker_restart() -> None:
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


def test_waiting_in_user_code_without_a_loader_is_an_unknown_loader() -> None:
    loop = Loop()
    for _ in range(40):
        loop.idle(12).work()
    loop.sampled("thread_states", 1.7, state="network")
    loop.sampled("stacks", 1.3, stack="main (./train.py:9);load (./data.py:5)", weight_ns=1_300_000)
    for row in loop.tables["stacks"]:
        if row["ts"] % (18 * MS) > 12 * MS:
            row["stack"] = "main (train.py:12);forward (torch/nn/modules/linear.py:1)"
    finding = found(loop.trace())
    assert finding.cause == "unknown-loader"
    assert "100 %" in finding.explanation and "`load (data.py:5)`" in finding.explanation
    # 18 -> 5.7 ms: three workers make a batch in 4 ms; the consumer's 6 ms are 5.4 when its core is
    # warm, and 0.3 for taking the batch over.
    assert gain(finding).likely == 3.158


def test_a_loop_whose_batches_are_ready_is_not_input_bound() -> None:
    trace = pipeline(wait=0.2, depth=4, fetch={"wall": 15, "cpu": 15})
    assert input_bound.detect(trace, LIMITS) is None
    assert "input-bound" in diagnose_trace(trace).clear


def test_input_bound_is_not_checked_without_steps() -> None:
    loop = Loop().next().work()
    groups = {item.id: item.group for item in diagnose_trace(loop.trace()).not_checked}
    assert groups["input-bound"] == "too-short"


def test_waits_on_a_gpu_without_device_timing_are_not_the_verdict() -> None:
    torch = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    trace = pipeline(wait=10, fetch={"wall": 40, "cpu": 1}, manifest={"torch": torch})
    finding = found(trace)
    assert finding.severity == "info"
    assert finding.speedup is not None
    assert finding.speedup.likely is None
    assert diagnose_trace(trace).verdict.id == "unknown"


@pytest.mark.parametrize(("busy", "verdict"), [(0.4, "input-bound"), (0.98, "unknown")])
def test_waits_on_a_gpu_are_the_verdict_where_the_driver_shows_it_idle(
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


def test_input_bound_has_a_ceiling_where_workers_are_not_recorded() -> None:
    loop = Loop()
    for _ in range(30):
        loop.next(6).work()
    finding = found(loop.trace())
    assert finding.cause is None
    assert finding.speedup == Speedup(None, None, 2.0)


def test_ranks_that_wait_for_each_other_share_their_waits() -> None:
    # Rank 1 waits 8 ms for its batch; rank 0 waits 2 and then 6 for rank 1 in backward: the
    # consumer takes 8 ms, not 14.
    first, second = Loop(), Loop(process=1, tid=101)
    for _ in range(30):
        first.next(2).forward(2).backward(10).optimizer(2)
        second.next(8).forward(2).backward(4).optimizer(2)
    fetched = Loop(process=10, tid=200)
    while fetched.at < second.at:
        fetched.add("fetches", 32, worker=0, dataset_ns=32_000_000, collate_ns=0, cpu_ns=0)
    worker = {**worker_process(0), "parent": 1, "rank": 1}
    processes = [build.MAIN, SECOND_RANK, worker]
    fetches = fetched.tables["fetches"]
    trace = trace_of_two_ranks(first, second, processes=processes, fetches=fetches)
    finding = found(trace)
    assert finding.processes == [1]
    assert gain(finding).likely == WARM_CONSUMER


def test_input_bound_comes_before_the_straggler_that_it_causes() -> None:
    """Rank 1 waits 8 ms of each step for its batch, rank 0 waits for rank 1."""
    first, second = Loop(), Loop(process=1, tid=101)
    for _ in range(60):
        first.next(1).forward(2).backward(11).optimizer(2)
        second.next(8).forward(2).backward(4).optimizer(2)
    for loop in (first, second):
        loop.sampled("thread_states", 0.7, state="running")
    for row in first.tables["thread_states"]:
        row["state"] = "lock" if 7 * MS <= row["ts"] % (16 * MS) < 14 * MS else "running"
    diagnosis = diagnose_trace(trace_of_two_ranks(first, second))
    causes = [(finding.id, finding.cause) for finding in diagnosis.findings]
    assert causes == [("input-bound", None), ("straggler", "input")]
    assert diagnosis.verdict.id == "input-bound"
    assert 1 in diagnosis.findings[1].processes


@pytest.mark.parametrize(("delayed", "bound"), [(0.0, True), (0.4, False)])
def test_a_loop_that_waits_for_a_core_while_its_batch_is_ready_is_not_input_bound(
    delayed: float, bound: bool
) -> None:
    """The loop takes 8 of 18 ms per step to take over a batch that is ready; making the batch takes
    1 of the 70 ms per step that the cores have.
    """
    rates = {(0, 100, "run_delay_ns"): delayed * 1e9, (0, -1, "cpu_ns"): 3.9e9}
    fetch = {"wall": 1.5, "cpu": 1}
    trace = pipeline(wait=8, workers=2, depth=4, fetch=fetch, cores=3.9, busy=0.99, rates=rates)
    assert (input_bound.detect(trace, LIMITS) is not None) == bound


def test_waits_for_cores_that_other_jobs_use_are_not_saved_by_loading_less() -> None:
    fetch = {"wall": 30.0, "cpu": 10.0, "delay": 15.0}

    def ceiling_ns(busy: float) -> float:
        trace = pipeline(wait=20, fetch=fetch, cores=1.0, busy=busy)
        [found] = input_pipelines(trace)
        undisturbed = replace(found, fastest=found.consumer / 4.0)
        return fastest_step(input_bound.loader_case_of(trace, undisturbed, LIMITS))

    alone, shared = ceiling_ns(0.25), ceiling_ns(0.99)
    consumer_ns = 10.0 * MS
    assert alone < 0.3 * consumer_ns
    assert shared > 0.6 * consumer_ns
