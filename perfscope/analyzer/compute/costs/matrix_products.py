"""Matrix products: a product of [m, k] and [k, n] takes 2 m k n operations; a bias is read, and its
additions are not counted.
"""

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, broadcast, costs


def product(
    a: Tensor | None, b: Tensor | None, added: Tensor | None = None, out: str | None = None
) -> Cost | None:
    """[..., m, k] x [..., k, n], batches expanded to each other, plus `added`; the result has type
    `out`, else that of `a`.
    """
    if a is None or b is None or min(len(a.shape), len(b.shape)) < 2 or a.shape[-1] != b.shape[-2]:
        return None
    batch = broadcast([Tensor(a.shape[:-2], a.dtype), Tensor(b.shape[:-2], b.dtype)])
    if batch is None:
        return None
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    result = a.like((*batch, m, n), out)
    return costs(2.0 * result.numel * k, [a, b, added], [result], dtype=a.dtype, matrix=True)


def turned(weight: Tensor | None) -> Tensor | None:
    """A weight [n, k] as [k, n]."""
    return (
        None
        if weight is None or len(weight.shape) != 2
        else weight.like((weight.shape[1], weight.shape[0]))
    )


def flat(a: Tensor | None) -> Tensor | None:
    """[..., k] as [rows, k]."""
    if a is None or not a.shape or not a.shape[-1]:
        return a
    return a.like((a.numel // a.shape[-1], a.shape[-1]))


def two(call: Call) -> Cost | None:
    return product(call.tensor(0), call.tensor(1))


def with_added(call: Call) -> Cost | None:
    return product(call.tensor(1), call.tensor(2), call.tensor(0))


def linear(call: Call) -> Cost | None:
    return product(flat(call.tensor(0)), turned(call.tensor(1)), call.tensor(2))


def matmul(call: Call) -> Cost | None:
    """A vector counts as a matrix of one row or column."""
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or not a.shape or not b.shape:
        return None
    return product(
        a if len(a.shape) > 1 else a.like((1, *a.shape)),
        b if len(b.shape) > 1 else b.like((*b.shape, 1)),
    )


def matrix_vector(call: Call) -> Cost | None:
    first = 0 if call.name.endswith("::mv") else 1
    a, b = call.tensor(first), call.tensor(first + 1)
    if a is None or b is None or len(b.shape) != 1:
        return None
    return product(a, b.like((*b.shape, 1)), call.tensor(0) if first else None)


def dot(call: Call) -> Cost | None:
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or len(a.shape) != 1 or a.shape != b.shape:
        return None
    return product(a.like((1, *a.shape)), b.like((*b.shape, 1)))


def outer(call: Call) -> Cost | None:
    """addr: a matrix plus the product of a column and a row."""
    a, b = call.tensor(1), call.tensor(2)
    if a is None or b is None or (len(a.shape), len(b.shape)) != (1, 1):
        return None
    return product(a.like((*a.shape, 1)), b.like((1, *b.shape)), call.tensor(0))


def scaled(call: Call) -> Cost | None:
    """_scaled_mm: 8-bit operands; the result's type stands in the trace as torch's number for
    it.
    """
    out = call.value(6)
    named = TYPES.get(out) if type(out) is int else None
    return product(call.tensor(0), call.tensor(1), call.tensor(4), named) if named else None


def grouped(call: Call) -> Cost | None:
    """_grouped_mm of [rows, k] with one of [groups, k, n] for each row: every row takes part once,
    every weight is read.
    """
    a, b = call.tensor(0), call.tensor(1)
    if a is None or b is None or (len(a.shape), len(b.shape)) != (2, 3) or a.shape[1] != b.shape[1]:
        return None
    result = a.like((a.shape[0], b.shape[2]))
    return costs(2.0 * result.numel * a.shape[1], [a, b], [result], dtype=a.dtype, matrix=True)


TYPES = {5: "float16", 6: "float32", 15: "bfloat16"}
"""c10::ScalarType of the types a product of 8-bit numbers can have."""
MODELS = {
    "aten::mm": two,
    "aten::bmm": two,
    "aten::_int_mm": two,
    "aten::matmul": matmul,
    "aten::addmm": with_added,
    "aten::_addmm_activation": with_added,
    "aten::baddbmm": with_added,
    "aten::linear": linear,
    "aten::mkldnn_linear": linear,
    "mkldnn::_linear_pointwise": linear,
    "vllm::rocm_unquantized_gemm": linear,
    "aten::mv": matrix_vector,
    "aten::addmv": matrix_vector,
    "aten::dot": dot,
    "aten::vdot": dot,
    "aten::addr": outer,
    "aten::_scaled_mm": scaled,
    "aten::_grouped_mm": grouped,
}
