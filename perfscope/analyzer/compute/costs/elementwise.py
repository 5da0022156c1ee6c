"""One operation (or as many as its formula has) for each element of the result; inputs are expanded
to each other.

A transcendental function counts as one operation, as the ceiling of memory is reached long before
that matters. The list forms (`_foreach_*`) do the same for each tensor of their lists.
"""

from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, broadcast, costs, promoted

# operations an element, by how many tensors an operator reads
UNARY = {
    "abs": 1,
    "acos": 1,
    "asin": 1,
    "atan": 1,
    "bitwise_not": 1,
    "ceil": 1,
    "celu": 2,
    "clamp": 2,
    "clamp_max": 1,
    "clamp_min": 1,
    "cos": 1,
    "cosh": 1,
    "elu": 2,
    "erf": 1,
    "erfc": 1,
    "erfinv": 1,
    "exp": 1,
    "exp2": 1,
    "expm1": 1,
    "floor": 1,
    "frac": 1,
    "gelu": 4,
    "glu": 0,
    "hardsigmoid": 3,
    "hardswish": 4,
    "hardtanh": 2,
    "leaky_relu": 2,
    "lgamma": 1,
    "log": 1,
    "log10": 1,
    "log1p": 1,
    "log2": 1,
    "log_sigmoid_forward": 3,
    "logical_not": 1,
    "mish": 4,
    "nan_to_num": 3,
    "neg": 1,
    "reciprocal": 1,
    "relu": 1,
    "relu6": 2,
    "round": 1,
    "rsqrt": 2,
    "sgn": 1,
    "sigmoid": 3,
    "sign": 1,
    "silu": 4,
    "sin": 1,
    "sinh": 1,
    "softplus": 3,
    "sqrt": 1,
    "square": 1,
    "tan": 1,
    "tanh": 1,
    "threshold": 1,
    "trunc": 1,
    "isnan": 1,
    "isinf": 1,
    "isfinite": 2,
    "isneginf": 1,
    "isposinf": 1,
}
BINARY = {
    "add": 1,
    "sub": 1,
    "rsub": 1,
    "mul": 1,
    "div": 1,
    "true_divide": 1,
    "floor_divide": 2,
    "remainder": 2,
    "fmod": 2,
    "pow": 1,
    "maximum": 1,
    "minimum": 1,
    "fmax": 1,
    "fmin": 1,
    "atan2": 1,
    "hypot": 3,
    "copysign": 1,
    "xlogy": 2,
    "logaddexp": 4,
    "bitwise_and": 1,
    "bitwise_or": 1,
    "bitwise_xor": 1,
    "__and__": 1,
    "__or__": 1,
    "__xor__": 1,
    "bitwise_left_shift": 1,
    "bitwise_right_shift": 1,
    "logical_and": 1,
    "logical_or": 1,
    "logical_xor": 1,
    "masked_fill": 1,
    "prelu": 2,
    "_prelu_kernel": 2,
    "eq": 1,
    "ne": 1,
    "lt": 1,
    "le": 1,
    "gt": 1,
    "ge": 1,
    "threshold_backward": 1,
    "gelu_backward": 8,
    "silu_backward": 6,
    "sigmoid_backward": 3,
    "tanh_backward": 3,
    "hardtanh_backward": 2,
    "hardswish_backward": 5,
    "hardsigmoid_backward": 2,
    "leaky_relu_backward": 2,
    "elu_backward": 3,
    "softplus_backward": 4,
    "mish_backward": 8,
    "_prelu_kernel_backward": 3,
    "native_dropout_backward": 2,
}
TERNARY = {"addcmul": 3, "addcdiv": 3, "lerp": 3, "where": 0}
LERP_WITH_NUMBER = 2
COMPARES = (
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "isnan",
    "isinf",
    "isfinite",
    "isneginf",
    "isposinf",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logical_not",
)
TWO_RESULTS = ("log_sigmoid_forward", "_prelu_kernel_backward")
PLACES = {**dict.fromkeys(UNARY, 1), **dict.fromkeys(BINARY, 2), **dict.fromkeys(TERNARY, 3)}
OPERATIONS = UNARY | BINARY | TERNARY


def elementwise(call: Call, *, bare: str, in_place: bool) -> Cost | None:
    """An operator on tensors; numbers among its arguments cost nothing to read."""
    return of_tensors(
        bare, [one for one in map(call.tensor, range(PLACES[bare])) if one is not None], in_place
    )


def of_tensors(bare: str, read: list[Tensor], in_place: bool) -> Cost | None:
    """`read` are the tensors among the arguments; numbers cost nothing to read."""
    shape = broadcast(read) if read else None
    kept = (
        read[0].dtype
        if read and in_place
        else ("bool" if bare in COMPARES else result_type(bare, read))
    )
    if shape is None or not kept:
        return None
    if bare == "glu":
        shape = (*shape[:-1], shape[-1] // 2) if shape else shape
    result = Tensor(shape, kept)
    operations = OPERATIONS[bare] - (bare == "lerp" and len(read) == LERP_WITH_NUMBER)
    worked = promoted(read) or kept
    return costs(
        float(operations * result.numel), read, [result] * (1 + (bare in TWO_RESULTS)), dtype=worked
    )


def result_type(bare: str, read: list[Tensor]) -> str:
    if bare == "where":
        return promoted(read[1:])
    if bare == "masked_fill" or bare.endswith("_backward"):
        return read[0].dtype if read else ""
    found = promoted(read)
    whole = found in ("bool", "uint8", "int8", "int16", "int32", "int64")
    return (
        "float32"
        if whole
        and bare in ("div", "true_divide", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid")
        else found
    )


def of_lists(call: Call, *, bare: str, in_place: bool) -> Cost | None:
    """Element by element of the lists, one tensor at a time."""
    lists = [one for one in map(call.tensor_list, range(PLACES[bare])) if one]
    if not lists or any(len(one) != len(lists[0]) for one in lists):
        return None
    each = [of_tensors(bare, list(read), in_place) for read in zip(*lists, strict=True)]
    known = [one for one in each if one is not None]
    if len(known) != len(each):
        return None
    return Cost(
        sum(one.flops or 0.0 for one in known),
        sum(one.read_bytes for one in known),
        sum(one.written_bytes for one in known),
        known[0].dtype,
    )


MODELS: dict[str, Callable[[Call], Cost | None]] = {
    f"{room}{name}{end}": partial(model, bare=name, in_place=bool(end))
    for name in PLACES
    for room, model in (("aten::", elementwise), ("aten::_foreach_", of_lists))
    for end in ("", "_")
}
