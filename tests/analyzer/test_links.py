"""Collectives against the peak of their links: what the path is, when it is full, and what cannot
be told.
"""

import math
from typing import Any

import pytest

from perfscope.analyzer.check_findings import outcome
from perfscope.analyzer.communication import network_saturated, nvlink_saturated
from perfscope.analyzer.communication.arrival_spread import arrival_spread
from perfscope.analyzer.communication.collective_links import collective_links
from perfscope.analyzer.communication.group_path import DEVICE_LINKS, NETWORK, UNKNOWN, group_path
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


def talking(name: str, size: int, *, ranks: int = 2, recorded: int = 2, **more: Any) -> Trace:
    """Ten steps of 10 ms; in each an all-reduce of `size` bytes takes 4 ms with nothing beside
    it.
    """
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
            told = {
                "device": process,
                "kind": "all_reduce",
                "in_bytes": size,
                "out_bytes": size,
                "group_size": ranks,
            }
            told |= {
                "group": f"0 {list(range(ranks))}",
                "stream": 9,
                "kernel": 20 * process + 2 * step + 1,
            }
            gpu.add("collectives", 10_000 * step + 6_000, 4_000, **{**told, **more})
            gpu.span(10_000 * step, 10_000, "step", f"ProfilerStep#{step}")
        offset = 20 * process
        for table, own in gpu.rows.items():
            for row in own:
                row["launch"] = row["launch"] + offset if "launch" in row else None
                rows.setdefault(table, []).append(
                    {key: value for key, value in row.items() if value is not None}
                )
    who = [
        {"process": one, "pid": 100 + one, "role": "main", "rank": one} for one in range(recorded)
    ]
    return build.trace(
        manifest=host_of(name),
        processes=who,
        ranks=[{"process": w["process"], "rank": w["rank"]} for w in who],
        **rows,
    )


def test_full_links_are_the_verdict_and_take_the_place_of_what_they_explain() -> None:
    # 1 GB in 4 ms between two: bus bandwidth 250 GB/s of 300.
    told = diagnose_trace(talking(A100, 1_000_000_000))
    assert told.verdict.id == "nvlink-saturated" and told.verdict.confidence > 0.3
    finding = next(one for one in told.findings if one.id == "nvlink-saturated")
    assert finding.lost_s == pytest.approx(0.04, rel=0.01)
    assert "250 GB/s, 83 % of the 300 GB/s of NVLink" in finding.evidence[0].text
    assert "A100 datasheet" in finding.evidence[0].text
    assert "exposed-communication" in [one.id for one in told.findings]


def test_links_with_room_are_clear_when_all_ranks_are_there() -> None:
    trace = talking(A100, 100_000_000)
    assert outcome(nvlink_saturated.RULE, trace, LIMITS) == Clear("nvlink-saturated")
    assert diagnose_trace(trace).verdict.id == "exposed-communication"


def test_one_rank_can_show_full_links_but_not_clear_them() -> None:
    full = outcome(nvlink_saturated.RULE, talking(A100, 1_000_000_000, recorded=1), LIMITS)
    assert isinstance(full, Finding) and "at least 250 GB/s" in full.evidence[0].text
    room = outcome(nvlink_saturated.RULE, talking(A100, 100_000_000, recorded=1), LIMITS)
    assert isinstance(room, NotChecked)
    assert (
        "at least 25 GB/s, 8 % of the 300 GB/s" in room.reason and "never clear it" in room.reason
    )


def test_where_switches_reduce_each_byte_counts_once() -> None:
    # 8 ranks, 1 GB in 4 ms: bus bandwidth 437.5 GB/s of 450, but NVLink SHARP moves about 250.
    rows = talking(H100, 1_000_000_000, ranks=8, recorded=1).fact(collective_links)
    assert rows["bus_bytes_per_s"][0] == pytest.approx(437.5e9)
    assert rows["carried_bytes_per_s"][0] == pytest.approx(250e9) and rows["near_share"][0] == 0.0
    gathers = talking(H100, 1_000_000_000, ranks=8, recorded=1, kind="all_gather").fact(
        collective_links
    )
    assert (
        gathers["carried_bytes_per_s"][0]
        == gathers["bus_bytes_per_s"][0]
        == pytest.approx(218.75e9)
    )


def test_a_group_across_hosts_is_the_networks() -> None:
    trace = talking(A100, 1_000_000_000, ranks=16, recorded=1)
    said = outcome(network_saturated.RULE, trace, LIMITS)
    assert (
        isinstance(said, NotChecked)
        and "at least 469 GB/s" in said.reason
        and "network" in said.reason
    )
    over = outcome(nvlink_saturated.RULE, trace, LIMITS)
    assert isinstance(over, NotChecked) and "over the network" in over.reason


def test_unknown_devices_and_sizes_give_no_verdict() -> None:
    for trace, why in (
        (talking("Some GPU", 1_000_000_000), "not in perfscope's list"),
        (talking(A100, -1), "sizes"),
        (talking("Tesla T4", 1_000_000), "PCIe"),
    ):
        said = outcome(nvlink_saturated.RULE, trace, LIMITS)
        assert isinstance(said, NotChecked) and why in said.reason


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
def test_paths(
    name: str, devices: int, group: str, size: int, kind: str, gb_per_s: float, at_most: bool
) -> None:
    found = group_path(build.trace(manifest=host_of(name, devices)), group, size)
    assert (found.kind, found.at_most) == (kind, at_most)
    assert found.peak_bytes_per_s == pytest.approx(gb_per_s * 1e9, nan_ok=True)


def test_recorded_hosts_come_before_what_is_assumed_of_them() -> None:
    who = [{"process": rank, "rank": rank, "host": "a" if rank < 1 else "b"} for rank in range(2)]
    found = group_path(build.trace(manifest=host_of(A100), processes=who), "0 [0, 1]", 2)
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
def test_links_by_the_drivers_name(name: str, product: str | None) -> None:
    found = link_peak(name)
    assert (found.product if found else None) == product


def test_who_comes_late() -> None:
    row = {
        "kind": "all_reduce",
        "in_bytes": 8,
        "group": "0 [0, 1]",
        "group_size": 2,
        "dur": 30_000_000,
    }
    rows = [{**row, "process": 0, "ts": at} for at in (0, 100_000_000, 200_000_000)]
    rows += [{**row, "process": 1, "ts": at + 10_000_000} for at in (0, 100_000_000, 200_000_000)]
    trace = build.trace(
        ranks=[{"process": 0, "rank": 4}, {"process": 1, "rank": 5}], collectives=rows
    )
    spread = trace.fact(arrival_spread)
    assert spread[
        ["rank", "collectives", "median_ns", "latest_ns", "last_share"]
    ].values.tolist() == [
        [4, 3, 0, 0, 0],
        [5, 3, 10_000_000, 10_000_000, 1],
    ]
    assert len(build.trace().fact(arrival_spread)) == 0
