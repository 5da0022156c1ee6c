"""Reductions: everything is read and the reduced tensor is written. One operation per element that
is read, more for moments.
"""

from functools import partial
from typing import Any

from perfscope.analyzer.compute.costs.call import Call, Tensor, int_tuple
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

WITHOUT_DIMS = (
    "aten::max",
    "aten::min",
    "aten::sum",
    "aten::mean",
    "aten::prod",
    "aten::any",
    "aten::all",
)
"""Operators that reduce the whole tensor if they are called without dimensions."""
WITH_INDICES = ("aten::max", "aten::min")
"""Operators that also write an index per result if they are called with a dimension."""


def reduction_cost(
    call: Call,
    *,
    operations: int,
    keepdim: int = 2,
    result_dtype: str | None = None,
    results: int = 1,
) -> Cost | None:
    """Return the cost of a reduction, None if its dimensions were not recorded.

    The dimensions are argument 1, and whether to keep them is argument `keepdim`.
    """
    x = call.tensor(0)
    takes_two_tensors = call.tensor(1) is not None  # max and min are elementwise then
    if x is None or takes_two_tensors:
        return None
    has_dims = len(call.tensors) > 2
    dims, keep = call.value(1), call.value(keepdim)
    if dims is None and isinstance(keep, bool):
        dims = []
    shape = reduced_shape(x.shape, dims, keep)
    if shape is None and (has_dims or call.name not in WITHOUT_DIMS):
        return None
    reduced = x.like(shape or (), result_dtype)
    written: list[Tensor] = [reduced] * results
    if has_dims and results == 1 and call.name in WITH_INDICES:
        written.append(x.like(shape or (), "int64"))
    return cost_of_tensors(float(operations * x.numel), [x], written, dtype=x.dtype)


def reduced_shape(shape: tuple[int, ...], dims: Any, keep: Any) -> tuple[int, ...] | None:
    """Return the shape of the result, None if the dimensions are not known.

    An empty list of dimensions means all of them.
    """
    rank = len(shape)
    reduced = int_tuple([dims] if type(dims) is int else dims)
    if reduced == () or not shape:
        reduced = tuple(range(rank))
    if reduced is None or any(not -rank <= dim < rank for dim in reduced):
        return None
    removed = {dim % rank for dim in reduced}
    if keep is True:
        return tuple(1 if dim in removed else size for dim, size in enumerate(shape))
    return tuple(size for dim, size in enumerate(shape) if dim not in removed)


def vector_norm_cost(call: Call) -> Cost | None:
    """Return the cost of linalg_vector_norm(x, order, dimensions, keepdim)."""
    x = call.tensor(0)
    if x is None or len(call.values) < 4:
        return None
    shape = reduced_shape(x.shape, dims_or_all(call.value(2)), call.value(3))
    if shape is None:
        return None
    return cost_of_tensors(2.0 * x.numel, [x], [x.like(shape)], dtype=x.dtype)


def arg_max_cost(call: Call) -> Cost | None:
    """Return the cost of argmax or argmin(x, dimension, keepdim)."""
    x = call.tensor(0)
    if x is None or len(call.values) < 3:
        return None
    shape = reduced_shape(x.shape, dims_or_all(call.value(1)), call.value(2))
    if shape is None:
        return None
    return cost_of_tensors(float(x.numel), [x], [x.like(shape, "int64")], dtype=x.dtype)


def dims_or_all(dims: Any) -> Any:
    """Return the dimensions of a call, all of them (an empty list) if there are none."""
    return [] if dims is None else dims


def cumulative_cost(call: Call) -> Cost | None:
    """Return the cost of cumsum and similar operators, whose result has the shape of the input."""
    x = call.tensor(0)
    if x is None:
        return None
    return cost_of_tensors(float(x.numel), [x], [x.like()], dtype=x.dtype)


def sort_cost(call: Call) -> Cost | None:
    """Return the least traffic of a sort: everything is read, values and indices are written."""
    x = call.tensor(0)
    if x is None:
        return None
    return cost_of_tensors(None, [x], [x.like(), x.like(dtype="int64")], dtype=x.dtype)


def top_k_cost(call: Call) -> Cost | None:
    """Return the cost of topk(x, k, dimension)."""
    x, count, dim = call.tensor(0), call.value(1), call.value(2)
    if x is None or type(count) is not int or type(dim) is not int:
        return None
    rank = len(x.shape)
    if not -rank <= dim < rank:
        return None
    sizes = list(x.shape)
    sizes[dim] = count
    values = x.like(tuple(sizes))
    return cost_of_tensors(float(x.numel), [x], [values, values.like(dtype="int64")], dtype=x.dtype)


moments_cost = partial(reduction_cost, operations=4, keepdim=3)
MODELS: dict[str, CostModel] = {
    **{
        f"aten::{name}": partial(reduction_cost, operations=1)
        for name in ("sum", "mean", "prod", "amax", "amin", "max", "min")
    },
    **{
        f"aten::{name}": partial(reduction_cost, operations=1, result_dtype="bool")
        for name in ("any", "all")
    },
    "aten::logsumexp": partial(reduction_cost, operations=3),
    "aten::var": moments_cost,
    "aten::std": moments_cost,
    "aten::var_mean": partial(moments_cost, results=2),
    "aten::linalg_vector_norm": vector_norm_cost,
    "aten::argmax": arg_max_cost,
    "aten::argmin": arg_max_cost,
    **{
        f"aten::{name}": cumulative_cost
        for name in ("cumsum", "cumsum_", "cumprod", "logcumsumexp")
    },
    "aten::sort": sort_cost,
    "aten::topk": top_k_cost,
}
