"""What is written down of devices: values, gaps, what cannot be read and why, whose processes are
on them.
"""

from collections.abc import Callable

import pandas as pd
import pytest

from perfscope.analyzer.counters.device_use import all_devices, device_use
from perfscope.analyzer.counters.series import device_series
from perfscope.analyzer.devices.energy import energy, energy_windows
from perfscope.traces.run.manifest import SourceStatus
from perfscope.traces.trace import Trace
from tests.devices.recordings import SCENARIOS


def source(trace: Trace) -> SourceStatus:
    return next(each for each in trace.manifest.sources if each.name == "nvml")


def rows(trace: Trace, device: int, name: str) -> pd.DataFrame:
    table = trace.table("device_counters")
    assert table is not None
    return table[(table["device"] == device) & (table["name"] == name)]


def test_counters_say_what_the_device_does(trace_of: Callable[[str], Trace]) -> None:
    means = trace_of("healthy-h100").fact(device_use)[0].means
    # rates from totals and from GPM's pairs of samples, each over its own interval
    assert means["nvlink_tx_bytes_per_s"] == pytest.approx(30e9, rel=0.1)
    assert means["pcie_rx_bytes_per_s"] == pytest.approx(3e9, rel=0.1)
    assert means["energy_w"] == pytest.approx(560, rel=0.1)
    assert (means["sm_active"], means["tensor_active"], means["dram_active"]) == pytest.approx(
        (0.92, 0.62, 0.35), abs=1e-3
    )
    assert (means["power_w"], means["kernel_time_share"], means["sm_clock_mhz"]) == (
        560.0,
        1.0,
        1905.0,
    )


def test_newer_links_count_by_fields_of_their_own(trace_of: Callable[[str], Trace]) -> None:
    means = trace_of("healthy-b200").fact(device_use)[0].means
    assert means["nvlink_rx_bytes_per_s"] == pytest.approx(60e9, rel=0.1)


def test_a_mean_of_gpm_is_of_its_own_interval(trace_of: Callable[[str], Trace]) -> None:
    values = rows(trace_of("far-processor"), 0, "sm_active")["value"].round(3).tolist()
    assert {0.3, 0.9} <= set(values), "before and after the change"
    assert sum(0.3 < value < 0.9 for value in values) <= 1, "one interval at most holds the change"


def test_the_rate_that_was_reached_is_reported(
    trace_of: Callable[[str], Trace],
) -> None:
    trace = trace_of("healthy-eight")
    told = trace.manifest.device_sampling
    assert told is not None
    for device in range(8):
        ts = rows(trace, device, "kernel_time_share")["ts"].to_numpy()
        reached = (len(ts) - 1) / ((ts[-1] - ts[0]) / 1e9)
        assert told.quick_hz <= 1.3 * reached, "never more than was reached"


def test_a_lost_device_leaves_a_gap_and_the_others_go_on(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("off-the-bus")
    gaps = trace.table("device_gaps")
    assert gaps is not None and gaps["device"].tolist() == [1]
    assert gaps["reason"].tolist() == ["the device fell off the bus"]
    lost = int(gaps["ts"].iloc[0])
    assert (
        rows(trace, 1, "kernel_time_share")["ts"].max()
        < lost
        < rows(trace, 0, "kernel_time_share")["ts"].max()
    )
    assert source(trace).status == "partial" and "device 1: the device fell off the bus" in str(
        source(trace).reason
    )
    assert rows(trace, 1, "xid")["value"].tolist() == [79.0]


def test_a_device_that_never_answered_is_reported(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("off-from-the-start")
    told = source(trace)
    assert (told.status, told.reason) == (
        "partial",
        "device 1 did not answer from the start: the device fell off the bus",
    )
    assert [device.device for device in trace.manifest.devices] == [0] and len(
        rows(trace, 0, "power_w")
    )


def test_a_driver_that_is_reloaded_is_found_again(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("driver-reload")
    gaps = trace.table("device_gaps")
    assert gaps is not None and gaps["device"].tolist() == [-1]
    begin, end = int(gaps["ts"].iloc[0]), int(gaps["ts"].iloc[0] + gaps["dur"].iloc[0])
    ts = rows(trace, 0, "kernel_time_share")["ts"].to_numpy()
    assert (ts < begin).any() and (ts > end).any() and not ((ts > begin) & (ts < end)).any()
    series = trace.fact(device_series)
    over = series[
        (series["name"] == "energy_w")
        & (series["ts"] - series["span"] < begin)
        & (series["ts"] > end)
    ]
    assert not len(over), "no rate reaches over the gap"


def test_without_permission_the_rest_goes_on(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("no-permission")
    missing = trace.manifest.devices[0].missing
    assert {"energy_j", "clock_events", "processes"} <= set(missing)
    assert all(
        "no permission" in missing[name] for name in ("energy_j", "clock_events", "processes")
    )
    assert len(rows(trace, 0, "kernel_time_share")) > 5
    assert not trace.fact(all_devices)[0].certain, "nobody says who uses it, and it is the only one"


def test_an_old_driver_gives_what_it_has(trace_of: Callable[[str], Trace]) -> None:
    facts = trace_of("old-driver").manifest.devices[0]
    assert facts.missing["nvlink_tx_bytes"] == "this driver is too old for it"
    assert facts.power_is == "mean"
    assert trace_of("old-driver").fact(device_use)[0].means["energy_w"] == pytest.approx(
        260, rel=0.1
    )


def test_a_driver_that_is_not_loaded_is_reported_with_a_fix(
    trace_of: Callable[[str], Trace],
) -> None:
    status = source(trace_of("driver-not-loaded"))
    assert status.status == "unavailable" and "`nvidia-smi`" in str(status.reason)


def test_pcie_traffic_without_counters_comes_from_the_call_that_blocks(
    trace_of: Callable[[str], Trace],
) -> None:
    values = rows(trace_of("healthy-a100"), 0, "pcie_rx_bytes_per_s")["value"]
    assert len(values) and values.mean() == pytest.approx(3e9)


def test_an_instance_of_mig_is_asked_for_itself(trace_of: Callable[[str], Trace]) -> None:
    whole, instance = trace_of("mig").fact(all_devices)
    assert (instance.facts.parent, instance.facts.gpu_instance, instance.facts.multiprocessors) == (
        0,
        3,
        32,
    )
    assert instance.means["sm_active"] == pytest.approx(0.8, abs=1e-3)
    assert instance.processes and not whole.processes
    assert "MIG is on" in whole.why_missing("sm_active")


@pytest.mark.parametrize("scenario", ["healthy-h100", "healthy-geforce", "another-container"])
def test_the_processes_of_the_job_are_distinguished_from_others(
    scenario: str, trace_of: Callable[[str], Trace]
) -> None:
    trace = trace_of(scenario)
    listed, processes = trace.table("device_processes"), trace.table("processes")
    assert listed is not None and processes is not None
    ours = processes[processes["pid"].isin(listed["pid"])]
    assert len(ours) == 1 and set(listed["process"]) == set(ours["process"])
    inside = SCENARIOS[scenario].target == "in a pid namespace"
    assert (ours["pid"] != ours["ns_pid"]).all() == inside


def test_energy_is_stated_over_a_second_or_more(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("healthy-h100")
    one = trace.fact(energy)[0]
    assert one.counted and one.joules == pytest.approx(560 * one.seconds, rel=0.1)
    windows = trace.fact(energy_windows)
    assert len(windows) and (windows["dur"] >= 1_000_000_000).all()
    assert windows["power_w"].to_numpy() == pytest.approx(560, rel=0.1)
