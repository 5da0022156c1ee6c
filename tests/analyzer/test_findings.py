"""Findings that need no device: each is found, is clear, or is not checked."""

import inspect
from pathlib import Path
from typing import Any

import pytest

from perfscope.analyzer import explain
from perfscope.analyzer.diagnosis import Speedup
from perfscope.analyzer.host import (
    checkpoint_stall,
    cpu_oversubscription,
    cpu_throttled,
    gc_pause,
    gil_contention,
    host_sync,
    memory_growth,
)
from perfscope.analyzer.input import input_bound
from perfscope.analyzer.limits import LIMITS
from perfscope.errors import UsageError
from perfscope.traces.trace import Trace
from tests.analyzer.loop import MS, SECOND_RANK, Loop
from tests.analyzer.outcomes import found, is_clear, not_checked
from tests.analyzer.pipelines import counters
from tests.build import MAIN

S = 1000 * MS
FOLDER = Path(inspect.getfile(input_bound)).parent


def plain_loop(steps: int = 100, extra_ms: float = 0.0) -> Loop:
    """Return a loop of steps of 10 ms, of which 1 is for the loader and 9 for torch."""
    loop = Loop()
    for _ in range(steps):
        loop.next().forward(3).backward(4).optimizer(2).idle(extra_ms)
    return loop


def loop_with_checkpoints(every: int, ms: float) -> Loop:
    loop = Loop()
    for index in range(101):
        loop.next().forward(3).backward(4).optimizer(2)
        if index % every == every - 1:
            loop.call("checkpoint", ms, value=50_000_000)
    return loop


def test_frequent_checkpoints_are_a_checkpoint_stall() -> None:
    finding = found(checkpoint_stall, loop_with_checkpoints(every=10, ms=40).trace())
    # 100 steps of 10 ms and nine or ten writes of 40 ms: 4 of 14 ms
    assert finding.share == pytest.approx(4 / 14, abs=0.02)
    assert finding.speedup is not None
    assert finding.speedup.likely == pytest.approx(1.4, abs=0.04)
    assert "50 MB" in finding.explanation and finding.evidence[0].value == 40.0
    assert finding.evidence[0].end_ns is not None
    assert finding.severity == "critical"


def test_rare_checkpoints_are_not_a_checkpoint_stall() -> None:
    assert is_clear(checkpoint_stall, loop_with_checkpoints(every=50, ms=5).trace())


def test_a_save_inside_a_save_is_one_write() -> None:
    loop = Loop()
    for _ in range(12):
        loop.next().work()
        begun = loop.at
        loop.call("checkpoint", 20, value=1)
        after, loop.at = loop.at, begun + 15 * MS
        loop.call("checkpoint", 4, value=-1)
        loop.at = after
    assert "10 writes" in found(checkpoint_stall, loop.trace()).evidence[1].text


def test_long_collections_are_a_gc_pause_and_short_ones_are_not() -> None:
    loop, quiet = Loop(), Loop()
    for _ in range(50):
        loop.next().work().call("gc", 2, object=2, value=10)
        quiet.next().work().call("gc", 0.1, object=0, value=10)
    finding = found(gc_pause, loop.trace())
    assert finding.share == 0.2222
    assert finding.speedup is not None
    assert finding.speedup.likely == round(9 / 7, 3)
    assert is_clear(gc_pause, quiet.trace())


def test_gil_contention_names_the_line_of_the_other_thread() -> None:
    loop = plain_loop()
    states = [
        {"process": 0, "tid": 100, "ts": at, "state": "gil" if index % 2 else "running"}
        for index, at in enumerate(range(0, loop.at, 3 * MS))
    ]
    stacks = [
        {
            "process": 0,
            "tid": 7,
            "ts": at,
            "weight_ns": MS,
            "stack": "run (threading.py:1);log (metrics.py:12)",
        }
        for at in range(0, loop.at, 20 * MS)
    ]
    finding = found(gil_contention, loop.trace(thread_states=states, stacks=stacks))
    # Samples inside the loader are running. Of those in the other nine tenths, 5 of 9 wait for the
    # GIL.
    assert finding.share == pytest.approx(0.5, abs=0.005)
    assert "`log (metrics.py:12)`" in finding.explanation


def test_the_thread_that_holds_the_gil_frees_a_core_only_where_all_are_in_use() -> None:
    full, free = (plain_loop().trace(manifest=threads(count)) for count in (4, 3))
    assert gil_contention.computation_saved(full, 1.0, 1) == pytest.approx((0.25, 0.5))
    assert gil_contention.computation_saved(free, 1.0, 1) == (0.0, 0.0)


