"""Rooflines of recorded-up and of recorded traces."""

import json

import pytest

from perfscope.analyzer.compute.kernel_roofline import kernel_roofline
from perfscope.analyzer.compute.range_roofline import range_roofline
from perfscope.analyzer.compute.roofline import CACHED, roofline_table
from perfscope.analyzer.compute.roofline_coverage import (
    NO_MODEL,
    REPLAYED,
    costed_share,
    roof_coverage,
)
from perfscope.analyzer.compute.step_flops import step_flops
from perfscope.traces.load import load_trace
from perfscope.traces.trace import Trace
from tests.analyzer.traced.gpu import Gpu
from tests.build import trace
from tests.traces.kineto.recorded import FOLDER, WHERE

H100 = {
    "device": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "kind": "cuda",
    "memory_bytes": 85_000_000_000,
    "multiprocessors": 132,
}
N = 4096
PRODUCT_NS = 277_826  # 2 n^3 operations at 494.7 TFLOP/s, half of the H100's peak
SQUARE, TYPES = json.dumps([[N, N], [N, N]]), json.dumps(["c10::BFloat16"] * 2)


def h100_trace(*ops: tuple[str, str, str, int]) -> Trace:
    """Return a trace of operators (name, shapes, types, ns of its kernel) with one kernel each."""
    rows = [
        {
            "name": name,
            "ts": 10_000 * at,
            "dur": 8_000,
            "parent": -1,
            "shapes": shapes,
            "dtypes": types,
        }
        for at, (name, shapes, types, _) in enumerate(ops)
    ]
    starts = [20_000 + sum(ns for *_, ns in ops[:at]) for at in range(len(ops))]
    return trace(
        manifest={"depth": "trace"},
        devices=[H100],
        ops=rows,
        launches=[
            {
                "name": "cudaLaunchKernel",
                "kind": "kernel",
                "ts": 10_000 * at + 1_000,
                "dur": 2_000,
                "correlation": at,
                "op": at,
            }
            for at in range(len(ops))
        ],
        kernels=[
            {
                "name": f"k{at}",
                "kind": "compute",
                "device": 0,
                "stream": 7,
                "ts": starts[at],
                "dur": ns,
                "launch": at,
            }
            for at, (*_, ns) in enumerate(ops)
        ],
    )


def test_a_product_at_half_of_the_peak_has_half_of_its_roof() -> None:
    row = h100_trace(("aten::mm", SQUARE, TYPES, PRODUCT_NS)).fact(roofline_table).iloc[0]
    assert row["flops"] == 2 * N**3
    assert row["intensity"] == pytest.approx(N / 3)
    assert row["roof_share"] == pytest.approx(0.5, rel=0.001)
    assert (row["side"], row["mark"]) == ("compute", "")


def test_an_addition_faster_than_memory_is_marked_as_cached() -> None:
    """12 n^2 bytes at 3350 GB/s are 60.1 us; it took half of that."""
    types = json.dumps(["float"] * 2)
    row = h100_trace(("aten::add", SQUARE, types, 30_049)).fact(roofline_table).iloc[0]
    assert row["roof_share"] == pytest.approx(2.0, rel=0.001)
    assert (row["side"], row["mark"]) == ("memory-bandwidth", CACHED)


def test_an_operator_and_its_wrapper_are_counted_once() -> None:
    recorded = h100_trace(
        ("aten::mm", SQUARE, TYPES, PRODUCT_NS), ("aten::matmul", SQUARE, TYPES, 1)
    )
    ops = recorded.table("ops")
    assert ops is not None
    ops = ops.assign(parent=[1, -1])
    rows = Trace(
        {
            **{n: recorded.table(n) for n in ("processes", "devices", "launches", "kernels")},
            "ops": ops,
        },
        {},
        list(recorded.manifests),
        kind=recorded.kind,
        span_ns=recorded.span_ns,
    ).fact(roofline_table)
    assert rows["name"].tolist() == ["aten::mm"]


def test_an_operator_without_a_model_is_listed_with_the_reason() -> None:
    rows = h100_trace(
        ("aten::mm", SQUARE, TYPES, 600), ("vllm::unified_attention", SQUARE, TYPES, 400)
    ).fact(roof_coverage)
    assert costed_share(rows, reachable=False) == pytest.approx(0.6)
    assert rows[["why", "name"]].to_numpy().tolist()[1] == [NO_MODEL, "vllm::unified_attention"]


LEAST_COSTED_SHARE = {
    "h100_qwen05b": 0.93,
    "h100_vit_inference": 0.99,
    "mi300x_qwen05b": 0.95,
    "mi300x_resnet_8ranks_rank0_nccl_metadata": 0.98,
    "mi300x_torch_compile_triton": 0.999,
    "mi300x_normalization_ops": 0.999,
    "b200_eager_8gpu_rank0": 0.95,
}


