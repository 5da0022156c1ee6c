"""Normalization: the input is read once and the result is written, with the small tensors of
channels or rows.

Operations per element: mean 1, deviation 1, square and sum 2, scaling 1, weight and bias 2. An RMS
norm has no mean and no bias. Backward: both sums over gradient and input 4, and the gradient of the
input from these sums 6.
"""

from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

WITH_MEAN, WITHOUT_MEAN, APPLIED, BACKWARD = 7, 4, 4, 10
"""Operations per element: statistics and scaling with a mean, without, scaling only, backward."""


def norm_layer_cost(
    call: Call, *, small: tuple[int, ...], operations: int = WITH_MEAN
) -> Cost | None:
    """Return the cost of a norm. `small`: positions of weight, bias and statistics."""
    x = call.tensor(0)
    if x is None:
        return None
    reads = [x, *(call.tensor(position) for position in small)]
    return cost_of_tensors(float(operations * x.numel), reads, [x.like()], dtype=x.dtype)


def norm_layer_backward_cost(call: Call, *, small: tuple[int, ...]) -> Cost | None:
    """Return the cost of a backward pass, whose arguments begin with gradient and input.

    Some operators have these two in the other order, which has the same cost.
    """
    grad, x = call.tensor(0), call.tensor(1)
    if grad is None or x is None or grad.shape != x.shape:
        return None
    reads = [grad, x, *(call.tensor(position) for position in small)]
    return cost_of_tensors(float(BACKWARD * x.numel), reads, [x.like()], dtype=x.dtype)


def vllm_rms_norm_cost(call: Call) -> Cost | None:
    """Return the cost of _C::rms_norm(result, input, weight, eps)."""
    result, x, weight = call.tensor(0), call.tensor(1), call.tensor(2)
    if x is None or result is None:
        return None
    return cost_of_tensors(4.0 * x.numel, [x, weight], [result], dtype=x.dtype)


def vllm_add_rms_norm_cost(call: Call) -> Cost | None:
    """Return the cost of _C::fused_add_rms_norm(input, residual, weight, eps).

    Input and residual are both read and written.
    """
    x, residual, weight = call.tensor(0), call.tensor(1), call.tensor(2)
    if x is None or residual is None:
        return None
    reads = [x, residual, weight]
    return cost_of_tensors(5.0 * x.numel, reads, [x, residual], dtype=x.dtype)


batch_norm_cost = partial(norm_layer_cost, small=(1, 2, 3, 4))
batch_norm_backward_cost = partial(norm_layer_backward_cost, small=(2, 5, 6))
MODELS: dict[str, CostModel] = {
    "aten::native_layer_norm": partial(norm_layer_cost, small=(2, 3)),
    "aten::native_group_norm": partial(norm_layer_cost, small=(1, 2)),
    "aten::native_batch_norm": batch_norm_cost,
    "aten::_native_batch_norm_legit": batch_norm_cost,
    "aten::_batch_norm_with_update": batch_norm_cost,
    "aten::cudnn_batch_norm": batch_norm_cost,
    "aten::miopen_batch_norm": batch_norm_cost,
    "aten::batch_norm_elemt": partial(batch_norm_cost, operations=APPLIED),
    "aten::_fused_rms_norm": partial(norm_layer_cost, small=(2,), operations=WITHOUT_MEAN),
    "aten::native_layer_norm_backward": partial(norm_layer_backward_cost, small=(3, 4, 5)),
    "aten::native_group_norm_backward": partial(norm_layer_backward_cost, small=(2, 3, 4)),
    "aten::native_batch_norm_backward": batch_norm_backward_cost,
    "aten::batch_norm_backward": batch_norm_backward_cost,
    "aten::cudnn_batch_norm_backward": batch_norm_backward_cost,
    "aten::miopen_batch_norm_backward": batch_norm_backward_cost,
    "aten::batch_norm_backward_elemt": partial(norm_layer_backward_cost, small=(2, 3, 4, 5, 6)),
    "aten::_fused_rms_norm_backward": partial(norm_layer_backward_cost, small=(3, 4)),
    "_C::rms_norm": vllm_rms_norm_cost,
    "_C::fused_add_rms_norm": vllm_add_rms_norm_cost,
}
