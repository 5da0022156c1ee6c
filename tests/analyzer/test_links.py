"""Collectives compared with the peak of their links: the path, when it is full, and when that is
unknown.
"""

import math
from typing import Any

import pytest

from perfscope.analyzer.check_findings import outcome
from perfscope.analyzer.communication import network_saturated, nvlink_saturated
from perfscope.analyzer.communication.arrival_spread import arrival_spread
from perfscope.analyzer.communication.collective_links import collective_links
from perfscope.analyzer.communication.group_path import (
    DEVICE_LINKS,
    NETWORK,
    UNKNOWN,
    group_path,
    members_of_group,
)
from perfscope.analyzer.diagnose import diagnose_trace
from perfscope.analyzer.diagnosis import Clear, Finding, NotChecked
from perfscope.analyzer.hardware.link_products import link_peak
from perfscope.analyzer.limits import LIMITS
from perfscope.traces.trace import Trace
from tests import build
from tests.analyzer.traced.gpu import Gpu

A100, H100, MI300X = "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "AMD Instinct MI300X"


def host_of(name: str, devices: int = 8) -> dict[str, Any]:
    return {
        "depth": "trace",
        "devices": [{"device": number, "name": name} for number in range(devices)],
    }


def trace_of_all_reduces(
    name: str, size: int, *, ranks: int = 2, recorded: int = 2, **more: Any
) -> Trace:
    """Return ten steps of 10 ms; in each, an exposed all-reduce of `size` bytes takes 4 ms."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for process in range(recorded):
        gpu = Gpu(process, process)
        for step in range(10):
            gpu.started(10_000 * step, 10_000 * step + 100, 5_900)
            gpu.started(
                10_000 * step + 50,
                10_000 * step + 6_000,
                4_000,
                "ncclDevKernel_AllReduce_Sum_f32_RING_LL",
                stream=9,
            )
            collective = {
                "device": process,
                "kind": "all_reduce",
                "in_bytes": size,
                "out_bytes": size,
                "group_size": ranks,
                "group": f"0 {list(range(ranks))}",
                "stream": 9,
                "kernel": 20 * process + 2 * step + 1,
            }
            gpu.add("collectives", 10_000 * step + 6_000, 4_000, **{**collective, **more})
            gpu.span(10_000 * step, 10_000, "step", f"ProfilerStep#{step}")
        offset = 20 * process
        for table, rows_of_process in gpu.rows.items():
            for row in rows_of_process:
                if "launch" in row:
                    row["launch"] += offset
                rows.setdefault(table, []).append(row)
    processes = [
        {"process": rank, "pid": 100 + rank, "role": "main", "rank": rank}
        for rank in range(recorded)
    ]
    members = [{"process": rank, "rank": rank} for rank in range(recorded)]
    return build.trace(manifest=host_of(name), processes=processes, ranks=members, **rows)


def test_full_links_are_the_verdict_before_the_exposed_communication_they_explain() -> None:
    # 1 GB in 4 ms between two: bus bandwidth 250 GB/s of 300.
    diagnosis = diagnose_trace(trace_of_all_reduces(A100, 1_000_000_000))
    assert diagnosis.verdict.id == "nvlink-saturated" and diagnosis.verdict.confidence > 0.3
    found = {finding.id: finding for finding in diagnosis.findings}
    finding = found["nvlink-saturated"]
    assert finding.lost_s == pytest.approx(0.04, rel=0.01)
    text = finding.evidence[0].text
    assert "250 GB/s, 83 % of the 300 GB/s of NVLink" in text
    assert "A100 datasheet" in text
    assert "exposed-communication" in found


def test_links_that_are_not_full_are_clear_when_all_ranks_are_recorded() -> None:
    trace = trace_of_all_reduces(A100, 100_000_000)
    assert outcome(nvlink_saturated.RULE, trace, LIMITS) == Clear("nvlink-saturated")
    assert diagnose_trace(trace).verdict.id == "exposed-communication"


def test_one_rank_can_show_that_links_are_full_but_not_that_they_are_clear() -> None:
    full = outcome(
        nvlink_saturated.RULE, trace_of_all_reduces(A100, 1_000_000_000, recorded=1), LIMITS
    )
    assert isinstance(full, Finding) and "250 GB/s" in full.evidence[0].text
    room = outcome(
        nvlink_saturated.RULE, trace_of_all_reduces(A100, 100_000_000, recorded=1), LIMITS
    )
    assert isinstance(room, NotChecked)
    assert "25 GB/s, 8 % of the 300 GB/s" in room.reason


def test_a_byte_that_a_switch_reduces_is_counted_once() -> None:
    # 8 ranks, 1 GB in 4 ms: bus bandwidth 437.5 GB/s of 450, but NVLink SHARP moves about 250.
    rows = trace_of_all_reduces(H100, 1_000_000_000, ranks=8, recorded=1).fact(collective_links)
    assert rows["bus_bytes_per_s"][0] == pytest.approx(437.5e9)
    assert rows["carried_bytes_per_s"][0] == pytest.approx(250e9) and rows["near_share"][0] == 0.0
    all_gathers = trace_of_all_reduces(H100, 1_000_000_000, ranks=8, recorded=1, kind="all_gather")
    rows = all_gathers.fact(collective_links)
    assert rows["bus_bytes_per_s"][0] == pytest.approx(218.75e9)
    assert rows["carried_bytes_per_s"][0] == rows["bus_bytes_per_s"][0]


def test_a_group_across_hosts_is_judged_by_the_network() -> None:
    trace = trace_of_all_reduces(A100, 1_000_000_000, ranks=16, recorded=1)
    by_network = outcome(network_saturated.RULE, trace, LIMITS)
    assert isinstance(by_network, NotChecked) and "469 GB/s" in by_network.reason
    by_links = outcome(nvlink_saturated.RULE, trace, LIMITS)
    assert isinstance(by_links, NotChecked) and "network" in by_links.reason


def test_links_of_unknown_devices_and_sizes_are_not_checked() -> None:
    for trace, why in (
        (trace_of_all_reduces("Some GPU", 1_000_000_000), "Some GPU"),
        (trace_of_all_reduces(A100, -1), "sizes"),
        (trace_of_all_reduces("Tesla T4", 1_000_000), "PCIe"),
    ):
        not_checked = outcome(nvlink_saturated.RULE, trace, LIMITS)
        assert isinstance(not_checked, NotChecked) and why in not_checked.reason


@pytest.mark.parametrize(
    ("name", "devices", "group", "size", "kind", "gb_per_s", "at_most"),
    [
        (A100, 8, "0 [0, 1]", 2, DEVICE_LINKS, 300, False),
        (A100, 4, "0 [0, 1]", 2, DEVICE_LINKS, 300, True),
        (A100, 8, "0 [7, 8]", 2, NETWORK, math.nan, False),
        (A100, 8, "0", 16, NETWORK, math.nan, False),
        (A100, 8, "0", 4, UNKNOWN, math.nan, False),
        (A100, 1, "0 [0, 1]", 2, UNKNOWN, math.nan, False),
        (A100, 8, "0 [0]", 1, UNKNOWN, math.nan, False),
        (MI300X, 8, "0 [4, 5, 6, 7]", 4, DEVICE_LINKS, 192, False),
        ("Tesla V100-SXM2-32GB", 8, "0 [0, 1]", 2, DEVICE_LINKS, 150, True),
        ("NVIDIA H100 NVL", 8, "0 [0, 1, 2, 3]", 4, UNKNOWN, math.nan, False),
    ],
)  # fmt: skip
def test_a_group_has_the_path_and_the_peak_of_its_links(
    name: str, devices: int, group: str, size: int, kind: str, gb_per_s: float, at_most: bool
) -> None:
    found = group_path(build.trace(manifest=host_of(name, devices)), group, size)
    assert (found.kind, found.at_most) == (kind, at_most)
    assert found.peak_bytes_per_s == pytest.approx(gb_per_s * 1e9, nan_ok=True)


def test_recorded_hosts_decide_whether_a_group_crosses_the_network() -> None:
    processes = [{"process": rank, "rank": rank, "host": "ab"[rank]} for rank in range(2)]
    found = group_path(build.trace(manifest=host_of(A100), processes=processes), "0 [0, 1]", 2)
    assert found.kind == NETWORK and "a, b" in found.why


@pytest.mark.parametrize(
    ("name", "product"),
    [
        ("NVIDIA A100-PG509-200", "A100 SXM4"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM5"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA H200", "H200 SXM5"),
        ("NVIDIA B200", "B200"),
        ("AMD Instinct MI300X VF", "MI300X"),
        ("NVIDIA GeForce RTX 4090", "T4, A10, L4, L40, RTX 40 and 50"),
        ("NVIDIA RTX A6000", None),
        ("AMD Radeon Graphics", None),
    ],
)
def test_the_drivers_name_of_a_device_selects_its_links(name: str, product: str | None) -> None:
    found = link_peak(name)
    assert (found.product if found else None) == product


def test_the_arrival_spread_has_the_rank_that_arrives_last() -> None:
    row = {
        "kind": "all_reduce",
        "in_bytes": 8,
        "group": "0 [0, 1]",
        "group_size": 2,
        "dur": 30_000_000,
    }
    rows = [{**row, "process": 0, "ts": at} for at in (0, 100_000_000, 200_000_000)]
    rows += [{**row, "process": 1, "ts": at + 10_000_000} for at in (0, 100_000_000, 200_000_000)]
    ranks = [{"process": 0, "rank": 4}, {"process": 1, "rank": 5}]
    spread = build.trace(ranks=ranks, collectives=rows).fact(arrival_spread)
    columns = ["rank", "collectives", "median_ns", "latest_ns", "last_share"]
    assert spread[columns].values.tolist() == [
        [4, 3, 0, 0, 0],
        [5, 3, 10_000_000, 10_000_000, 1],
    ]
    assert len(build.trace().fact(arrival_spread)) == 0


@pytest.mark.parametrize(
    ("group", "members"),
    [("0 [0, 1]", [0, 1]), ("0 [3,4]", [3, 4])]
    + [(f"0 [{odd}]", []) for odd in (" ", ",", "1,,2", "1, ", "9" * 5000)],
)
def test_members_are_those_that_the_name_lists(group: str, members: list[int]) -> None:
    assert members_of_group(group) == members
