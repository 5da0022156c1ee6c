"""What only moves: copies, fills, joins, padding, random numbers, pooling. Traffic without
arithmetic.
"""

from collections.abc import Callable

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs


def copied(call: Call) -> Cost | None:
    """copy_(to, from): each side has its own type; the source may be expanded."""
    to, source = call.tensor(0), call.tensor(1)
    return None if to is None or source is None else costs(0.0, [source], [to], dtype=to.dtype)


def cloned(call: Call) -> Cost | None:
    x = call.tensor(0)
    return None if x is None else costs(0.0, [x], [x.like()], dtype=x.dtype)


def filled(call: Call) -> Cost | None:
    """fill_, zero_ and random numbers: only written."""
    x = call.tensor(0)
    return None if x is None else costs(0.0, [], [x], dtype=x.dtype)


def joined(call: Call) -> Cost | None:
    """cat, stack: all are read, and written behind each other."""
    parts = call.tensor_list(0)
    return (
        None
        if not parts
        else costs(0.0, parts, [one.like() for one in parts], dtype=parts[0].dtype)
    )


def all_copied(call: Call) -> Cost | None:
    """_foreach_copy_(to, from)."""
    to, source = call.tensor_list(0), call.tensor_list(1)
    return None if not to or len(to) != len(source) else costs(0.0, source, to, dtype=to[0].dtype)


def all_filled(call: Call) -> Cost | None:
    """_foreach_zero_."""
    parts = call.tensor_list(0)
    return None if not parts else costs(0.0, [], parts, dtype=parts[0].dtype)


def padded(call: Call) -> Cost | None:
    """constant_pad_nd(x, [before, after] from the last dimension on)."""
    x, pads = call.tensor(0), call.value(1)
    if x is None or not isinstance(pads, list) or not all(type(one) is int for one in pads):
        return None
    if len(pads) % 2 or len(pads) > 2 * len(x.shape):
        return None
    sizes = list(x.shape)
    for at in range(len(pads) // 2):
        sizes[-1 - at] += pads[2 * at] + pads[2 * at + 1]
    return costs(0.0, [x], [x.like(tuple(sizes))], dtype=x.dtype) if min(sizes) >= 0 else None


def dropped(call: Call) -> Cost | None:
    """native_dropout(x, p, train): the result and its mask are written."""
    x = call.tensor(0)
    return (
        None
        if x is None
        else costs(2.0 * x.numel, [x], [x.like(), x.like(dtype="bool")], dtype=x.dtype)
    )


def pooled(call: Call) -> Cost | None:
    """max_pool2d_with_indices, avg_pool2d(x, kernel, stride, padding): an operation for each
    element of each window.
    """
    x = call.tensor(0)
    window, pads = call.numbers(1, 2), call.numbers(3, 2)
    if x is None or window is None or pads is None or len(x.shape) < 3:
        return None
    steps = window if call.value(2) == [] else call.numbers(2, 2)
    if (
        steps is None or min(*steps, *window) < 1 or True in (call.value(4), call.value(5))
    ):  # rounded up: another size
        return None
    sizes = [
        (n + 2 * p - k) // s + 1
        for n, k, s, p in zip(x.shape[-2:], window, steps, pads, strict=True)
    ]
    if min(sizes) < 1:
        return None
    result = x.like((*x.shape[:-2], *sizes))
    written: list[Tensor] = [result]
    if call.name.endswith("_with_indices"):
        written.append(result.like(dtype="int64"))
    return costs(float(result.numel * window[0] * window[1]), [x], written, dtype=x.dtype)


def pooled_backward(call: Call) -> Cost | None:
    """pool_backward(grad, x, ...): the gradient of the input is written; the places of maxima are
    read where there are any.
    """
    grad, x = call.tensor(0), call.tensor(1)
    if grad is None or x is None:
        return None
    places = call.tensor(7) if call.name.startswith("aten::max_pool2d") else None
    return costs(float(grad.numel), [grad, places], [x.like()], dtype=x.dtype)


def adaptive(call: Call) -> Cost | None:
    """_adaptive_avg_pool2d(x, [height, width])."""
    x, sizes = call.tensor(0), call.numbers(1, 2)
    if x is None or sizes is None or len(x.shape) < 3:
        return None
    return costs(float(x.numel), [x], [x.like((*x.shape[:-2], *sizes))], dtype=x.dtype)


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
Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::copy_": copied,
    **{
        f"aten::{name}": cloned
        for name in ("clone", "contiguous", "roll", "flip", "tril", "triu", "tril_", "triu_")
    },
    **{f"aten::{name}": filled for name in FILLS},
    "aten::cat": joined,
    "aten::stack": joined,
    "aten::_foreach_copy_": all_copied,
    "aten::_foreach_zero_": all_filled,
    "aten::constant_pad_nd": padded,
    "aten::native_dropout": dropped,
    "aten::max_pool2d_with_indices": pooled,
    "aten::avg_pool2d": pooled,
    "aten::max_pool2d_with_indices_backward": pooled_backward,
    "aten::avg_pool2d_backward": pooled_backward,
    "aten::_adaptive_avg_pool2d": adaptive,
    "aten::_adaptive_avg_pool2d_backward": pooled_backward,
}
