"""Tables of kernels, operators and ranges, what hides communication, how deep the launch queue is:
small traces by hand.
"""

import pytest

from perfscope.analyzer.communication.overlap import exposed_collectives, overlap
from perfscope.analyzer.compute.kernel_category import kernel_class
from perfscope.analyzer.compute.kernel_table import kernel_classes, kernel_table
from perfscope.analyzer.compute.operator_table import operator_table
from perfscope.analyzer.host.launch_queue import launch_queue, queue_summaries
from perfscope.analyzer.run.accelerators.launch_origin import forward_ops
from perfscope.analyzer.run.range_table import range_table
from perfscope.traces.trace import Trace
from tests import build


def linear_step() -> Trace:
    """Return a trace of linear -> addmm -> gemm, of its backward on another thread, which launches
    two gemms, and of a copy outside of operators.
    """
    ops = [
        {"tid": 1, "ts": 0, "dur": 100, "name": "aten::linear", "sequence": 7, "forward_tid": 0},
        {
            "tid": 1,
            "ts": 10,
            "dur": 60,
            "name": "aten::addmm",
            "parent": 0,
            "sequence": 7,
            "forward_tid": 0,
        },
        {"tid": 2, "ts": 200, "dur": 90, "name": "AddmmBackward0", "sequence": 7, "forward_tid": 1},
        {"tid": 2, "ts": 210, "dur": 30, "name": "aten::mm", "parent": 2},
        {"tid": 2, "ts": 250, "dur": 30, "name": "aten::mm", "parent": 2},
    ]
    launches = [
        {"tid": 1, "ts": 20, "dur": 10, "name": "cudaLaunchKernel", "kind": "kernel", "op": 1},
        {"tid": 2, "ts": 220, "dur": 10, "name": "cudaLaunchKernel", "kind": "kernel", "op": 3},
        {"tid": 2, "ts": 260, "dur": 10, "name": "cudaLaunchKernel", "kind": "kernel", "op": 4},
        {"tid": 1, "ts": 320, "dur": 5, "name": "cudaMemcpyAsync", "kind": "copy", "op": -1},
    ]
    kernels = [
        {"device": 0, "ts": 50, "dur": 400, "name": "sgemm_128", "kind": "compute", "launch": 0},
        {"device": 0, "ts": 460, "dur": 5, "name": "sgemm_64", "kind": "compute", "launch": 1},
        {"device": 0, "ts": 470, "dur": 55, "name": "sgemm_64", "kind": "compute", "launch": 2},
    ]
    copies = [{"device": 0, "ts": 530, "dur": 40, "direction": "h2d", "launch": 3}]
    ranges = [
        {"tid": 1, "ts": 0, "dur": 150, "category": "python", "name": "nn.Module: Net_0"},
        {"tid": 1, "ts": 5, "dur": 99, "category": "python", "name": "nn.Module: Linear_0"},
        {"tid": 1, "ts": 2, "dur": 120, "category": "python", "name": "model.py(3): forward"},
        {"tid": 1, "ts": 300, "dur": 50, "category": "annotation", "name": "upload"},
    ]
    return build.trace(ops=ops, launches=launches, kernels=kernels, copies=copies, ranges=ranges)


def test_kernels_are_summed_by_name_and_class() -> None:
    names = kernel_table(linear_step())
    columns = ["name", "kernel_class", "count", "sum_ns", "mean_ns", "max_ns", "longest_ts"]
    assert names[columns].values.tolist() == [
        ["sgemm_128", "gemm", 1, 400, 400.0, 400, 50],
        ["sgemm_64", "gemm", 2, 60, 30.0, 55, 470],
        ["copy h2d", "copy", 1, 40, 40.0, 40, 530],
    ]
    assert names["share"].tolist() == [0.8, 0.12, 0.08]
    classes = kernel_classes(linear_step())
    assert classes[["kernel_class", "count", "sum_ns"]].values.tolist() == [
        ["gemm", 3, 460],
        ["copy", 1, 40],
    ]


def test_the_device_time_of_an_operator_includes_that_of_its_children() -> None:
    found = operator_table(linear_step()).set_index("name")
    columns = [
        "count",
        "host_ns",
        "host_self_ns",
        "device_ns",
        "device_self_ns",
        "backward_device_ns",
        "kernels",
    ]
    assert found.loc["aten::linear", columns].tolist() == [1, 100, 40, 400, 0, 60, 1]
    assert found.loc["aten::addmm", columns].tolist() == [1, 60, 60, 400, 400, 60, 1]
    assert found.loc["AddmmBackward0", columns].tolist() == [1, 90, 30, 60, 0, 0, 2]
    assert found.loc["aten::mm", columns].tolist() == [2, 60, 60, 60, 60, 0, 2]
    assert found.loc["aten::addmm", "parent"] == "aten::linear"


def test_an_operator_inside_another_of_its_name_is_not_counted_twice() -> None:
    ops = [
        {"tid": 1, "ts": 0, "dur": 100, "name": "aten::to"},
        {"tid": 1, "ts": 10, "dur": 80, "name": "aten::to", "parent": 0},
    ]
    row = operator_table(build.trace(ops=ops)).iloc[0]
    assert (row["count"], row["host_ns"], row["host_self_ns"]) == (2, 100, 100)


def test_a_backward_operator_belongs_to_the_last_forward_operator_with_its_number() -> None:
    assert forward_ops(linear_step()).tolist() == [-1, -1, 1, 1, 1]


