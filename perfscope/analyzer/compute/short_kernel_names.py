"""Short names of kernels: what they compute and for which type, out of demangled C++.

`void at::native::vectorized_elementwise_kernel<4, at::native::AUnaryFunctor<float, float, float,
at::native::binary_internal::MulFunctor<float> >, ...>(...)` is `vectorized_elementwise
AUnaryFunctor MulFunctor float`.
"""

import re
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 80
MOST_WORDS: Final = 4
WORD: Final = re.compile(r"[A-Za-z_]\w*")
QUALIFIER: Final = re.compile(r"(?:\w+::)+")
ANONYMOUS: Final = ("(anonymous namespace)::", "{anonymous}::", "<unnamed>::")
FUNCTION: Final = re.compile(
    r"(?:.*(?:[Ff]unctor|_functor|_kernel_cuda|_cuda|_kernel|Op|Ops|gemm|Reduce|[Nn]orm|[Ss]oftmax)"
    r"(?:_\w*)?|cutlass_\w+|sm\d\d\w*|\w*_fwd_\w*|\w*_bwd_\w*|CUDAFunctor\w*)\Z"
)
"""Template arguments that say what a generic kernel computes."""
GENERIC: Final = frozenset(
    (
        "gpu_kernel_impl",
        "gpu_kernel_impl_nocast",
        "func_wrapper_t",
        "ReduceOp",
        "Kernel",
        "Kernel2",
        "Params",
    )
)
"""Names that say nothing of the work."""
TYPES: Final = (
    ("BFloat16", "bf16"),
    ("nv_bfloat16", "bf16"),
    ("Half", "fp16"),
    ("half", "fp16"),
    ("Float8_e4m3fn", "fp8"),
    ("Float8_e5m2", "fp8"),
    ("float", "float"),
    ("double", "double"),
)
"""Of the types among the arguments, the first of these names the kernel's."""


def short_kernel_names(names: Iterable[str]) -> list[str]:
    """Return a short name for each name; different names get different short names."""
    numbers: dict[str, dict[str, int]] = {}
    found = []
    for name in names:
        short = short_kernel_name(name)
        same = numbers.setdefault(short, {})
        number = same.setdefault(name, len(same) + 1)
        found.append(short if number == 1 else f"{short} #{number}")
    return found


def short_kernel_name(name: str) -> str:
    """Return the short name of a kernel; a name that is not C++ stays as it is, cut."""
    plain = name.removeprefix("void ")
    for namespace in ANONYMOUS:
        plain = plain.replace(namespace, "")
    head, arguments = divide_template_name(plain)
    base = QUALIFIER.sub("", head).strip()
    if base in GENERIC:
        base = ""
    words = [base.removesuffix("_kernel")] if base else []
    words += [word for word in functions_in(arguments) if word not in words]
    words = words[:MOST_WORDS]
    type_name = type_in(arguments)
    if type_name and type_name not in words:
        words.append(type_name)
    text = " ".join(words) or plain
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def divide_template_name(name: str) -> tuple[str, str]:
    """Return what is before the template arguments of a demangled name, and these arguments.

    The parameters of the function are left out.
    """
    begin = name.find("<")
    parameters = name.find("(")
    if begin < 0 or 0 <= parameters < begin:
        return (name if parameters < 0 else name[:parameters]), ""
    depth = 0
    for at in range(begin, len(name)):
        depth += {"<": 1, ">": -1}.get(name[at], 0)
        if depth == 0:
            return name[:begin], name[begin + 1 : at]
    return name[:begin], name[begin + 1 :]


def functions_in(arguments: str) -> list[str]:
    """Return the names among template arguments that say what is computed, each once."""
    words = (word for word in WORD.findall(arguments) if word not in GENERIC)
    named = [word for word in words if FUNCTION.match(word) and not word.endswith("_traits")]
    return [
        word.removesuffix("_kernel_cuda").removesuffix("_cuda") for word in dict.fromkeys(named)
    ]


def type_in(arguments: str) -> str:
    """Return the type of the data, "" where no argument is one."""
    words = set(WORD.findall(arguments))
    return next((short for word, short in TYPES if word in words or f"__{word}" in words), "")
