"""Elementwise operators: the operations of the formula for each element of the result, with inputs
broadcast to one shape.

A transcendental function counts as one operation: memory limits these operators long before its
real cost matters. The list forms (`_foreach_*`) do the same for each tensor of their lists.
"""

from functools import partial

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import (
    INTEGER_DTYPES,
    Cost,
    CostModel,
    broadcast_shape,
    cost_of_tensors,
    promoted_dtype,
)

# Operations per element, by the number of tensors that an operator reads.
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
LERP_BY_NUMBER = 2
"""Operations per element of `lerp` with a number as weight."""
COMPARISONS = (
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
FLOAT_FUNCTIONS = (
    "div",
    "true_divide",
    "exp",
    "log",
    "sqrt",
    "sin",
    "cos",
    "tanh",
    "sigmoid",
)
"""Operators whose result is floating-point for integers too."""
TWO_RESULTS = ("log_sigmoid_forward", "_prelu_kernel_backward")
TENSOR_COUNT = {**dict.fromkeys(UNARY, 1), **dict.fromkeys(BINARY, 2), **dict.fromkeys(TERNARY, 3)}
OPERATIONS = UNARY | BINARY | TERNARY


def elementwise_cost(call: Call, *, operator: str, in_place: bool) -> Cost | None:
    """Return the cost of an operator on tensors. Numbers among the arguments are not read."""
    arguments = [call.tensor(position) for position in range(TENSOR_COUNT[operator])]
    read = [tensor for tensor in arguments if tensor is not None]
    return elementwise_cost_of_tensors(operator, read, in_place=in_place)


def elementwise_cost_of_tensors(
    operator: str, read: list[Tensor], *, in_place: bool
) -> Cost | None:
    """Return the cost of an operator that reads these tensors, None if they do not match."""
    shape = broadcast_shape(read)
    if not read or shape is None:
        return None
    dtype = read[0].dtype if in_place else elementwise_dtype(operator, read)
    if not dtype:
        return None
    if operator == "glu" and shape:
        shape = (*shape[:-1], shape[-1] // 2)
    result = Tensor(shape, dtype)
    results = 2 if operator in TWO_RESULTS else 1
    flops = float(operations_per_element(operator, len(read)) * result.numel)
    return cost_of_tensors(flops, read, [result] * results, dtype=promoted_dtype(read) or dtype)


def operations_per_element(operator: str, tensors: int) -> int:
    """Return the operations per element of an operator that reads so many tensors."""
    if operator == "lerp" and tensors == 2:
        return LERP_BY_NUMBER
    return OPERATIONS[operator]


def elementwise_dtype(operator: str, read: list[Tensor]) -> str:
    """Return the type of the result of an operator that is not in place, "" if unknown."""
    if operator in COMPARISONS:
        return "bool"
    if operator == "where":
        return promoted_dtype(read[1:])
    if operator == "masked_fill" or operator.endswith("_backward"):
        return read[0].dtype
    promoted = promoted_dtype(read)
    if promoted in INTEGER_DTYPES and operator in FLOAT_FUNCTIONS:
        return "float32"
    return promoted


def foreach_cost(call: Call, *, operator: str, in_place: bool) -> Cost | None:
    """Return the cost of an operator on lists, None if a part of it is not known."""
    arguments = [call.tensor_list(position) for position in range(TENSOR_COUNT[operator])]
    lists = [tensors for tensors in arguments if tensors]
    if not lists or any(len(tensors) != len(lists[0]) for tensors in lists):
        return None
    costs = []
    for read in zip(*lists, strict=True):
        cost = elementwise_cost_of_tensors(operator, list(read), in_place=in_place)
        if cost is None:
            return None
        costs.append(cost)
    return Cost(
        sum(cost.flops or 0.0 for cost in costs),
        sum(cost.read_bytes for cost in costs),
        sum(cost.written_bytes for cost in costs),
        costs[0].dtype,
    )


MODELS: dict[str, CostModel] = {
    f"{prefix}{name}{suffix}": partial(model, operator=name, in_place=suffix == "_")
    for name in TENSOR_COUNT
    for prefix, model in (("aten::", elementwise_cost), ("aten::_foreach_", foreach_cost))
    for suffix in ("", "_")
}
