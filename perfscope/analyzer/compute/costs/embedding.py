"""Looking rows up, and adding into them: only the rows that are asked for move, with their numbers.
No arithmetic to look up.
"""

import math
from collections.abc import Callable

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs


def rows_of(weight: Tensor, index: Tensor) -> Tensor:
    """The rows of a table [rows, ...] that an index of any shape asks for."""
    return weight.like((*index.shape, *weight.shape[1:]))


def lookup(call: Call) -> Cost | None:
    """embedding(weight, index)."""
    weight, index = call.tensor(0), call.tensor(1)
    if weight is None or index is None or not weight.shape:
        return None
    found = rows_of(weight, index)
    return costs(0.0, [index, found], [found], dtype=weight.dtype)


def selected(call: Call) -> Cost | None:
    """index_select(x, dimension, index)."""
    x, dim, index = call.tensor(0), call.value(1), call.tensor(2)
    if (
        x is None
        or index is None
        or type(dim) is not int
        or not -len(x.shape) <= dim < len(x.shape)
    ):
        return None
    at = dim % len(x.shape)
    found = x.like((*x.shape[:at], index.numel, *x.shape[at + 1 :]))
    return costs(0.0, [index, found], [found], dtype=x.dtype)


def gathered(call: Call) -> Cost | None:
    """gather(x, dimension, index): an element for each of the index."""
    x, index = call.tensor(0), call.tensor(2)
    if x is None or index is None:
        return None
    found = x.like(index.shape)
    return costs(0.0, [index, found], [found], dtype=x.dtype)


def added(call: Call) -> Cost | None:
    """scatter_add_(x, dimension, index, source) and index_add_: what is added to is read and
    written.
    """
    x, index, source = call.tensor(0), call.tensor(2), call.tensor(3)
    if x is None or index is None or source is None:
        return None
    return costs(
        float(source.numel), [index, source, source], [source.like(dtype=x.dtype)], dtype=x.dtype
    )


def backward(call: Call) -> Cost | None:
    """embedding_dense_backward(grad, index, rows): the whole table's gradient is written."""
    grad, index, rows = call.tensor(0), call.tensor(1), call.value(2)
    if grad is None or index is None or type(rows) is not int or not grad.shape:
        return None
    return costs(
        float(grad.numel), [grad, index], [grad.like((rows, grad.shape[-1]))], dtype=grad.dtype
    )


def bags(call: Call) -> Cost | None:
    """_embedding_bag(weight, index, offsets): rows are summed over bags, one for each offset."""
    weight, index, offsets = call.tensor(0), call.tensor(1), call.tensor(2)
    if (
        weight is None
        or index is None
        or offsets is None
        or len(weight.shape) != 2
        or len(index.shape) != 1
    ):
        return None
    found = rows_of(weight, index)
    result = weight.like((math.prod(offsets.shape), weight.shape[1]))
    return costs(float(found.numel), [index, offsets, found], [result], dtype=weight.dtype)


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::embedding": lookup,
    "aten::index_select": selected,
    "aten::gather": gathered,
    "aten::scatter_add_": added,
    "aten::index_add_": added,
    "aten::embedding_dense_backward": backward,
    "aten::_embedding_bag": bags,
    "aten::_embedding_bag_forward_only": bags,
}
