"""Operators that mostly move data: copies, fills, concatenation, padding, dropout and pooling."""

from collections.abc import Sequence

from perfscope.analyzer.compute.costs.call import Call, Tensor, int_tuple
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors


def copy_cost(call: Call) -> Cost | None:
    """Return the cost of copy_(target, source): types may differ, the source may be expanded."""
    target, source = call.tensor(0), call.tensor(1)
    if target is None or source is None:
        return None
    return cost_of_tensors(0.0, [source], [target], dtype=target.dtype)


def clone_cost(call: Call) -> Cost | None:
    """Return the cost of clone(x) and of other operators that copy each element once."""
    x = call.tensor(0)
    if x is None:
        return None
    return cost_of_tensors(0.0, [x], [x.like()], dtype=x.dtype)


def fill_cost(call: Call) -> Cost | None:
    """Return the cost of fill_, zero_ or random numbers, which only write."""
    x = call.tensor(0)
    if x is None:
        return None
    return cost_of_tensors(0.0, [], [x], dtype=x.dtype)


def concatenation_cost(call: Call) -> Cost | None:
    """Return the cost of cat or stack(tensors): all of them are read, and written together."""
    parts = call.tensor_list(0)
    if not parts:
        return None
    return cost_of_tensors(0.0, parts, [part.like() for part in parts], dtype=parts[0].dtype)


def foreach_copy_cost(call: Call) -> Cost | None:
    """Return the cost of _foreach_copy_(targets, sources)."""
    targets, sources = call.tensor_list(0), call.tensor_list(1)
    if not targets or len(targets) != len(sources):
        return None
    return cost_of_tensors(0.0, sources, targets, dtype=targets[0].dtype)


def foreach_zero_cost(call: Call) -> Cost | None:
    """Return the cost of _foreach_zero_(tensors)."""
    tensors = call.tensor_list(0)
    if not tensors:
        return None
    return cost_of_tensors(0.0, [], tensors, dtype=tensors[0].dtype)


def pad_cost(call: Call) -> Cost | None:
    """Return the cost of constant_pad_nd(x, pads).

    `pads` has two numbers per dimension, before and after, and begins with the last dimension.
    """
    x, pads = call.tensor(0), int_tuple(call.value(1))
    if x is None or pads is None:
        return None
    if len(pads) % 2 or len(pads) > 2 * len(x.shape):
        return None
    sizes = list(x.shape)
    for number in range(len(pads) // 2):
        sizes[-1 - number] += pads[2 * number] + pads[2 * number + 1]
    if min(sizes) < 0:
        return None
    return cost_of_tensors(0.0, [x], [x.like(tuple(sizes))], dtype=x.dtype)


def dropout_cost(call: Call) -> Cost | None:
    """Return the cost of native_dropout(x, p, train), which writes the result and its mask."""
    x = call.tensor(0)
    if x is None:
        return None
    written = [x.like(), x.like(dtype="bool")]
    return cost_of_tensors(2.0 * x.numel, [x], written, dtype=x.dtype)


def pool_cost(call: Call) -> Cost | None:
    """Return the cost of avg_pool2d or max_pool2d_with_indices(x, kernel, stride, padding, ...).

    One operation per element of each window. By default, the stride is the size of the kernel.
    """
    x = call.tensor(0)
    kernel, padding = call.numbers(1, 2), call.numbers(3, 2)
    if x is None or kernel is None or padding is None or len(x.shape) < 3:
        return None
    stride = kernel if call.value(2) == [] else call.numbers(2, 2)
    rounds_up = True in (call.value(4), call.value(5))  # the size of the result is not known then
    if stride is None or rounds_up or min(*stride, *kernel) < 1:
        return None
    sizes = pool_output_sizes(x.shape[-2:], kernel, stride, padding)
    if min(sizes) < 1:
        return None
    result = x.like((*x.shape[:-2], *sizes))
    written: list[Tensor] = [result]
    if call.name.endswith("_with_indices"):
        written.append(result.like(dtype="int64"))
    flops = float(result.numel * kernel[0] * kernel[1])
    return cost_of_tensors(flops, [x], written, dtype=x.dtype)


def pool_output_sizes(
    image: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """Return the size of the result in each dimension."""
    dims = zip(image, kernel, stride, padding, strict=True)
    return [(size + 2 * pad - window) // step + 1 for size, window, step, pad in dims]


def pool_backward_cost(call: Call) -> Cost | None:
    """Return the cost of a backward pass of pooling (gradient, x, ...).

    The gradient of the input is written. Max pooling also reads the indices of the maxima.
    """
    grad, x = call.tensor(0), call.tensor(1)
    if grad is None or x is None:
        return None
    indices = call.tensor(7) if call.name.startswith("aten::max_pool2d") else None
    return cost_of_tensors(float(grad.numel), [grad, indices], [x.like()], dtype=x.dtype)


def adaptive_pool_cost(call: Call) -> Cost | None:
    """Return the cost of _adaptive_avg_pool2d(x, [height, width])."""
    x, sizes = call.tensor(0), call.numbers(1, 2)
    if x is None or sizes is None or len(x.shape) < 3:
        return None
    result = x.like((*x.shape[:-2], *sizes))
    return cost_of_tensors(float(x.numel), [x], [result], dtype=x.dtype)


CLONES = ("clone", "contiguous", "roll", "flip", "tril", "triu", "tril_", "triu_")
FILLS = (
    "fill_",
    "zero_",
    "normal_",
    "uniform_",
    "random_",
    "bernoulli_",
    "exponential_",
    "ones_",
    "eye_",
)
MODELS: dict[str, CostModel] = {
    "aten::copy_": copy_cost,
    **{f"aten::{name}": clone_cost for name in CLONES},
    **{f"aten::{name}": fill_cost for name in FILLS},
    "aten::cat": concatenation_cost,
    "aten::stack": concatenation_cost,
    "aten::_foreach_copy_": foreach_copy_cost,
    "aten::_foreach_zero_": foreach_zero_cost,
    "aten::constant_pad_nd": pad_cost,
    "aten::native_dropout": dropout_cost,
    "aten::max_pool2d_with_indices": pool_cost,
    "aten::avg_pool2d": pool_cost,
    "aten::max_pool2d_with_indices_backward": pool_backward_cost,
    "aten::avg_pool2d_backward": pool_backward_cost,
    "aten::_adaptive_avg_pool2d": adaptive_pool_cost,
    "aten::_adaptive_avg_pool2d_backward": pool_backward_cost,
}