@WHERE
@pytest.mark.shared_traces
@pytest.mark.parametrize("name", [*LEAST_COSTED_SHARE, "vllm_prefill_decode_piecewise_graph"])
def test_most_of_the_time_of_a_recorded_trace_has_a_roof(name: str) -> None:
    found = load_trace(FOLDER / "kineto" / f"{name}.json.gz")
    rows, coverage = found.fact(roofline_table), found.fact(roof_coverage)
    assert len(rows)
    assert not ((rows["roof_share"] > 1.05) & (rows["mark"] == "")).any()
    assert coverage["share"].sum() == pytest.approx(1.0)
    assert costed_share(coverage, reachable=True) >= LEAST_COSTED_SHARE.get(name, 0.0)


@WHERE
@pytest.mark.shared_traces
def test_replayed_graphs_of_unknown_sizes_are_listed_with_their_share() -> None:
    trace = load_trace(FOLDER / "kineto" / "vllm_prefill_decode_piecewise_graph.json.gz")
    coverage = trace.fact(roof_coverage)
    assert coverage[coverage["why"] == REPLAYED]["share"].sum() == pytest.approx(0.96, abs=0.01)


def module_trace() -> Trace:
    """Return a trace of two products and an addition in a range; both products are called in the
    module Outer, the first of them in its child Inner.
    """
    gpu, at = Gpu(), 100.0
    product = ("mm", "c10::BFloat16", 278.0)
    for number, (name, dtype, dur) in enumerate((product, product, ("add", "float", 60.0))):
        texts = {"shapes": SQUARE, "dtypes": json.dumps([dtype] * 2)}
        gpu.op(10.0 * number, 8, f"aten::{name}", parent=-1, **texts)
        gpu.started(10.0 * number + 1, at, dur, f"k{number}")
        gpu.rows["launches"][-1]["op"] = number
        at += dur
    gpu.span(0, 28, "python", "nn.Module: Outer_0").span(0, 9, "python", "nn.Module: Inner_0")
    gpu.span(0, 40, "nvtx", "layer")
    gpu.rows["devices"] = [{"process": 0, **H100}]
    return gpu.trace(manifest={"depth": "trace"})


def test_modules_and_ranges_have_the_flops_of_the_operators_inside_them() -> None:
    rows = module_trace().fact(range_roofline).set_index("name")
    product, addition = 2 * N**3, N**2
    whole = 2 * product + addition
    assert rows["flops"].to_dict() == {"Outer_0": whole, "Inner_0": product, "layer": whole}
    assert rows.loc["Inner_0", "roof_share"] == pytest.approx(0.5, rel=0.01)
    assert rows["kind"].to_dict() == {"Outer_0": "module", "Inner_0": "module", "layer": "nvtx"}


def test_kernels_divide_the_flops_of_their_operator_by_their_time() -> None:
    recorded = module_trace()
    rows = recorded.fact(kernel_roofline).set_index("name")
    assert rows.loc["k0", "flops"] == 2 * N**3 and rows.loc["k0", "alone"] == 1.0
    launches = recorded.table("launches")
    assert launches is not None
    names = ("processes", "devices", "ops", "kernels", "ranges")
    tables = {name: table for name in names if (table := recorded.table(name)) is not None}
    shared = Trace(
        {**tables, "launches": launches.assign(op=[0, 0, 2])},
        {},
        list(recorded.manifests),
        kind=recorded.kind,
        span_ns=recorded.span_ns,
    )
    rows = shared.fact(kernel_roofline).set_index("name")
    assert rows.loc["k0", "flops"] == rows.loc["k1", "flops"] == N**3
    assert rows.loc["k0", "alone"] == 0.0


def steps_of_products() -> Trace:
    """Return six steps of 1 ms, each with an addition and a product that takes a quarter of it."""
    gpu = Gpu()
    for step in range(6):
        at = 1000.0 * step
        gpu.span(at, 999, "step", f"ProfilerStep#{step}")
        for name, dtype, begin, dur in (
            ("mm", "c10::BFloat16", 100.0, 278.0),
            ("add", "float", 400.0, 60.0),
        ):
            texts = {"shapes": SQUARE, "dtypes": json.dumps([dtype] * 2)}
            gpu.op(at + begin / 10, 8, f"aten::{name}", parent=-1, **texts)
            gpu.started(at + begin / 10 + 1, at + begin, dur, name)
            gpu.rows["launches"][-1]["op"] = len(gpu.rows["ops"]) - 1
    gpu.rows["devices"] = [{"process": 0, **H100}]
    return gpu.trace(manifest={"depth": "trace"})


def test_a_step_of_known_flops_has_a_utilization() -> None:
    """2 n^3 operations in 1 ms are 137 of the 989 TFLOP/s."""
    (step,) = steps_of_products().fact(step_flops)
    assert step.flops == 2 * N**3
    assert step.utilization == pytest.approx(2 * N**3 / 989.4e12 / (step.step_ns / 1e9))
    assert step.utilization == pytest.approx(0.139, rel=0.01)
