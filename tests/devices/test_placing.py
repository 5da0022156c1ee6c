"""Ranks on the wrong devices, on built traces: what one host with one target cannot show."""

from typing import Any

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.device_facts import DeviceFacts
from tests.build import MAIN, trace

SECOND = 1_000_000_000


def ranks(
    placed: list[tuple[int, int, float]], devices: int, *others: dict[str, Any], **tables: Any
) -> Any:
    """A trace of one host: (rank, device, GB held there) for each process on a device; rows of
    others; further tables.
    """
    codes = sorted({rank for rank, _, _ in placed})
    processes = [
        {
            **MAIN,
            "process": rank,
            "pid": 100 + rank,
            "rank": rank,
            "local_rank": rank,
            "host": "host",
        }
        for rank in codes
    ]
    listed = [
        {
            "host": "host",
            "device": device,
            "process": rank,
            "pid": 100 + rank,
            "ts": at * SECOND,
            "memory_bytes": int(gb * 1e9),
        }
        for rank, device, gb in placed
        for at in range(3)
    ]
    counters = [
        {
            "host": "host",
            "device": device,
            "ts": at * SECOND,
            "name": "kernel_time_share",
            "value": 0.9,
        }
        for device in range(devices)
        for at in range(3)
    ]
    states = [
        {"process": 0, "tid": 100, "ts": at * SECOND // 20, "state": "poll"} for at in range(60)
    ]
    built = trace(
        processes=processes,
        device_processes=[*listed, *others],
        device_counters=counters,
        thread_states=states,
        **tables,
    )
    built.manifest.devices = [DeviceFacts(one, "NVIDIA H100") for one in range(devices)]
    return built


def test_two_ranks_on_one_device_while_another_is_free() -> None:
    found = diagnose_trace(ranks([(0, 0, 30), (1, 0, 30)], devices=2)).findings
    assert [(item.id, item.cause, item.share) for item in found] == [
        ("wrong-gpu", "two-ranks-on-one", 0.5)
    ]
    assert "ranks 0, 1 share device 0" in found[0].headline and "device 1" in found[0].explanation


def test_memory_on_another_ranks_device() -> None:
    found = diagnose_trace(
        ranks([(0, 0, 30), (1, 1, 30), (1, 0, 0.5), (2, 2, 30), (2, 0, 0.5)], devices=3)
    ).findings
    assert [(item.id, item.cause, item.lost_s) for item in found] == [
        ("wrong-gpu", "memory-on-another", 0.0)
    ]
    assert "2 ranks hold 1 GB" in found[0].explanation


def test_a_rank_a_device_is_right_also_where_others_are_free() -> None:
    diagnosis = diagnose_trace(ranks([(0, 0, 30), (1, 1, 30)], devices=4))
    assert diagnosis.findings == [] and "wrong-gpu" in diagnosis.clear


def test_two_ranks_on_the_only_device_have_no_other_choice() -> None:
    assert "wrong-gpu" in diagnose_trace(ranks([(0, 0, 30), (1, 0, 30)], devices=1)).clear


def test_another_job_counts_for_the_samples_in_which_it_ran() -> None:
    other = {
        "host": "host",
        "device": 0,
        "process": -1,
        "pid": 900,
        "name": "other",
        "ts": 2 * SECOND,
        "sm_share": 0.6,
    }
    found = diagnose_trace(ranks([(0, 0, 30)], 1, other | {"memory_bytes": 10**9})).findings
    assert [(item.id, item.share) for item in found] == [("shared-gpu", 0.2)]


def test_many_processes_of_others_count_together() -> None:
    others = [
        {
            "host": "host",
            "device": 0,
            "process": -1,
            "pid": 900 + one,
            "name": "other",
            "ts": at * SECOND,
            "sm_share": 0.02,
        }
        | {"memory_bytes": 10**9}
        for one in range(10)
        for at in range(3)
    ]
    found = diagnose_trace(ranks([(0, 0, 30)], 1, *others)).findings
    assert [(item.id, round(item.share, 4)) for item in found] == [("shared-gpu", 0.2)]
    assert (
        "With 9 more processes on the device, other jobs run 20 % of the time"
        in found[0].explanation
    )


def test_a_lost_device_that_the_job_does_not_use_is_only_reported() -> None:
    gap = {
        "host": "host",
        "device": 1,
        "ts": SECOND,
        "dur": SECOND,
        "reason": "the device fell off the bus",
    }
    diagnosis = diagnose_trace(ranks([(0, 0, 30)], devices=2, device_gaps=[gap]))
    assert [(finding.id, finding.severity, finding.lost_s) for finding in diagnosis.findings] == [
        ("device-lost", "warning", 0.0)
    ]
    assert diagnosis.verdict.id != "device-lost"
