"""Convolutions: each output element takes 2 x (input channels of its group) x (kernel elements)
operations.

A transposed one does the same work seen from the other side: each *input* element meets the kernel
once for each output channel of its group. The backward computes up to three gradients: of the input
and of the weight, each as dear as the forward, and of the bias, whose sum, as the forward's
additions, is not counted.
"""

import math
from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs

Sizes = tuple[int, ...]


def forward(
    call: Call,
    *,
    bias: int | None,
    stride: int,
    padding: int,
    dilation: int | None,
    groups: int | None,
    transposed: int | None = None,
    output_padding: int | None = None,
    always_transposed: bool = False,
) -> Cost | None:
    """By the places of the arguments; None for one that the operator does not have."""
    x, weight = call.tensor(0), call.tensor(1)
    if x is None or weight is None or len(x.shape) != len(weight.shape) or len(x.shape) < 3:
        return None
    dims = len(x.shape) - 2
    turned = always_transposed or (call.value(transposed) if transposed is not None else False)
    number = call.value(groups) if groups is not None else 1
    steps, pads = call.numbers(stride, dims), call.numbers(padding, dims)
    spread = (1,) * dims if dilation is None else call.numbers(dilation, dims)
    extra = (0,) * dims if output_padding is None else call.numbers(output_padding, dims)
    if (
        not isinstance(turned, bool)
        or type(number) is not int
        or None in (steps, pads, spread, extra)
    ):
        return None
    assert steps is not None and pads is not None and spread is not None and extra is not None
    sizes = output_sizes(
        x.shape[2:], weight.shape[2:], steps, pads, spread, extra if turned else None
    )
    if sizes is None:
        return None
    result = x.like((x.shape[0], weight.shape[1] * number if turned else weight.shape[0], *sizes))
    added = call.tensor(bias) if bias is not None else None
    flops = products(x, weight, result, transposed=turned)
    return costs(flops, [x, weight, added], [result], dtype=x.dtype, matrix=True)


def products(x: Tensor, weight: Tensor, result: Tensor, *, transposed: bool) -> float:
    """Operations of the products alone."""
    meets = x.numel if transposed else result.numel
    return 2.0 * meets * weight.shape[1] * math.prod(weight.shape[2:])


def output_sizes(
    x: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    output_padding: Sizes | None,
) -> Sizes | None:
    """Of each dimension; with `output_padding` of a transposed one. None where a stride or the
    result is not above 0.
    """
    if min(stride) < 1:
        return None
    each = zip(x, kernel, stride, padding, dilation, output_padding or (0,) * len(x), strict=True)
    if output_padding is None:
        found = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in each)
    else:
        found = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in each)
    return found if min(found) > 0 else None


def backward(call: Call) -> Cost | None:
    """convolution_backward(grad, input, weight, bias sizes, ..., transposed at 7, which gradients
    at 10).
    """
    grad, x, weight, turned, asked = (
        call.tensor(0),
        call.tensor(1),
        call.tensor(2),
        call.value(7),
        call.value(10),
    )
    if (
        grad is None
        or x is None
        or weight is None
        or not isinstance(turned, bool)
        or not isinstance(asked, list)
    ):
        return None
    if len(asked) != 3 or not all(isinstance(one, bool) for one in asked) or len(weight.shape) < 3:
        return None
    of_input, of_weight, of_bias = asked
    one = products(x, weight, grad, transposed=turned)
    flops = one * (of_input + of_weight)
    reads = [grad, weight if of_input else None, x if of_weight else None]
    channels = grad.like((grad.shape[1],)) if len(grad.shape) > 1 else None
    writes = [
        x.like() if of_input else None,
        weight.like() if of_weight else None,
        channels if of_bias else None,
    ]
    return costs(flops, reads, writes, dtype=grad.dtype, matrix=True)


Model = Callable[[Call], Cost | None]
plain = partial(
    forward, bias=2, stride=3, padding=4, dilation=5, groups=8, transposed=6, output_padding=7
)
by_kernel_size = partial(forward, bias=3, stride=4, padding=5, groups=None)
MODELS: dict[str, Model] = {
    "aten::convolution": plain,
    "aten::_convolution": plain,
    "aten::cudnn_convolution": partial(
        forward, bias=None, padding=2, stride=3, dilation=4, groups=5
    ),
    "aten::miopen_convolution": partial(forward, bias=2, padding=3, stride=4, dilation=5, groups=6),
    "aten::mkldnn_convolution": partial(forward, bias=2, padding=3, stride=4, dilation=5, groups=6),
    "aten::_slow_conv2d_forward": partial(by_kernel_size, dilation=None),
    "aten::slow_conv3d_forward": partial(by_kernel_size, dilation=None),
    "aten::slow_conv_dilated2d": partial(by_kernel_size, dilation=6),
    "aten::slow_conv_dilated3d": partial(by_kernel_size, dilation=6),
    "aten::_conv_depthwise2d": partial(by_kernel_size, dilation=6),
    "aten::conv_depthwise3d": partial(by_kernel_size, dilation=6),
    "aten::miopen_depthwise_convolution": partial(
        forward, bias=2, padding=3, stride=4, dilation=5, groups=6
    ),
    "aten::cudnn_convolution_transpose": partial(
        forward,
        bias=None,
        padding=2,
        output_padding=3,
        stride=4,
        dilation=5,
        groups=6,
        always_transposed=True,
    ),
    "aten::miopen_convolution_transpose": partial(
        forward,
        bias=2,
        padding=3,
        output_padding=4,
        stride=5,
        dilation=6,
        groups=7,
        always_transposed=True,
    ),
    "aten::convolution_backward": backward,
}
