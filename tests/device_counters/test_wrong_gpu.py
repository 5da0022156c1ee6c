"""Ranks on the wrong devices, in built traces of several ranks and devices."""

from typing import Any

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.traces.device_facts import DeviceFacts
from tests.build import MAIN, trace

SECOND = 1_000_000_000
GB = 10**9
HOST = {"host": "host"}


def ranks(
    placed: list[tuple[int, int, float]], devices: int, *others: dict[str, Any], **tables: Any
) -> Any:
    """Return a trace of one host.

    placed: (rank, device, GB that the rank holds there) for each process on a device
    others: rows of processes that are not part of the job
    """
    processes = [
        {**MAIN, "process": rank, "pid": 100 + rank, "rank": rank, "local_rank": rank, **HOST}
        for rank in sorted({rank for rank, _, _ in placed})
    ]
    listed = [
        {**HOST, "device": device, "process": rank, "pid": 100 + rank, "memory_bytes": int(gb * GB)}
        for rank, device, gb in placed
    ]
    busy = [
        {**HOST, "device": device, "name": "kernel_time_share", "value": 0.9}
        for device in range(devices)
    ]
    states = [
        {"process": 0, "tid": 100, "ts": number * SECOND // 20, "state": "poll"}
        for number in range(60)
    ]
    built = trace(
        processes=processes,
        device_processes=[*each_second(listed), *others],
        device_counters=each_second(busy),
        thread_states=states,
        **tables,
    )
    built.manifest.devices = [DeviceFacts(number, "NVIDIA H100") for number in range(devices)]
    return built


def each_second(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows at each of three seconds."""
    return [row | {"ts": second * SECOND} for row in rows for second in range(3)]


def test_two_ranks_on_one_device_are_reported_if_another_device_is_free() -> None:
    (finding,) = diagnose_trace(ranks([(0, 0, 30), (1, 0, 30)], devices=2)).findings
    assert (finding.id, finding.cause, finding.share) == ("wrong-gpu", "two-ranks-on-one", 0.5)
    assert "ranks 0, 1" in finding.headline and "device 0" in finding.headline
    assert "device 1" in finding.explanation


def test_memory_on_the_device_of_another_rank_is_reported() -> None:
    placed = [(0, 0, 30), (1, 1, 30), (1, 0, 0.5), (2, 2, 30), (2, 0, 0.5)]
    (finding,) = diagnose_trace(ranks(placed, devices=3)).findings
    assert (finding.id, finding.cause, finding.lost_s) == ("wrong-gpu", "memory-on-another", 0.0)
    assert "2 ranks" in finding.explanation and "1 GB" in finding.explanation


def test_one_rank_per_device_is_right_also_if_other_devices_are_free() -> None:
    diagnosis = diagnose_trace(ranks([(0, 0, 30), (1, 1, 30)], devices=4))
    assert diagnosis.findings == [] and "wrong-gpu" in diagnosis.clear


def test_two_ranks_on_the_only_device_are_not_reported() -> None:
    assert "wrong-gpu" in diagnose_trace(ranks([(0, 0, 30), (1, 0, 30)], devices=1)).clear


OTHER_JOB = {
    **HOST,
    "device": 0,
    "process": -1,
    "pid": 900,
    "name": "other",
    "memory_bytes": GB,
}


def test_another_job_counts_for_the_samples_in_which_it_ran() -> None:
    other = OTHER_JOB | {"ts": 2 * SECOND, "sm_share": 0.6}
    found = diagnose_trace(ranks([(0, 0, 30)], 1, other)).findings
    assert [(item.id, item.share) for item in found] == [("shared-gpu", 0.2)]


def test_the_processes_of_other_jobs_are_added() -> None:
    others = [OTHER_JOB | {"pid": 900 + number, "sm_share": 0.02} for number in range(10)]
    (finding,) = diagnose_trace(ranks([(0, 0, 30)], 1, *each_second(others))).findings
    assert (finding.id, round(finding.share, 4)) == ("shared-gpu", 0.2)
    assert "9 more processes" in finding.explanation


def test_a_lost_device_that_the_job_does_not_use_is_only_reported() -> None:
    gap = {**HOST, "device": 1, "ts": SECOND, "dur": SECOND, "reason": "off the bus"}
    diagnosis = diagnose_trace(ranks([(0, 0, 30)], devices=2, device_gaps=[gap]))
    (finding,) = diagnosis.findings
    assert (finding.id, finding.severity, finding.lost_s) == ("device-lost", "warning", 0.0)
    assert diagnosis.verdict.id != "device-lost"


def in_a_container(devices: int, uuids: list[str]) -> Any:
    """Return a trace of one process in a container whose pids the driver does not list."""
    host_pids = [
        {**HOST, "device": device, "process": -1, "pid": 900_000 + device}
        for device in range(devices)
    ]
    torch = {"version": "2.13.0", "intra_op_threads": 1, "inter_op_threads": 1, "cuda": True}
    busy = [
        {**HOST, "device": device, "name": "kernel_time_share", "value": 0.9}
        for device in range(devices)
    ]
    built = trace(
        processes=[{**MAIN, **HOST}],
        device_processes=each_second(host_pids),
        device_counters=each_second(busy),
        manifest={"torch": {**torch, "devices": uuids}},
    )
    built.manifest.devices = [
        DeviceFacts(number, "NVIDIA H100", uuid=f"GPU-{number}") for number in range(devices)
    ]
    return built


def test_pids_of_another_namespace_do_not_mean_that_no_device_is_used() -> None:
    (use,) = in_a_container(1, []).fact(device_use)
    assert not use.certain, "the only device, but its processes are unknown here"


def test_the_probe_says_which_devices_are_used_where_the_driver_cannot() -> None:
    (use,) = in_a_container(2, ["1"]).fact(device_use)
    assert (use.device, use.processes, use.certain) == (1, (0,), True)


def test_unknown_processes_on_several_devices_are_reported() -> None:
    recorded = in_a_container(2, [])
    assert recorded.fact(device_use) == []
    reasons = {item.id: item.reason for item in diagnose_trace(recorded).not_checked}
    assert "pids" in reasons["throttled"]