def test_the_device_time_of_a_module_includes_its_backward() -> None:
    found = range_table(linear_step()).set_index("name")
    columns = [
        "kind",
        "host_ns",
        "host_self_ns",
        "device_ns",
        "device_self_ns",
        "backward_device_ns",
        "kernels",
    ]
    assert found.loc["Net_0", columns].tolist() == ["module", 150, 51, 400, 0, 60, 1]
    assert found.loc["Linear_0", columns].tolist() == ["module", 99, 99, 400, 400, 60, 1]
    assert found.loc["upload", columns].tolist() == ["annotation", 50, 50, 40, 40, 0, 1]
    assert "model.py(3): forward" not in found.index
    assert found.loc["Linear_0", "parent"] == "Net_0"


def test_communication_that_overlaps_computation_is_hidden() -> None:
    kernels = [
        {"device": 0, "stream": 1, "ts": 0, "dur": 100, "name": "gemm", "kind": "compute"},
        {
            "device": 0,
            "stream": 2,
            "ts": 60,
            "dur": 80,
            "name": "ncclDevKernel",
            "kind": "communication",
        },
        {
            "device": 0,
            "stream": 3,
            "ts": 130,
            "dur": 30,
            "name": "ncclDevKernel",
            "kind": "communication",
        },
    ]
    collectives = [
        {"device": 0, "ts": 60, "dur": 80, "kind": "all_reduce", "kernel": 1},
        {"device": 0, "ts": 130, "dur": 30, "kind": "all_gather", "kernel": 2},
    ]
    copies = [{"device": 0, "ts": 95, "dur": 10, "direction": "h2d"}]
    trace = build.trace(kernels=kernels, collectives=collectives, copies=copies)
    row = overlap(trace).iloc[0]
    assert (row["communication_ns"], row["hidden_ns"], row["hidden_share"]) == (100, 40, 0.4)
    assert (row["copy_ns"], row["copy_hidden_ns"], row["copy_hidden_share"]) == (10, 5, 0.5)
    assert exposed_collectives(trace)[["kind", "exposed_ns"]].values.tolist() == [
        ["all_reduce", 40],
        ["all_gather", 30],
    ]


def test_the_queue_length_counts_launched_kernels_that_have_not_started() -> None:
    launches = [
        {"tid": 1, "ts": 0, "dur": 4, "name": "cudaLaunchKernel", "kind": "kernel"},
        {"tid": 1, "ts": 10, "dur": 4, "name": "cudaGraphLaunch", "kind": "graph"},
    ]
    kernels = [
        {"device": 0, "ts": 5, "dur": 25, "name": "a", "kind": "compute", "launch": 0},
        {
            "device": 0,
            "ts": 30,
            "dur": 1,
            "name": "b",
            "kind": "compute",
            "launch": 1,
            "graph": True,
        },
        {
            "device": 0,
            "ts": 40,
            "dur": 10,
            "name": "c",
            "kind": "compute",
            "launch": 1,
            "graph": True,
        },
        {"device": 0, "ts": 50, "dur": 10, "name": "unknown", "kind": "compute", "launch": -1},
    ]
    trace = build.trace(launches=launches, kernels=kernels)
    assert launch_queue(trace)[["ts", "depth"]].values.tolist() == [
        [0, 1],
        [5, 0],
        [10, 2],
        [30, 1],
        [40, 0],
    ]
    (fed,) = queue_summaries(trace)
    assert (fed.kernels, fed.latency_ns, fed.call_ns, fed.kernel_ns) == (3, 20.0, 2.0, 12.0)
    assert fed.mean_depth == pytest.approx((5 + 2 * 20 + 10) / 40)
    assert fed.empty_share == pytest.approx(5 / 40)
    assert fed.shorter_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("volta_sgemm_128x32_nt", "gemm"),
        ("Cijk_Alik_Bljk_BBS_BH_Bias_HA_S_SAV_UserArgs_MT256x192x64", "gemm"),
        ("nvjet_tst_64x64_64x16_2x1_2cta_v_bz_bias_TNT", "gemm"),
        (
            "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_256x64_16x4_tn_align1>(Params)",
            "gemm",
        ),
        ("fmhaSm100aKernel_QkvE4m3OBfloat16H64PagedKvCausal", "attention"),
        ("attn_fwd", "attention"),
        ("_ZN5aiter24add_rmsnorm_quant_kernelIDF16bDF16b", "norm"),
        (
            (
                "void moe::dev::routing::routingIndicesHistogramKernel<KernelParams<float,"
                " true>::normTopk>"
            ),
            "sort",
        ),
        ("void multi_tensor_apply_kernel<TensorListMetadata<4>, AdamFunctor<float>>", "optimizer"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
            "elementwise",
        ),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>",
            "copy",
        ),
        (
            (
                "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float,"
                " sum_functor<float>>>"
            ),
            "reduction",
        ),
        ("triton_red_fused_add_mean_mul_pow_rsqrt_0", "reduction"),
        ("triton_poi_fused__to_copy_1", "copy"),
        ("_ZN2ck27kernel_grouped_conv_fwd_multiple_abd_xdl_cshuffle", "conv"),
        ("convert_fp8", "other"),
        ("my_kernel", "other"),
    ],
)
def test_the_class_of_a_kernel_follows_from_its_name(name: str, label: str) -> None:
    assert kernel_class(name) == label
    assert kernel_class(name, "communication") == "communication"
