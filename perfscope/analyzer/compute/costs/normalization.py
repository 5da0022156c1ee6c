"""Normalisation: the input is read once and the result written, beside the small tensors of its
channels or rows.

Operations an element: mean 1, deviation 1, square and sum 2, scaling 1, weight and bias 2; an RMS
norm has no mean and no bias. Backward: both sums over gradient and input (4), and the gradient of
the input from them (6).
"""

from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, costs

WITH_MEAN, WITHOUT_MEAN, APPLIED, BACKWARD = 7, 4, 4, 10


def forward(
    call: Call, *, small: tuple[int, ...], operations: int = WITH_MEAN, at: int = 0
) -> Cost | None:
    """The input stands at `at`, weights, biases and statistics at `small`."""
    x = call.tensor(at)
    if x is None:
        return None
    return costs(
        float(operations * x.numel),
        [x, *(call.tensor(one) for one in small)],
        [x.like()],
        dtype=x.dtype,
    )


def backward(call: Call, *, small: tuple[int, ...]) -> Cost | None:
    """Gradient and input come first, in either order."""
    grad, x = call.tensor(0), call.tensor(1)
    if grad is None or x is None or grad.shape != x.shape:
        return None
    read = [call.tensor(one) for one in small]
    return costs(float(BACKWARD * x.numel), [grad, x, *read], [x.like()], dtype=x.dtype)


def vllm_rms(call: Call) -> Cost | None:
    """_C::rms_norm(result, input, weight, eps)."""
    out, x, weight = call.tensor(0), call.tensor(1), call.tensor(2)
    return (
        None
        if x is None or out is None
        else costs(4.0 * x.numel, [x, weight], [out], dtype=x.dtype)
    )


def vllm_added_rms(call: Call) -> Cost | None:
    """_C::fused_add_rms_norm(input, residual, weight, eps): both are read and written."""
    x, residual, weight = call.tensor(0), call.tensor(1), call.tensor(2)
    if x is None or residual is None:
        return None
    return costs(5.0 * x.numel, [x, residual, weight], [x, residual], dtype=x.dtype)


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::native_layer_norm": partial(forward, small=(2, 3)),
    "aten::native_group_norm": partial(forward, small=(1, 2)),
    "aten::native_batch_norm": partial(forward, small=(1, 2, 3, 4)),
    "aten::_native_batch_norm_legit": partial(forward, small=(1, 2, 3, 4)),
    "aten::_batch_norm_with_update": partial(forward, small=(1, 2, 3, 4)),
    "aten::cudnn_batch_norm": partial(forward, small=(1, 2, 3, 4)),
    "aten::miopen_batch_norm": partial(forward, small=(1, 2, 3, 4)),
    "aten::batch_norm_elemt": partial(forward, small=(1, 2, 3, 4), operations=APPLIED),
    "aten::_fused_rms_norm": partial(forward, small=(2,), operations=WITHOUT_MEAN),
    "aten::native_layer_norm_backward": partial(backward, small=(3, 4, 5)),
    "aten::native_group_norm_backward": partial(backward, small=(2, 3, 4)),
    "aten::native_batch_norm_backward": partial(backward, small=(2, 5, 6)),
    "aten::batch_norm_backward": partial(backward, small=(2, 5, 6)),
    "aten::cudnn_batch_norm_backward": partial(backward, small=(2, 5, 6)),
    "aten::miopen_batch_norm_backward": partial(backward, small=(2, 5, 6)),
    "aten::batch_norm_backward_elemt": partial(backward, small=(2, 3, 4, 5, 6)),
    "aten::_fused_rms_norm_backward": partial(backward, small=(3, 4)),
    "_C::rms_norm": vllm_rms,
    "_C::fused_add_rms_norm": vllm_added_rms,
}
