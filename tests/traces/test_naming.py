"""The kind of a kernel, from its name."""

import pytest

from perfscope.traces.naming import collective_kind, kernel_kind

COMMUNICATES = {
    "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)": "all_reduce",
    "ncclKernel_SendRecv_RING_SIMPLE_Sum_int8_t(ncclDevComm*, unsigned long, ncclWork*)": (
        "send_recv"
    ),
    (
        "void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16, 16>"
        "(c10::BFloat16*, unsigned long)"
    ): "all_reduce",
    "void c10d::symmetric_memory::two_shot_all_reduce_kernel<c10::BFloat16, 8>(unsigned int**)": (
        "all_reduce"
    ),
    "void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>(vllm::RankData*, vllm::RankSignals)": (
        "all_reduce"
    ),
    (
        "void flashinfer::trtllm_allreduce_fusion::"
        "allreduce_fusion_kernel_oneshot_lamport<4>(Params)"
    ): "all_reduce",
    "void tensorrt_llm::kernels::oneShotAllReduceKernel<__half, 8>(AllReduceParams)": "all_reduce",
    "_ZN10c10d_multimem_all_gather_kernel": "all_gather",
    "_ZN7deep_ep9internode8dispatchEv": "other",
    "void deep_ep::intranode::dispatch<8, 768>(int4*, float*)": "other",
}
COMPUTES = (
    "triton_red_fused__to_copy_add_all_reduce_mean_mul_pow_rsqrt_wait_tensor_2",
    "void oneflow::cuda::softmax::SoftmaxBlockSMemImpl<BlockAllReduce, float>(long)",
    "void blockAllReduceSum<float>(float*)",
    "void deep_epilogue_gemm<128>(float*)",
    "void cub::CUB_200200_NS::AgentAllReduceSum<float>(float*)",
    "void warp_all_reduce<float>(float*)",
    (
        "void at::native::reduce_kernel<512, 1,"
        " at::native::ReduceOp<float>>(at::native::ReduceOp<float>)"
    ),
    "void at::native::vectorized_gather_kernel<16, long>(char*, char*, long*, int)",
)


@pytest.mark.parametrize("name", COMMUNICATES)
def test_kernels_of_collectives_communicate(name: str) -> None:
    assert (kernel_kind(name), collective_kind(name)) == ("communication", COMMUNICATES[name])


@pytest.mark.parametrize("name", COMPUTES)
def test_kernels_with_similar_names_compute(name: str) -> None:
    assert kernel_kind(name) == "compute"
