"""The budget of every recorded trace counted a second way, and against the peer's figures over the
same kernels.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfscope.analyzer.budget.device_segments import segments
from perfscope.analyzer.run.units import NO_DEVICE, units
from perfscope.traces.intervals import Spans, intersected, merged
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import Gpu
from tests.analyzer.traced.sweep import counted
from tests.traces.made_ranks import made_ranks
from tests.traces.warped_ranks import warped_ranks

SHARED = Path(__file__).parents[4] / "shared" / "traces"
KINETO = sorted((SHARED / "kineto").glob("*.json.gz"))
RECORDED = [*KINETO, *sorted((SHARED / "nsys").glob("*.sqlite"))]
absent = pytest.mark.skipif(not KINETO, reason="../shared/traces is not there")
# What the peer says of these is not of kernels alone: docs/agreement.md.
PEER_COUNTS_MORE = {"a100_alexnet", "mtia_inference"}


def by_category(trace: Trace, process: int, device: int) -> dict[str, int]:
    pieces = trace.fact(segments)
    own = pieces[(pieces["process"] == process) & (pieces["device"] == device)]
    return {str(kind): int(ns) for kind, ns in own.groupby("category")["dur"].sum().items() if ns}


def agrees(trace: Trace) -> None:
    for unit in units(trace):
        told = by_category(trace, unit.process, unit.device)
        assert sum(told.values()) == unit.end_ns - unit.begin_ns
        if unit.device != NO_DEVICE:
            assert told == counted(trace, unit)


@absent
@pytest.mark.shared_traces
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.partition(".")[0])
def test_every_recorded_trace_is_accounted_for_to_the_nanosecond(path: Path) -> None:
    agrees(load_trace(path))


def test_what_ranks_wait_for_each_other_is_accounted_for_to_the_nanosecond(tmp_path: Path) -> None:
    made = made_ranks(tmp_path / "job", ranks=3, slow=1)
    trace = load_trace(tmp_path / "job")
    agrees(trace)
    for unit, waited_us in zip(units(trace), made.waited_us, strict=True):
        told = by_category(trace, unit.process, unit.device).get("peer-wait", 0)
        assert told == pytest.approx(waited_us * 1e3, abs=2e4), (
            "the clocks are brought together to a microsecond"
        )


@absent
@pytest.mark.shared_traces
def test_recorded_ranks_that_wait_for_each_other_are_accounted_for_too(tmp_path: Path) -> None:
    warped_ranks(
        SHARED / "kineto" / "a100_nccl_metadata_rank0.json.gz", tmp_path / "job", 2, slow=1
    )
    trace = load_trace(tmp_path / "job")
    agrees(trace)
    assert (
        sum(
            by_category(trace, unit.process, unit.device).get("peer-wait", 0)
            for unit in units(trace)
        )
        > 0
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["kernel", "nccl", "copy", "sync", "overhead", "loader", "other thread"]
            ),
            st.integers(0, 400),
            st.integers(0, 300),
            st.integers(1, 250),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_any_timetable_is_accounted_for_to_the_nanosecond(
    events: list[tuple[str, int, int, int]],
) -> None:
    gpu = Gpu().started(0, 5, 1)
    for kind, at, later, dur in events:
        if kind in ("kernel", "nccl", "other thread"):
            name = "ncclDevKernel" if kind == "nccl" else "gemm"
            gpu.started(
                at,
                at + later,
                dur,
                name,
                tid=101 if kind == "other thread" else 100,
                stream=later % 3,
            )
        elif kind == "copy":
            gpu.copied(at, at + later, dur, call_dur=dur)
        elif kind == "sync":
            gpu.sync(at, dur)
        elif kind == "overhead":
            gpu.span(at, dur, "overhead")
        else:
            gpu.add("loader", at, dur, tid=100, kind="next")
    agrees(gpu.trace())


def references() -> dict[str, Any]:
    path = SHARED / "hta_reference.json"
    said = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: one
        for name, one in said.items()
        if isinstance(one.get("get_gpu_kernel_breakdown"), list) and one["get_gpu_kernel_breakdown"]
    }


def as_the_peer_sees(trace: Trace) -> dict[str, Spans]:
    """Kernels and copies in whole us (start up, end down); with several steps only those launched
    before the last of them.
    """
    frames = [trace.table(name) for name in ("kernels", "copies")]
    ts, dur, launch = (
        np.concatenate(
            [
                np.empty(0, np.int64) if one is None else one[name].to_numpy(np.int64)
                for one in frames
            ]
        )
        for name in ("ts", "dur", "launch")
    )
    kernels = frames[0]
    assert kernels is not None
    kind = np.full(len(ts), "MEMORY", object)
    # The peer knows NCCL's and RCCL's kernels only; all-reduces of other libraries are computation
    # to it.
    kind[: len(kernels)] = np.where(
        kernels["name"].str.startswith("nccl"), "COMMUNICATION", "COMPUTATION"
    )
    ranges, calls = trace.table("ranges"), trace.table("launches")
    steps = None if ranges is None else ranges[ranges["category"] == "step"]
    kept = np.ones(len(ts), bool)
    if steps is not None and len(steps) > 1 and calls is not None:
        at = np.where(launch >= 0, calls["ts"].to_numpy(np.int64)[launch], -1)
        kept = (at >= steps["ts"].min()) & (at <= steps["ts"].max())
    begin = -(-ts // 1000)
    end = np.maximum((ts + dur) // 1000, begin)
    names = ("COMPUTATION", "COMMUNICATION", "MEMORY")
    return {
        name: merged((begin[kept & (kind == name)], end[kept & (kind == name)])) for name in names
    }


def length(spans: Spans) -> int:
    return int((spans[1] - spans[0]).sum())


@absent
@pytest.mark.shared_traces
@pytest.mark.parametrize("name", sorted(references().keys() - PEER_COUNTS_MORE))
def test_the_peer_agrees_where_it_is_right(name: str) -> None:
    said = references()[name]
    spans = as_the_peer_sees(load_trace(SHARED / "kineto" / f"{name}.json.gz"))
    # Half a per cent; rounding to whole us from another zero moves each edge by up to one.
    count = sum(len(one[0]) for one in spans.values())
    near = lambda ns: pytest.approx(ns, rel=0.005, abs=0.2 * count)  # noqa: E731
    whole = merged(*spans.values())
    temporal = said["get_temporal_breakdown"]
    if isinstance(temporal, list):  # else the text of what it died with
        (row,) = temporal
        reach = int(whole[1].max() - whole[0].min())
        assert length(spans["COMPUTATION"]) == near(row["compute_time(us)"])
        assert length(whole) - length(spans["COMPUTATION"]) == near(row["non_compute_time(us)"])
        assert reach - length(whole) == near(row["idle_time(us)"])
    share = said["get_comm_comp_overlap"][0]["comp_comm_overlap_pctg"]
    talks = length(spans["COMMUNICATION"])
    if share is not None:
        hidden = length(intersected(spans["COMMUNICATION"], spans["COMPUTATION"]))
        assert 100 * hidden / talks == pytest.approx(share, abs=0.5)
    alone = {row["kernel_type"]: row["sum"] for row in said["get_gpu_kernel_breakdown"]}
    for kind, own in spans.items():
        others = merged(*(one for other, one in spans.items() if other != kind))
        assert length(own) - length(intersected(own, others)) == near(alone.get(kind, 0))
