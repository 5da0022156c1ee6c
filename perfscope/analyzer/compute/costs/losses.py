"""Softmax and losses. Softmax of an element: its row's maximum 1, difference 1, exponential 1, sum
1, division 1.
"""

from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, costs

HALF_TO_FLOAT = 2


def softmax(call: Call) -> Cost | None:
    x = call.tensor(0)
    if x is None:
        return None
    result = x.like(dtype="float32") if call.value(HALF_TO_FLOAT) is True else x.like()
    return costs(5.0 * x.numel, [x], [result], dtype=x.dtype)


def softmax_backward(call: Call) -> Cost | None:
    grad, out = call.tensor(0), call.tensor(1)
    return (
        None
        if grad is None or out is None
        else costs(4.0 * out.numel, [grad, out], [grad.like()], dtype=out.dtype)
    )


def picked(call: Call) -> Cost | None:
    """nll_loss_forward(x, target, weight, reduction): one element of each row is read."""
    x, target = call.tensor(0), call.tensor(1)
    if x is None or target is None:
        return None
    reduced = call.value(3)
    if type(reduced) is not int:
        return None
    result = x.like(target.shape if reduced == 0 else ())
    return costs(2.0 * target.numel, [target, x.like(target.shape)], [result], dtype=x.dtype)


def picked_backward(call: Call) -> Cost | None:
    """nll_loss_backward(grad, x, target, ...): one element of each row is written; zeroing is an
    operator of its own.
    """
    grad, x, target = call.tensor(0), call.tensor(1), call.tensor(2)
    if grad is None or x is None or target is None:
        return None
    return costs(float(target.numel), [target, grad], [x.like(target.shape)], dtype=x.dtype)


def between(call: Call, *, operations: int) -> Cost | None:
    """loss(x, target, reduction): two tensors, reduced or not."""
    x, target, reduced = call.tensor(0), call.tensor(1), call.value(2)
    reduced = (
        reduced
        if type(reduced) is int
        else next((one for one in call.values[2:] if type(one) is int), None)
    )
    if x is None or target is None or reduced is None:
        return None
    return costs(
        float(operations * x.numel),
        [x, target],
        [x.like(None if reduced == 0 else ())],
        dtype=x.dtype,
    )


def between_backward(call: Call, *, operations: int) -> Cost | None:
    """loss_backward(grad, x, target, ...): the gradient of the reduced loss is one number."""
    grad, x, target = call.tensor(0), call.tensor(1), call.tensor(2)
    if grad is None or x is None or target is None:
        return None
    return costs(float(operations * x.numel), [grad, x, target], [x.like()], dtype=x.dtype)


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::_softmax": softmax,
    "aten::_log_softmax": softmax,
    "aten::_softmax_backward_data": softmax_backward,
    "aten::_log_softmax_backward_data": softmax_backward,
    "aten::nll_loss_forward": picked,
    "aten::nll_loss2d_forward": picked,
    "aten::nll_loss_backward": picked_backward,
    "aten::nll_loss2d_backward": picked_backward,
    "aten::mse_loss": partial(between, operations=3),
    "aten::smooth_l1_loss": partial(between, operations=4),
    "aten::huber_loss": partial(between, operations=4),
    "aten::binary_cross_entropy": partial(between, operations=5),
    "aten::mse_loss_backward": partial(between_backward, operations=3),
    "aten::smooth_l1_loss_backward": partial(between_backward, operations=4),
    "aten::huber_loss_backward": partial(between_backward, operations=4),
    "aten::binary_cross_entropy_backward": partial(between_backward, operations=5),
}
