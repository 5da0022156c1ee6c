"""The time budget of recorded traces, compared with a second computation of it and with the figures
of Holistic Trace Analysis (HTA).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfscope.analyzer.budget.device_segments import segments, whole_segments
from perfscope.analyzer.run.accelerators.observed_time import observed_time
from perfscope.analyzer.run.budget_units import NO_DEVICE, units
from perfscope.traces.intervals import Spans, intersected, merged
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import Gpu
from tests.analyzer.traced.second_time_budget import budget_of_unit
from tests.traces.generated_ranks import generated_ranks
from tests.traces.kineto.recorded import FILES, FOLDER, WHERE
from tests.traces.warped_ranks import warped_ranks

RECORDED = [*FILES, *sorted((FOLDER / "nsys").glob("*.sqlite"))]
# In these, HTA counts more than kernels: docs/comparison-with-hta.md.
HTA_COUNTS_MORE = {"a100_alexnet", "mtia_inference"}


def by_category(trace: Trace, process: int, device: int) -> dict[str, int]:
    pieces = trace.fact(whole_segments)
    of_device = pieces[(pieces["process"] == process) & (pieces["device"] == device)]
    sums = of_device.groupby("category")["dur"].sum()
    return {str(kind): int(ns) for kind, ns in sums.items() if ns}


def assert_budgets_agree(trace: Trace) -> None:
    for unit in units(trace):
        budget = by_category(trace, unit.process, unit.device)
        assert sum(budget.values()) == unit.end_ns - unit.begin_ns
        if unit.device != NO_DEVICE:
            assert budget == budget_of_unit(trace, unit)
        observed = observed_time(trace, unit)
        pieces = trace.fact(segments)
        of_unit = (pieces["process"] == unit.process) & (pieces["device"] == unit.device)
        assert int(pieces["dur"][of_unit].sum()) == observed.total_ns


@WHERE
@pytest.mark.shared_traces
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name.partition(".")[0])
def test_the_budget_of_a_recorded_trace_agrees_to_the_nanosecond(path: Path) -> None:
    assert_budgets_agree(load_trace(path))


def test_the_budget_of_ranks_that_wait_for_each_other_agrees(tmp_path: Path) -> None:
    made = generated_ranks(tmp_path / "job", ranks=3, slow=1)
    trace = load_trace(tmp_path / "job")
    assert_budgets_agree(trace)
    for unit, waited_us in zip(units(trace), made.waited_us, strict=True):
        waited_ns = by_category(trace, unit.process, unit.device).get("peer-wait", 0)
        # The clocks of the ranks are aligned to a microsecond.
        assert waited_ns == pytest.approx(waited_us * 1e3, abs=2e4)


@WHERE
@pytest.mark.shared_traces
def test_the_budget_of_recorded_ranks_that_wait_for_each_other_agrees(tmp_path: Path) -> None:
    warped_ranks(
        FOLDER / "kineto" / "a100_nccl_metadata_rank0.json.gz", tmp_path / "job", 2, slow=1
    )
    trace = load_trace(tmp_path / "job")
    assert_budgets_agree(trace)
    budgets = [by_category(trace, unit.process, unit.device) for unit in units(trace)]
    assert any("peer-wait" in budget for budget in budgets)


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
def test_the_budget_of_random_events_agrees_to_the_nanosecond(
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
    assert_budgets_agree(gpu.trace())


def references() -> dict[str, Any]:
    path = FOLDER / "hta_reference.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: results
        for name, results in figures.items()
        if isinstance(results.get("get_gpu_kernel_breakdown"), list)
        and results["get_gpu_kernel_breakdown"]
    }


def spans_as_in_hta(trace: Trace) -> dict[str, Spans]:
    """Return the spans of kernels and copies, in whole us (begin rounded up, end down).

    With several steps, only those launched before the last step.
    """
    frames = [trace.table(name) for name in ("kernels", "copies")]
    ts, dur, launch = (
        np.concatenate(
            [
                np.empty(0, np.int64) if frame is None else frame[name].to_numpy(np.int64)
                for frame in frames
            ]
        )
        for name in ("ts", "dur", "launch")
    )
    kernels = frames[0]
    assert kernels is not None
    kind = np.full(len(ts), "MEMORY", object)
    # HTA recognizes only kernels of NCCL and RCCL; all-reduces of other libraries count as
    # computation.
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


@WHERE
@pytest.mark.shared_traces
@pytest.mark.parametrize("name", sorted(references().keys() - HTA_COUNTS_MORE))
def test_budgets_agree_with_those_of_hta(name: str) -> None:
    figures = references()[name]
    spans = spans_as_in_hta(load_trace(FOLDER / "kineto" / f"{name}.json.gz"))
    # HTA rounds the times of a trace to whole us from another zero, so that each span may differ.
    count = sum(len(begin) for begin, _ in spans.values())
    near = lambda us: pytest.approx(us, rel=0.005, abs=0.2 * count)  # noqa: E731
    whole = merged(*spans.values())
    temporal = figures["get_temporal_breakdown"]
    if isinstance(temporal, list):  # else the text of the error that HTA failed with
        (row,) = temporal
        reach = int(whole[1].max() - whole[0].min())
        assert length(spans["COMPUTATION"]) == near(row["compute_time(us)"])
        assert length(whole) - length(spans["COMPUTATION"]) == near(row["non_compute_time(us)"])
        assert reach - length(whole) == near(row["idle_time(us)"])
    share = figures["get_comm_comp_overlap"][0]["comp_comm_overlap_pctg"]
    communication = length(spans["COMMUNICATION"])
    if share is not None:
        hidden = length(intersected(spans["COMMUNICATION"], spans["COMPUTATION"]))
        assert 100 * hidden / communication == pytest.approx(share, abs=0.5)
    alone_us = {row["kernel_type"]: row["sum"] for row in figures["get_gpu_kernel_breakdown"]}
    for kind, spans_of_kind in spans.items():
        others = merged(*(spans[other] for other in spans if other != kind))
        hidden = length(intersected(spans_of_kind, others))
        assert length(spans_of_kind) - hidden == near(alone_us.get(kind, 0))
