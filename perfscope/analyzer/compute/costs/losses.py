"""Softmax and losses. Softmax takes five operations per element: maximum of its row, difference,
exponential, sum and division.
"""

from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

HALF_TO_FLOAT = 2
NOT_REDUCED = 0
"""The number of the reduction "none": the loss has one value per element."""


def softmax_cost(call: Call) -> Cost | None:
    """Return the cost of _softmax(x, dimension, half to float)."""
    x = call.tensor(0)
    if x is None:
        return None
    result = x.like(dtype="float32") if call.value(HALF_TO_FLOAT) is True else x.like()
    return cost_of_tensors(5.0 * x.numel, [x], [result], dtype=x.dtype)


def softmax_backward_cost(call: Call) -> Cost | None:
    """Return the cost of _softmax_backward_data(gradient, result, ...)."""
    grad, result = call.tensor(0), call.tensor(1)
    if grad is None or result is None:
        return None
    return cost_of_tensors(4.0 * result.numel, [grad, result], [grad.like()], dtype=result.dtype)


def nll_loss_cost(call: Call) -> Cost | None:
    """Return the cost of nll_loss_forward(x, target, weight, reduction).

    One element of each row is read.
    """
    x, target, reduction = call.tensor(0), call.tensor(1), call.value(3)
    if x is None or target is None or type(reduction) is not int:
        return None
    picked = x.like(target.shape)
    result = x.like(target.shape if reduction == NOT_REDUCED else ())
    return cost_of_tensors(2.0 * target.numel, [target, picked], [result], dtype=x.dtype)


def nll_loss_backward_cost(call: Call) -> Cost | None:
    """Return the cost of nll_loss_backward(gradient, x, target, ...).

    One element of each row is written. Another operator zeroes the gradient before.
    """
    grad, x, target = call.tensor(0), call.tensor(1), call.tensor(2)
    if grad is None or x is None or target is None:
        return None
    picked = x.like(target.shape)
    return cost_of_tensors(float(target.numel), [target, grad], [picked], dtype=x.dtype)


def pairwise_loss_cost(call: Call, *, operations: int) -> Cost | None:
    """Return the cost of a loss of two tensors of one shape, as mse_loss(x, target, reduction).

    The reduction is the first integer after the tensors: some losses have a weight before it.
    """
    x, target = call.tensor(0), call.tensor(1)
    reduction = next((value for value in call.values[2:] if type(value) is int), None)
    if x is None or target is None or reduction is None:
        return None
    loss = x.like(x.shape if reduction == NOT_REDUCED else ())
    return cost_of_tensors(float(operations * x.numel), [x, target], [loss], dtype=x.dtype)


def pairwise_loss_backward_cost(call: Call, *, operations: int) -> Cost | None:
    """Return the cost of a backward pass, as mse_loss_backward(gradient, x, target, ...).

    The gradient of a reduced loss is a single number.
    """
    grad, x, target = call.tensor(0), call.tensor(1), call.tensor(2)
    if grad is None or x is None or target is None:
        return None
    reads = [grad, x, target]
    return cost_of_tensors(float(operations * x.numel), reads, [x.like()], dtype=x.dtype)


MODELS: dict[str, CostModel] = {
    "aten::_softmax": softmax_cost,
    "aten::_log_softmax": softmax_cost,
    "aten::_softmax_backward_data": softmax_backward_cost,
    "aten::_log_softmax_backward_data": softmax_backward_cost,
    "aten::nll_loss_forward": nll_loss_cost,
    "aten::nll_loss2d_forward": nll_loss_cost,
    "aten::nll_loss_backward": nll_loss_backward_cost,
    "aten::nll_loss2d_backward": nll_loss_backward_cost,
    "aten::mse_loss": partial(pairwise_loss_cost, operations=3),
    "aten::smooth_l1_loss": partial(pairwise_loss_cost, operations=4),
    "aten::huber_loss": partial(pairwise_loss_cost, operations=4),
    "aten::binary_cross_entropy": partial(pairwise_loss_cost, operations=5),
    "aten::mse_loss_backward": partial(pairwise_loss_backward_cost, operations=3),
    "aten::smooth_l1_loss_backward": partial(pairwise_loss_backward_cost, operations=4),
    "aten::huber_loss_backward": partial(pairwise_loss_backward_cost, operations=4),
    "aten::binary_cross_entropy_backward": partial(pairwise_loss_backward_cost, operations=5),
}
