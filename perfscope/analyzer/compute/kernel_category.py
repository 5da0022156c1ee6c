"""The class of a kernel, inferred from its name: a trace contains nothing else about its work."""

import re

# The first pattern that matches decides, so a special class precedes the general classes whose
# words its names contain as well: the name of a fused attention kernel may contain gemm or softmax,
# and that of an optimizer's kernel contains multi_tensor_apply.
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        (
            "optimizer",
            r"adam|\bsgd|lamb_|rmsprop|adagrad|optimizer|multi_tensor_apply.*(lr|step|momentum)|fused_?adamw",
        ),
        ("attention", r"attention|attn|flash|fmha|\bfwd_splitkv|paged_|mha_"),
        (
            "conv",
            r"conv(?!ert)|winograd|wgrad|dgrad|fprop|igemm|implicit_gemm|"
            r"im2col|col2im|nchwToNhwc|nhwcToNchw|miopen.*Conv|Im2d2Col|SubTensorOpWithScalar",
        ),
        (
            "gemm",
            r"gemm|Cijk_|matmul|cublas|\bbmm_|cutlass.*(tensorop|simt)|\bmm_|"
            r"_mm\b|wgmma|nvjet|gemv|splitKreduce|_mxfp|epilogue::impl|moe_kernel|fused_moe",
        ),
        ("norm", r"norm|welford"),
        ("softmax", r"softmax|cross_?entropy|nll_loss"),
        (
            "embedding",
            r"embedding|gather|scatter|index_(select|put|add|"
            r"elementwise|kernel)|index_|IndexKernel|indexSelect|permute_pooled|kv_?cache",
        ),
        ("sort", r"sort|topk|scan|histogram|unique|cub::|rocprim|segmented"),
        ("pooling", r"pool"),
        ("random", r"philox|distribution|dropout|random|bernoulli"),
        (
            "copy",
            r"copy|memcpy|memset|CatArray|transpose|permute|fill|pad_nd|contiguous|FillFunctor",
        ),
        ("reduction", r"reduce|triton_(red|per)_|argmax|argmin|\bsum_|mean_|cumsum"),
        (
            "elementwise",
            r"elementwise|triton_poi|CUDAFunctor|BinaryFunctor|act_and_mul|gelu|silu|"
            r"relu|rotary|rope|multi_tensor_apply|foreach|quant|pointwise",
        ),
    )
)
OTHER = "other"
COMMUNICATION = "communication"
CLASSES = (COMMUNICATION, *(name for name, _ in PATTERNS), OTHER)


GENERIC = re.compile(
    r"elementwise_kernel|reduce_kernel|multi_tensor_apply|enable_if|cutlass::Kernel|cub::|rocprim"
)
"""Generic kernels, whose template arguments contain the function that they compute.

The template arguments of other kernels are types, whose names are misleading.
"""


def kernel_class(name: str, kind: str = "compute") -> str:
    """Return one of CLASSES. `kind` is the column of `kernels`, see traces/naming.py."""
    if kind == COMMUNICATION:
        return kind
    if GENERIC.search(name):
        return first_matching_class(name)
    without_template_arguments = name.partition("<")[0]
    found = first_matching_class(without_template_arguments)
    return first_matching_class(name) if found == OTHER else found


def first_matching_class(text: str) -> str:
    """Return the class of the first pattern that matches, OTHER if none does."""
    return next((label for label, pattern in PATTERNS if pattern.search(text)), OTHER)
