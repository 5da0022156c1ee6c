"""Short names of kernels: the work and the type, different for different kernels."""

import pytest

from perfscope.analyzer.compute.short_kernel_names import (
    LONGEST,
    short_kernel_name,
    short_kernel_names,
)

VECTORIZED = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::AUnaryFunctor<float, float,"
    " float, at::native::binary_internal::MulFunctor<float> >, at::detail::Array<char*, 2> >(int,"
    " at::native::AUnaryFunctor<float, float, float, at::native::binary_internal::MulFunctor<float>"
    " >, at::detail::Array<char*, 2>)"
)
COPY = (
    "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl<at::native::"
    "direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#2}::operator()() const::"
    "{lambda(c10::BFloat16)#1}>(at::TensorIteratorBase&)>(int)"
)
CUTLASS = "void cutlass::Kernel<cutlass_80_tensorop_s1688gemm_256x64>(cutlass_80::Params)"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (VECTORIZED, "vectorized_elementwise AUnaryFunctor MulFunctor float"),
        (COPY, "elementwise direct_copy bf16"),
        (CUTLASS, "cutlass_80_tensorop_s1688gemm_256x64"),
        (
            "void (anonymous namespace)::softmax_warp_forward<float>(float*)",
            "softmax_warp_forward float",
        ),
        ("ncclKernel_AllReduce_RING(ncclDevComm*, long)", "ncclKernel_AllReduce_RING"),
        ("triton_poi_fused_add_0", "triton_poi_fused_add_0"),
        ("", ""),
        ("<>", "<>"),
        ("f<(", "f"),
    ],
)
def test_a_short_name_has_the_work_and_the_type(name: str, short: str) -> None:
    assert short_kernel_name(name) == short


def test_different_kernels_have_different_short_names() -> None:
    names = [VECTORIZED, VECTORIZED.replace("<4,", "<2,"), VECTORIZED]
    first, second, again = short_kernel_names(names)
    assert first == again != second


def test_short_names_are_short_and_take_linear_time() -> None:
    assert len(short_kernel_name("x" * 10_000)) == LONGEST
    assert short_kernel_name("f<" * 200_000) == "f"
