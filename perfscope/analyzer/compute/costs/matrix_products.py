"""Matrix products: a product of [m, k] and [k, n] takes 2 m k n operations. A bias is read; its
additions are not counted.
"""

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import (
    Cost,
    CostModel,
    broadcast_shape,
    cost_of_tensors,
)


def product_cost(
    a: Tensor | None, b: Tensor | None, bias: Tensor | None = None, dtype: str | None = None
) -> Cost | None:
    """Return the cost of [..., m, k] x [..., k, n] + `bias`, None if the sizes do not match.

    The batch dimensions are broadcast. The result has type `dtype`, by default that of `a`.
    """
    if a is None or b is None or min(len(a.shape), len(b.shape)) < 2:
        return None
    *a_batch, m, k = a.shape
    *b_batch, b_rows, n = b.shape
    batch = broadcast_shape([a.like(tuple(a_batch)), b.like(tuple(b_batch))])
    if k != b_rows or batch is None:
        return None
    result = a.like((*batch, m, n), dtype)
    flops = 2.0 * result.numel * k
    return cost_of_tensors(flops, [a, b, bias], [result], dtype=a.dtype, matrix=True)


def as_row(vector: Tensor) -> Tensor:
    """Return a vector as a matrix of one row."""
    return vector.like((1, *vector.shape))


def as_column(vector: Tensor) -> Tensor:
    """Return a vector as a matrix of one column."""
    return vector.like((*vector.shape, 1))


def transpose_weight(weight: Tensor | None) -> Tensor | None:
    """Return a weight [n, k] as [k, n], None if it is not a matrix."""
    if weight is None or len(weight.shape) != 2:
        return None
    outputs, inputs = weight.shape
    return weight.like((inputs, outputs))


def flatten_rows(x: Tensor | None) -> Tensor | None:
    """Return [..., k] as [rows, k]."""
    if x is None or not x.shape or not x.shape[-1]:
        return x
    width = x.shape[-1]
    return x.like((x.numel // width, width))


def plain_product_cost(call: Call) -> Cost | None:
    """Return the cost of mm(a, b)."""
    return product_cost(call.tensor(0), call.tensor(1))


def addmm_cost(call: Call) -> Cost | None:
    """Return the cost of addmm(bias, a, b)."""
    return product_cost(call.tensor(1), call.tensor(2), call.tensor(0))


def linear_cost(call: Call) -> Cost | None:
    """Return the cost of linear(x, weight, bias)."""
    rows, weight = flatten_rows(call.tensor(0)), transpose_weight(call.tensor(1))
    return product_cost(rows, weight, call.tensor(2))


def matmul_cost(call: Call) -> Cost | None:
    """Return the cost of matmul(a, b), where a vector counts as a matrix of one row or column."""
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or not a.shape or not b.shape:
        return None
    left = a if len(a.shape) > 1 else as_row(a)
    right = b if len(b.shape) > 1 else as_column(b)
    return product_cost(left, right)


def matrix_vector_cost(call: Call) -> Cost | None:
    """Return the cost of mv(a, vector) or addmv(bias, a, vector)."""
    has_bias = not call.name.endswith("::mv")
    first = 1 if has_bias else 0
    matrix, vector = call.tensor(first), call.tensor(first + 1)
    if matrix is None or vector is None or len(vector.shape) != 1:
        return None
    bias = call.tensor(0) if has_bias else None
    return product_cost(matrix, as_column(vector), bias)


def dot_cost(call: Call) -> Cost | None:
    """Return the cost of dot(a, b), the product of a row and a column."""
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or len(a.shape) != 1 or a.shape != b.shape:
        return None
    return product_cost(as_row(a), as_column(b))


def addr_cost(call: Call) -> Cost | None:
    """Return the cost of addr(bias, a, b), where a x b is the product of a column and a row."""
    a, b = call.tensor(1), call.tensor(2)
    if a is None or b is None or (len(a.shape), len(b.shape)) != (1, 1):
        return None
    return product_cost(as_column(a), as_row(b), call.tensor(0))


def scaled_mm_cost(call: Call) -> Cost | None:
    """Return the cost of _scaled_mm: 8-bit operands and a result of the type in argument 6."""
    number = call.value(6)
    dtype = DTYPE_BY_NUMBER.get(number) if type(number) is int else None
    if dtype is None:
        return None
    return product_cost(call.tensor(0), call.tensor(1), call.tensor(4), dtype)


def grouped_mm_cost(call: Call) -> Cost | None:
    """Return the cost of _grouped_mm: [rows, k] x [groups, k, n], with one group for each row.

    Each row is in one product, and all weights are read.
    """
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or (len(a.shape), len(b.shape)) != (2, 3):
        return None
    (rows, k), (_, b_rows, n) = a.shape, b.shape
    if k != b_rows:
        return None
    result = a.like((rows, n))
    flops = 2.0 * result.numel * k
    return cost_of_tensors(flops, [a, b], [result], dtype=a.dtype, matrix=True)


DTYPE_BY_NUMBER = {5: "float16", 6: "float32", 15: "bfloat16"}
"""Types that the result of an 8-bit product can have, by number in c10::ScalarType."""
MODELS: dict[str, CostModel] = {
    "aten::mm": plain_product_cost,
    "aten::bmm": plain_product_cost,
    "aten::_int_mm": plain_product_cost,
    "aten::matmul": matmul_cost,
    "aten::addmm": addmm_cost,
    "aten::_addmm_activation": addmm_cost,
    "aten::baddbmm": addmm_cost,
    "aten::linear": linear_cost,
    "aten::mkldnn_linear": linear_cost,
    "mkldnn::_linear_pointwise": linear_cost,
    "vllm::rocm_unquantized_gemm": linear_cost,
    "aten::mv": matrix_vector_cost,
    "aten::addmv": matrix_vector_cost,
    "aten::dot": dot_cost,
    "aten::vdot": dot_cost,
    "aten::addr": addr_cost,
    "aten::_scaled_mm": scaled_mm_cost,
    "aten::_grouped_mm": grouped_mm_cost,
}
