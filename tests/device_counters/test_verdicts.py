"""The verdict, `bound_by` and the findings of each scenario, read through the real pynvml; healthy
devices have no findings.
"""

from collections.abc import Callable

import pytest

from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.traces.trace import Trace
from tests.device_counters.diagnoses import find_finding, why_not_checked
from tests.device_counters.recordings import SCENARIOS

HEALTHY = [name for name in SCENARIOS if name.startswith("healthy-")]
ANY = None
DECLARED: dict[str, tuple[str, str | None, set[str]]] = {
    # scenario: verdict, bound by (ANY: not declared), findings
    "nvlink-full": ("nvlink-saturated", "communication", {"nvlink-saturated"}),
    "nvlink-mesh-full": ("nvlink-saturated", "communication", {"nvlink-saturated"}),
    "pcie-full": ("pcie-saturated", "communication", {"pcie-saturated"}),
    "pcie-downtrained": (
        "pcie-downtrained",
        "communication",
        {"pcie-downtrained", "pcie-saturated"},
    ),
    "hot": ("throttled", ANY, {"throttled"}),
    "power-cap-lowered": ("power-capped", "compute", {"power-capped"}),
    "power-cap-usual": ("unknown", "compute", {"power-capped"}),
    "busy-but-empty": ("low-occupancy", ANY, {"low-occupancy"}),
    "host-feeds-slowly": ("idle-device", ANY, {"idle-device"}),
    "memory-full": ("unknown", "compute", {"memory-pressure"}),
    "another-job": ("shared-gpu", "compute", {"shared-gpu"}),
    "far-processor": ("unknown", "compute", {"numa-mismatch"}),
    "bad-link": ("unknown", "compute", {"link-errors"}),
    "off-the-bus": ("device-lost", "unknown", {"device-lost"}),
    "memory-bound-decode": ("unknown", "memory-bandwidth", {"memory-bound"}),
}


@pytest.mark.parametrize("scenario", HEALTHY)
def test_a_healthy_device_has_no_finding(scenario: str, trace_of: Callable[[str], Trace]) -> None:
    diagnosis = diagnose_trace(trace_of(scenario))
    assert diagnosis.findings == [] and diagnosis.failed == []


@pytest.mark.parametrize("scenario", DECLARED)
def test_a_scenario_has_the_declared_diagnosis(
    scenario: str, trace_of: Callable[[str], Trace]
) -> None:
    verdict, bound, findings = DECLARED[scenario]
    diagnosis = diagnose_trace(trace_of(scenario))
    assert {finding.id for finding in diagnosis.findings} == findings
    assert diagnosis.verdict.id == verdict
    assert bound is ANY or diagnosis.bound_by.id == bound
    assert diagnosis.failed == []
    assert all(each.evidence and each.evidence[0].device is not None for each in diagnosis.findings)


def test_decoding_is_bound_by_memory_bandwidth_although_every_sm_is_active(
    trace_of: Callable[[str], Trace],
) -> None:
    diagnosis = diagnose_trace(trace_of("memory-bound-decode"))
    assert diagnosis.bound_by.id == "memory-bandwidth"
    evidence = find_finding(diagnosis, "memory-bound").evidence
    assert [item.value for item in evidence] == pytest.approx([0.74, 0.1, 0.98], abs=1e-3)
    assert diagnose_trace(trace_of("healthy-h100")).bound_by.id == "compute"


@pytest.mark.parametrize("scenario", ["healthy-a100", "healthy-v100", "healthy-geforce"])
def test_without_gpm_what_bounds_a_device_is_unknown(
    scenario: str, trace_of: Callable[[str], Trace]
) -> None:
    trace = trace_of(scenario)
    diagnosis, name = diagnose_trace(trace), trace.manifest.devices[0].name
    for id in ("low-occupancy", "memory-bound"):
        assert name in why_not_checked(diagnosis, id) and "GPM" in why_not_checked(diagnosis, id)
    assert diagnosis.bound_by.id == "unknown"


def test_counters_never_clear_a_link(trace_of: Callable[[str], Trace]) -> None:
    diagnosis = diagnose_trace(trace_of("healthy-h100"))
    not_checked = {entry.id for entry in diagnosis.not_checked}
    assert {"nvlink-saturated", "pcie-saturated"} <= not_checked


def test_the_link_verdict_names_the_peak_of_the_links_in_use_and_its_source(
    trace_of: Callable[[str], Trace],
) -> None:
    peak = find_finding(diagnose_trace(trace_of("nvlink-full")), "nvlink-saturated").evidence[-1]
    assert peak.value == 450.0
    assert "data sheet" in peak.text and "18 links to the switch" in peak.text
    mesh = find_finding(diagnose_trace(trace_of("nvlink-mesh-full")), "nvlink-saturated").evidence[
        -1
    ]
    assert mesh.value == 150.0 and "6 of 12 links" in mesh.text


def test_a_full_link_costs_only_the_time_in_which_tensor_cores_do_not_work(
    trace_of: Callable[[str], Trace],
) -> None:
    finding = find_finding(diagnose_trace(trace_of("nvlink-full")), "nvlink-saturated")
    assert finding.share == pytest.approx(1 - 0.62 / 0.93, abs=0.01)


def test_thermal_throttling_is_reported_with_clocks_and_temperature(
    trace_of: Callable[[str], Trace],
) -> None:
    finding = find_finding(diagnose_trace(trace_of("hot")), "throttled")
    assert finding.cause == "thermal"
    assert 0 < finding.share < 0.5, "half of the clock rate for a part of the time"
    assert [item.value for item in finding.evidence[1:]] == [700.0, 1395.0, 92.0]


def test_the_usual_power_limit_is_only_reported(trace_of: Callable[[str], Trace]) -> None:
    usual = find_finding(diagnose_trace(trace_of("power-cap-usual")), "power-capped")
    lowered = find_finding(diagnose_trace(trace_of("power-cap-lowered")), "power-capped")
    assert (usual.severity, usual.lost_s, lowered.cause) == ("info", 0.0, "limit-lowered")
    assert lowered.lost_s > 0 and "400 W" in lowered.explanation and "700 W" in lowered.explanation


def test_other_processes_on_the_device_are_named(trace_of: Callable[[str], Trace]) -> None:
    finding = find_finding(diagnose_trace(trace_of("another-job")), "shared-gpu")
    assert "sleep (pid " in finding.explanation and "20 GB" in finding.explanation
    assert finding.share == pytest.approx(0.4)


def test_utilization_alone_does_not_mean_busy(trace_of: Callable[[str], Trace]) -> None:
    finding = find_finding(diagnose_trace(trace_of("busy-but-empty")), "low-occupancy")
    assert [item.value for item in finding.evidence[:2]] == [1.0, pytest.approx(0.1)]


def test_a_lost_device_costs_the_rest_of_the_recording(trace_of: Callable[[str], Trace]) -> None:
    diagnosis = diagnose_trace(trace_of("off-the-bus"))
    finding = find_finding(diagnosis, "device-lost")
    assert "device 1 (NVIDIA H100" in finding.headline
    assert finding.severity == "critical" and 0.2 < finding.share < 0.9
    assert finding.lost_s == pytest.approx(finding.evidence[0].value, abs=0.2)
    assert [item.value for item in finding.evidence if item.unit == "Xid"] == [79.0]


def test_a_reloaded_driver_does_not_mean_a_lost_device(trace_of: Callable[[str], Trace]) -> None:
    assert "device-lost" in diagnose_trace(trace_of("driver-reload")).clear