def test_gil_contention_is_clear_or_not_checked_without_enough_samples() -> None:
    running = plain_loop().sampled("thread_states", 3, state="running").trace()
    assert is_clear(gil_contention, running)
    assert not_checked(gil_contention, plain_loop().trace()).reason.startswith("thread_states: ")
    few = plain_loop().sampled("thread_states", 100, state="gil").trace()
    assert not_checked(gil_contention, few).group == "too-short"


def load(
    loop: Loop,
    rates: dict[tuple[int, int, str], float],
    manifest: dict[str, Any] | None = None,
    busy: float = 0.5,
    **tables: Any,
) -> Trace:
    rows = counters(
        loop.at, {(-1, -1, "host_cpu_busy_ns"): busy * 4e9, (0, -1, "cpu_ns"): 1e9, **rates}
    )
    rows.append({"process": -1, "tid": -1, "ts": 0, "name": "host_cpu_count", "value": 4.0})
    return loop.trace(manifest=manifest, counters=rows, **tables)


def threads(count: int) -> dict[str, Any]:
    return {
        "torch": {
            "version": "2.13.0",
            "intra_op_threads": count,
            "inter_op_threads": 1,
            "cuda": False,
        }
    }


DELAYED = {(0, 100, "run_delay_ns"): 0.4e9}


def test_more_threads_than_cores_are_oversubscription() -> None:
    finding = found(cpu_oversubscription, load(plain_loop(), DELAYED, threads(16)))
    assert finding.actions[0].snippet == "torch.set_num_threads(4)"
    assert finding.share == 0.4
    # the CPU time of one busy core, divided by four cores
    assert finding.speedup == Speedup(None, None, 4.0)


def test_ranks_that_run_one_after_the_other_do_not_share_cores() -> None:
    def two_ranks(second_begins_ms: float) -> Trace:
        first, second = plain_loop(), Loop(process=1, tid=101).idle(second_begins_ms)
        for _ in range(100):
            second.next().forward(3).backward(4).optimizer(2)
        for name, rows in second.tables.items():
            first.tables[name] += rows
        return load(first, DELAYED, threads(4), processes=[MAIN, SECOND_RANK])

    explanation = found(cpu_oversubscription, two_ranks(0)).explanation
    assert "4 intra-op threads x 2 ranks" in explanation
    assert is_clear(cpu_oversubscription, two_ranks(1500))


def test_cores_in_use_by_another_job_are_oversubscription() -> None:
    finding = found(cpu_oversubscription, load(plain_loop(), DELAYED, threads(4), busy=0.98))
    assert "2.92 of" in finding.explanation
    assert [action.id for action in finding.actions] == ["move-other-job"]
    one_core = {**threads(1), "usable_cores": {"cores": 1.0, "affinity": 1}}
    pinned = found(cpu_oversubscription, load(plain_loop(), DELAYED, one_core, busy=0.98))
    assert "2.92 of" in pinned.explanation


def test_oversubscription_is_clear_or_not_checked() -> None:
    # cores are free, and as many threads as cores
    assert is_clear(cpu_oversubscription, load(plain_loop(), DELAYED, threads(4)))
    rarely_delayed = {(0, 100, "run_delay_ns"): 0.01e9}
    assert is_clear(cpu_oversubscription, load(plain_loop(), rarely_delayed, threads(16)))
    assert (
        "/proc/PID/schedstat"
        in not_checked(cpu_oversubscription, load(plain_loop(), {}, threads(16))).reason
    )
    unknown = load(plain_loop(), DELAYED, {"usable_cores": None})
    assert not_checked(cpu_oversubscription, unknown).group == "other"


def test_workers_that_fill_the_cores_are_oversubscription_while_batches_are_ready_in_time() -> None:
    rates = {**DELAYED, (10, -1, "cpu_ns"): 2.9e9}
    family = [MAIN, {**MAIN, "process": 10, "pid": 110, "role": "loader-worker", "parent": 0}]
    early, late = Loop(), Loop()
    for _ in range(100):
        early.next(0.2).forward(3).backward(4).optimizer(2)
        late.next(8).forward(3).backward(4).optimizer(2)
    in_time = load(early, rates, threads(4), busy=0.99, processes=family)
    crowded = found(cpu_oversubscription, in_time)
    assert "2.9 of" in crowded.explanation and crowded.share > 0.3
    assert crowded.actions[0].id == "use-less-cpu-per-batch"
    assert is_clear(
        cpu_oversubscription, load(late, rates, threads(4), busy=0.99, processes=family)
    )


QUOTA = {"usable_cores": {"cores": 0.5, "affinity": 4, "quota": 0.5}}


