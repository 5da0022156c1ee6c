"""Recorded devices: values, gaps, what cannot be read and why, and the processes that use them."""

from collections.abc import Callable

import pandas as pd
import pytest

from perfscope.agent.nvml.device_reader import BY_GPM, kind_of_power
from perfscope.agent.nvml.gpu_processes import count_periods
from perfscope.analyzer.devices.energy import energy, energy_windows
from perfscope.analyzer.run.accelerators.counter_series import device_series
from perfscope.analyzer.run.accelerators.device_use import all_devices, device_use
from perfscope.traces.run_folder.manifest import SourceStatus
from perfscope.traces.trace import Trace
from tests.device_counters.recordings import SCENARIOS


def source(trace: Trace) -> SourceStatus:
    """Return the status of the source nvml."""
    return next(status for status in trace.manifest.sources if status.name == "nvml")


def rows(trace: Trace, device: int, name: str) -> pd.DataFrame:
    """Return the readings of one counter."""
    table = trace.table("device_counters")
    assert table is not None
    return table[(table["device"] == device) & (table["name"] == name)]


def test_the_values_of_counters_are_recorded(trace_of: Callable[[str], Trace]) -> None:
    """Rates come from totals and from GPM's pairs of samples, each over its interval."""
    means = trace_of("healthy-h100").fact(device_use)[0].means
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


def test_newer_links_have_separate_counters(trace_of: Callable[[str], Trace]) -> None:
    means = trace_of("healthy-b200").fact(device_use)[0].means
    assert means["nvlink_rx_bytes_per_s"] == pytest.approx(60e9, rel=0.1)


def test_a_mean_of_gpm_is_that_of_its_interval(trace_of: Callable[[str], Trace]) -> None:
    values = rows(trace_of("far-processor"), 0, "sm_active")["value"].round(3).tolist()
    assert {0.3, 0.9} <= set(values), "before and after the change"
    assert sum(0.3 < value < 0.9 for value in values) <= 1, "one interval contains the change"


def test_the_reported_sampling_rate_was_reached(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("healthy-eight")
    sampling = trace.manifest.device_sampling
    assert sampling is not None
    for device in range(8):
        ts = rows(trace, device, "kernel_time_share")["ts"].to_numpy()
        reached = (len(ts) - 1) / ((ts[-1] - ts[0]) / 1e9)
        assert sampling.quick_hz <= 1.3 * reached


def test_a_lost_device_causes_a_gap_and_the_others_continue(
    trace_of: Callable[[str], Trace],
) -> None:
    trace = trace_of("off-the-bus")
    gaps = trace.table("device_gaps")
    assert gaps is not None and gaps["device"].tolist() == [1]
    assert gaps["reason"].tolist() == ["the device fell off the bus"]
    lost_ts = int(gaps["ts"].iloc[0])
    assert rows(trace, 1, "kernel_time_share")["ts"].max() < lost_ts
    assert rows(trace, 0, "kernel_time_share")["ts"].max() > lost_ts
    status = source(trace)
    assert status.status == "partial" and "device 1" in str(status.reason)
    assert rows(trace, 1, "xid")["value"].tolist() == [79.0]


def test_a_device_that_never_answered_is_reported(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("off-from-the-start")
    status = source(trace)
    assert status.status == "partial" and "device 1" in str(status.reason)
    assert [device.device for device in trace.manifest.devices] == [0]
    assert len(rows(trace, 0, "power_w"))


def test_the_recording_continues_after_the_driver_was_reloaded(
    trace_of: Callable[[str], Trace],
) -> None:
    trace = trace_of("driver-reload")
    gaps = trace.table("device_gaps")
    assert gaps is not None and gaps["device"].tolist() == [-1]
    begin, end = int(gaps["ts"].iloc[0]), int(gaps["ts"].iloc[0] + gaps["dur"].iloc[0])
    ts = rows(trace, 0, "kernel_time_share")["ts"].to_numpy()
    assert (ts < begin).any() and (ts > end).any() and not ((ts > begin) & (ts < end)).any()
    series = trace.fact(device_series)
    energy_w = series[series["name"] == "energy_w"]
    across = (energy_w["ts"] - energy_w["span"] < begin) & (energy_w["ts"] > end)
    assert not across.any(), "no rate includes the gap"


def test_without_permission_for_some_counters_the_others_are_recorded(
    trace_of: Callable[[str], Trace],
) -> None:
    trace = trace_of("no-permission")
    missing = trace.manifest.devices[0].missing
    for name in ("energy_j", "clock_events", "processes", BY_GPM):
        assert "no permission" in missing[name]
    assert not len(rows(trace, 0, "sm_active"))
    assert len(rows(trace, 0, "pcie_rx_bytes_per_s")), "by the call that needs no permission"
    assert len(rows(trace, 0, "kernel_time_share")) > 5
    assert not trace.fact(all_devices)[0].certain, "the only device, but without its processes"


def test_the_counters_of_an_old_driver_are_recorded(trace_of: Callable[[str], Trace]) -> None:
    facts = trace_of("old-driver").manifest.devices[0]
    assert "nvlink_tx_bytes" in facts.missing
    assert facts.power_is == "instant"
    means = trace_of("old-driver").fact(device_use)[0].means
    assert means["energy_w"] == pytest.approx(260, rel=0.1)


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


def test_an_instance_of_mig_has_separate_counters(trace_of: Callable[[str], Trace]) -> None:
    whole, instance = trace_of("mig").fact(all_devices)
    facts = instance.facts
    assert (facts.parent, facts.gpu_instance, facts.multiprocessors) == (0, 3, 32)
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
    target = processes[processes["pid"].isin(listed["pid"])]
    assert len(target) == 1 and set(listed["process"]) == set(target["process"])
    inside = SCENARIOS[scenario].target == "in a pid namespace"
    assert (target["pid"] != target["ns_pid"]).all() == inside


def test_energy_is_reported_for_a_second_or_more(trace_of: Callable[[str], Trace]) -> None:
    trace = trace_of("healthy-h100")
    used = trace.fact(energy)[0]
    assert used.counted
    assert used.joules == pytest.approx(560 * used.seconds, rel=0.1)
    windows = trace.fact(energy_windows)
    assert len(windows) and (windows["dur"] >= 1_000_000_000).all()
    assert windows["power_w"].to_numpy() == pytest.approx(560, rel=0.1)


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("7.0", "instant"), ("8.0", "instant"), ("8.6", "mean"), ("9.0", "mean"), (None, "mean")],
)
def test_old_drivers_report_a_mean_of_power_on_newer_devices_only(
    capability: str | None, expected: str
) -> None:
    assert kind_of_power("mean", capability) == expected
    assert kind_of_power("instant", capability) == "instant"


def test_errors_of_every_link_are_added(trace_of: Callable[[str], Trace]) -> None:
    series = trace_of("bad-newer-link").fact(device_series)
    errors = series[series["name"] == "nvlink_error_per_s"]["value"]
    assert errors.mean() == pytest.approx(3600, rel=0.1)


@pytest.mark.parametrize(
    ("times_us", "periods"),
    [
        ({1_000_000}, 1),  # a single sample: its period is not known
        ({200_000, 400_000, 600_000, 800_000, 1_000_000}, 5),
        ({200_000, 400_000, 1_000_000}, 5),  # no kernels in the periods without a sample
    ],
)
def test_periods_without_kernels_count_for_the_share_of_a_process(
    times_us: set[int], periods: int
) -> None:
    assert count_periods(times_us, since_us=0) == periods
