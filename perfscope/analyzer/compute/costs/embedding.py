"""Indexed reads and additions: only the indexed rows and the index are moved. A read takes no
arithmetic.
"""

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors


def indexed_rows(weight: Tensor, index: Tensor) -> Tensor:
    """Return the rows of a table [rows, ...] that an index of any shape selects."""
    return weight.like((*index.shape, *weight.shape[1:]))


def embedding_cost(call: Call) -> Cost | None:
    """Return the cost of embedding(weight, index)."""
    weight, index = call.tensor(0), call.tensor(1)
    if weight is None or index is None or not weight.shape:
        return None
    rows = indexed_rows(weight, index)
    return cost_of_tensors(0.0, [index, rows], [rows], dtype=weight.dtype)


def index_select_cost(call: Call) -> Cost | None:
    """Return the cost of index_select(x, dimension, index)."""
    x, dim, index = call.tensor(0), call.value(1), call.tensor(2)
    if x is None or index is None or type(dim) is not int:
        return None
    rank = len(x.shape)
    if not -rank <= dim < rank:
        return None
    sizes = list(x.shape)
    sizes[dim] = index.numel
    selected = x.like(tuple(sizes))
    return cost_of_tensors(0.0, [index, selected], [selected], dtype=x.dtype)


def gather_cost(call: Call) -> Cost | None:
    """Return the cost of gather(x, dimension, index): one element per element of the index."""
    x, index = call.tensor(0), call.tensor(2)
    if x is None or index is None:
        return None
    gathered = x.like(index.shape)
    return cost_of_tensors(0.0, [index, gathered], [gathered], dtype=x.dtype)


def scatter_add_cost(call: Call) -> Cost | None:
    """Return the cost of scatter_add_ or index_add_(x, dimension, index, source).

    The elements that are added to are read and written.
    """
    x, index, source = call.tensor(0), call.tensor(2), call.tensor(3)
    if x is None or index is None or source is None:
        return None
    reads = [index, source, source]
    written = source.like(dtype=x.dtype)
    return cost_of_tensors(float(source.numel), reads, [written], dtype=x.dtype)


def embedding_backward_cost(call: Call) -> Cost | None:
    """Return the cost of embedding_dense_backward(gradient, index, rows).

    The gradient of the whole table is written.
    """
    grad, index, rows = call.tensor(0), call.tensor(1), call.value(2)
    if grad is None or index is None or type(rows) is not int or not grad.shape:
        return None
    table = grad.like((rows, grad.shape[-1]))
    return cost_of_tensors(float(grad.numel), [grad, index], [table], dtype=grad.dtype)


def embedding_bag_cost(call: Call) -> Cost | None:
    """Return the cost of _embedding_bag(weight, index, offsets): rows are summed per offset."""
    weight, index, offsets = call.tensor(0), call.tensor(1), call.tensor(2)
    if weight is None or index is None or offsets is None:
        return None
    if len(weight.shape) != 2 or len(index.shape) != 1:
        return None
    rows = indexed_rows(weight, index)
    sums = weight.like((offsets.numel, weight.shape[1]))
    reads = [index, offsets, rows]
    return cost_of_tensors(float(rows.numel), reads, [sums], dtype=weight.dtype)


MODELS: dict[str, CostModel] = {
    "aten::embedding": embedding_cost,
    "aten::index_select": index_select_cost,
    "aten::gather": gather_cost,
    "aten::scatter_add_": scatter_add_cost,
    "aten::index_add_": scatter_add_cost,
    "aten::embedding_dense_backward": embedding_backward_cost,
    "aten::_embedding_bag": embedding_bag_cost,
    "aten::_embedding_bag_forward_only": embedding_bag_cost,
}