def test_throttling_is_found_with_a_ceiling() -> None:
    rates = {(0, -1, "cpu_ns"): 0.5e9, (0, -1, "throttled_ns"): 0.7e9, (0, -1, "nr_throttled"): 8.0}
    finding = found(cpu_throttled, load(plain_loop(), rates, QUOTA))
    assert finding.share == 0.7
    assert finding.speedup == Speedup(None, None, 3.333)
    assert "0.5 cores" in finding.explanation
    assert [action.id for action in finding.actions] == ["raise-cpu-quota", "fit-into-cpu-quota"]


def test_throttling_is_clear_or_not_checked() -> None:
    assert is_clear(cpu_throttled, load(plain_loop(), {(0, -1, "throttled_ns"): 0.0}))
    assert "cpu.stat" in not_checked(cpu_throttled, load(plain_loop(), {})).reason


def growing(per_s: float, manifest: dict[str, Any] | None = None, seconds: int = 20) -> Trace:
    loop = plain_loop(steps=seconds * 100 + 1)
    rows = [
        {
            "process": 0,
            "tid": -1,
            "ts": at,
            "name": "rss_bytes",
            "value": 1e9 + per_s * at / 1e9 + (at // MS % 7) * 1e5,
        }
        for at in range(0, loop.at, 250 * MS)
    ]
    return loop.trace(manifest=manifest, counters=rows)


def test_memory_growth_reports_when_the_limit_is_reached() -> None:
    finding = found(memory_growth, growing(10e6, {"memory_limit_bytes": 2_000_000_000}))
    assert "0.1 MB" in finding.headline and "10 MB" in finding.headline
    assert "2 GB" in finding.explanation and "1.33 minutes" in finding.explanation
    assert "minutes" not in found(memory_growth, growing(10e6)).explanation
    assert finding.lost_s == 0.0
    assert finding.severity == "warning"


def test_memory_growth_is_clear_or_not_checked() -> None:
    assert is_clear(memory_growth, growing(0.0))
    assert is_clear(memory_growth, growing(0.1e6))
    assert not_checked(memory_growth, growing(10e6, seconds=2)).group == "too-short"
    rising = [
        {"process": 0, "tid": -1, "ts": at * S, "name": "rss_bytes", "value": 1e9 + 10e6 * at}
        for at in range(20)
    ]
    starting = plain_loop(steps=2).trace(counters=rising)
    assert not_checked(memory_growth, starting).group == "too-short"
    # From outside of the process, no steps are visible.
    assert found(memory_growth, Loop().trace(counters=rising))


def test_memory_of_a_profiling_window_is_not_growth_and_does_not_hide_growth() -> None:
    loop = plain_loop(steps=2001)
    window = [
        {
            "process": 0,
            "ts": 6 * S,
            "dur": 2 * S,
            "begin": 6 * S,
            "end": 7 * S,
            "steps": 100,
            "kept": True,
        }
    ]
    for per_s, finds in ((0.0, False), (5e6, True)):
        rows = [
            {
                "process": 0,
                "tid": -1,
                "ts": at,
                "name": "rss_bytes",
                "value": 1e9 + per_s * at / S + window_memory(at),
            }
            for at in range(0, loop.at, 250 * MS)
        ]
        trace = loop.trace(counters=rows, windows=window)
        assert (memory_growth.detect(trace, LIMITS) is not None) == finds


def window_memory(at: int) -> float:
    """Return the memory of a profiling window from second 6 to 8: 300 MB, and 40 MB of them stay
    from half a second after its end.
    """
    if at < 6 * S:
        return 0.0
    return 3e8 if at < 8.5 * S else 4e7


def test_memory_that_fills_a_cache_and_then_stays_constant_is_not_growth() -> None:
    loop = plain_loop(steps=2001)
    rows = [
        {
            "process": 0,
            "tid": -1,
            "ts": at,
            "name": "rss_bytes",
            "value": 1e9 + min(at / 1e9, 6) * 40e6,
        }
        for at in range(0, loop.at, 250 * MS)
    ]
    assert is_clear(memory_growth, loop.trace(counters=rows))


def test_host_sync_is_not_checked_without_device_timing() -> None:
    torch = {
        "torch": {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    }
    assert not_checked(host_sync, plain_loop().trace(manifest=torch)).group == "no-kernels"


def test_explain_accepts_causes_and_lists_the_findings_for_an_unknown_name() -> None:
    assert explain.explain("input-bound/decode-bound").startswith("input-bound/decode-bound\n")
    with pytest.raises(UsageError, match="input-bound, checkpoint-stall"):
        explain.explain("compute")
