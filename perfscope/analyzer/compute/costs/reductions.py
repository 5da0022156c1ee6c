"""Reductions read everything and write what is left: one operation for each element read, more for
moments.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs

ONE_NUMBER = (
    "aten::max",
    "aten::min",
    "aten::sum",
    "aten::mean",
    "aten::prod",
    "aten::any",
    "aten::all",
)


def reduction(
    call: Call,
    *,
    operations: int,
    dims: int = 1,
    keep: int = 2,
    result: str | None = None,
    results: int = 1,
) -> Cost | None:
    """`dims` and `keep` are the places of the dimensions and of keepdim; what was not recorded
    gives no cost.
    """
    x = call.tensor(0)
    if x is None or call.tensor(1) is not None:  # max and min of two tensors are another operator
        return None
    said, kept_there = call.value(dims), call.value(keep)
    shape = left_over(
        x.shape, [] if said is None and isinstance(kept_there, bool) else said, kept_there
    )
    if shape is None and not (len(call.tensors) <= dims + 1 and call.name in ONE_NUMBER):
        return None
    kept = x.like(shape or (), result)
    written: list[Tensor] = [kept] * results
    if results == 1 and call.name in ("aten::max", "aten::min") and len(call.tensors) > dims + 1:
        written.append(x.like(shape or (), "int64"))
    return costs(float(operations * x.numel), [x], written, dtype=x.dtype)


def left_over(shape: tuple[int, ...], dims: Any, keep: Any) -> tuple[int, ...] | None:
    """The shape of the result; None where the dimensions are not known."""
    listed = [dims] if type(dims) is int else dims
    if listed == [] or not shape:
        listed = list(range(len(shape)))
    if not isinstance(listed, list) or not all(
        type(one) is int and -len(shape) <= one < len(shape) for one in listed
    ):
        return None
    gone = {one % len(shape) for one in listed}
    return tuple(
        1 if at in gone else n for at, n in enumerate(shape) if at not in gone or keep is True
    )


def norm(call: Call) -> Cost | None:
    """linalg_vector_norm(x, order, dimensions, keepdim): all dimensions where none are said."""
    x = call.tensor(0)
    if x is None or len(call.values) < 4:
        return None
    said = call.value(2)
    shape = left_over(x.shape, [] if said is None else said, call.value(3))
    return None if shape is None else costs(2.0 * x.numel, [x], [x.like(shape)], dtype=x.dtype)


def place_of_largest(call: Call) -> Cost | None:
    """argmax, argmin(x, dimension, keepdim): the whole tensor where none is said."""
    x = call.tensor(0)
    if x is None or len(call.values) < 3:
        return None
    said = call.value(1)
    shape = left_over(x.shape, [] if said is None else said, call.value(2))
    return (
        None
        if shape is None
        else costs(float(x.numel), [x], [x.like(shape, "int64")], dtype=x.dtype)
    )


def running(call: Call) -> Cost | None:
    """cumsum and the like: a result of the same shape."""
    x = call.tensor(0)
    return None if x is None else costs(float(x.numel), [x], [x.like()], dtype=x.dtype)


def sorting(call: Call) -> Cost | None:
    """The least a sort moves: everything read, values and places written."""
    x = call.tensor(0)
    return None if x is None else costs(None, [x], [x.like(), x.like(dtype="int64")], dtype=x.dtype)


def largest(call: Call) -> Cost | None:
    """topk(x, k, dimension)."""
    x, count, dim = call.tensor(0), call.value(1), call.value(2)
    if (
        x is None
        or type(count) is not int
        or type(dim) is not int
        or not -len(x.shape) <= dim < len(x.shape)
    ):
        return None
    at = dim % len(x.shape)
    kept = (*x.shape[:at], count, *x.shape[at + 1 :])
    return costs(float(x.numel), [x], [x.like(kept), x.like(kept, "int64")], dtype=x.dtype)


moments = partial(reduction, operations=4, keep=3)
Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    **{
        f"aten::{name}": partial(reduction, operations=1)
        for name in ("sum", "mean", "prod", "amax", "amin", "max", "min")
    },
    **{f"aten::{name}": partial(reduction, operations=1, result="bool") for name in ("any", "all")},
    "aten::logsumexp": partial(reduction, operations=3),
    "aten::var": moments,
    "aten::std": moments,
    "aten::var_mean": partial(moments, results=2),
    "aten::linalg_vector_norm": norm,
    "aten::argmax": place_of_largest,
    "aten::argmin": place_of_largest,
    **{f"aten::{name}": running for name in ("cumsum", "cumsum_", "cumprod", "logcumsumexp")},
    "aten::sort": sorting,
    "aten::topk": largest,
}
