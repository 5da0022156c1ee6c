"""What sort of work a kernel is, from its name: names are all that a trace tells of it."""

import re

# The first pattern that fits decides, so what is special stands before what its name also contains
# (a fused attention kernel contains a gemm; an optimizer's is a multi_tensor_apply over elements; a
# softmax inside an attention is the attention).
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


# These say what they do only in their template's arguments; elsewhere the arguments are types,
# whose names mislead.
GENERIC = re.compile(
    r"elementwise_kernel|reduce_kernel|multi_tensor_apply|enable_if|cutlass::Kernel|cub::|rocprim"
)


def kernel_class(name: str, kind: str = "compute") -> str:
    """One of CLASSES. `kind` is the kernel's own in the table, which its reader told from the name:
    see traces/naming.py.
    """
    if kind == COMMUNICATION:
        return kind
    head = name.partition("<")[0]
    return (None if GENERIC.search(name) else _fitting(head)) or _fitting(name) or OTHER


def _fitting(text: str) -> str | None:
    return next((label for label, pattern in PATTERNS if pattern.search(text)), None)
