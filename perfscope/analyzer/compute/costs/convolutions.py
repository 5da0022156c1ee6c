"""Convolutions: each output element takes 2 x (input channels of its group) x (kernel elements)
operations.

A transposed convolution does the same work in the other direction: each *input* element is
multiplied with the kernel once for each output channel of its group. The backward pass computes up
to three gradients. Those of the input and of the weight each cost as much as the forward pass. That
of the bias is a sum, which is not counted, as the addition of the bias is not counted forward.
"""

import math
from dataclasses import dataclass
from functools import partial

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class ConvolutionArguments:
    """The positions of the arguments of a convolution, None for those that it does not have.

    `transposed` is the position of the flag; `always_transposed` is set for operators that have no
    flag and only compute transposed convolutions.
    """

    stride: int
    padding: int
    bias: int | None = None
    dilation: int | None = None
    groups: int | None = None
    transposed: int | None = None
    output_padding: int | None = None
    always_transposed: bool = False


@dataclass(frozen=True)
class ConvolutionSettings:
    """The settings of one call, sizes with a number per dimension of the image."""

    stride: Sizes
    padding: Sizes
    dilation: Sizes
    output_padding: Sizes
    groups: int
    transposed: bool


def convolution_cost(call: Call, *, arguments: ConvolutionArguments) -> Cost | None:
    """Return the cost of a convolution, whose arguments begin with input and weight."""
    x, weight = call.tensor(0), call.tensor(1)
    if x is None or weight is None or len(x.shape) != len(weight.shape) or len(x.shape) < 3:
        return None
    settings = convolution_settings(call, arguments, dims=len(x.shape) - 2)
    if settings is None:
        return None
    sizes = output_sizes(x.shape[2:], weight.shape[2:], settings)
    if sizes is None:
        return None
    transposed = settings.transposed
    channels = weight.shape[1] * settings.groups if transposed else weight.shape[0]
    result = x.like((x.shape[0], channels, *sizes))
    bias = None if arguments.bias is None else call.tensor(arguments.bias)
    flops = convolution_flops(x, weight, result, transposed=transposed)
    return cost_of_tensors(flops, [x, weight, bias], [result], dtype=x.dtype, matrix=True)


def convolution_settings(
    call: Call, arguments: ConvolutionArguments, *, dims: int
) -> ConvolutionSettings | None:
    """Return the settings of a call, None if one of them was not recorded."""
    stride = call.numbers(arguments.stride, dims)
    padding = call.numbers(arguments.padding, dims)
    dilation: Sizes | None = (1,) * dims
    if arguments.dilation is not None:
        dilation = call.numbers(arguments.dilation, dims)
    output_padding: Sizes | None = (0,) * dims
    if arguments.output_padding is not None:
        output_padding = call.numbers(arguments.output_padding, dims)
    groups = 1 if arguments.groups is None else call.value(arguments.groups)
    transposed = arguments.always_transposed
    if not transposed and arguments.transposed is not None:
        transposed = call.value(arguments.transposed)
    if stride is None or padding is None or dilation is None or output_padding is None:
        return None
    if type(groups) is not int or not isinstance(transposed, bool):
        return None
    return ConvolutionSettings(
        stride=stride,
        padding=padding,
        dilation=dilation,
        output_padding=output_padding,
        groups=groups,
        transposed=transposed,
    )


def convolution_flops(x: Tensor, weight: Tensor, result: Tensor, *, transposed: bool) -> float:
    """Return the operations of the products, without the bias."""
    elements = x.numel if transposed else result.numel
    return 2.0 * elements * weight.shape[1] * math.prod(weight.shape[2:])


def output_sizes(image: Sizes, kernel: Sizes, settings: ConvolutionSettings) -> Sizes | None:
    """Return the size of the result in each dimension, None unless strides and sizes are positive.

    The formulas are those in torch's documentation of `Conv2d` and `ConvTranspose2d`.
    """
    if min(settings.stride) < 1:
        return None
    sizes = []
    for dim, (size, elements) in enumerate(zip(image, kernel, strict=True)):
        stride, padding = settings.stride[dim], settings.padding[dim]
        kernel_extent = settings.dilation[dim] * (elements - 1)
        if settings.transposed:
            inner = (size - 1) * stride - 2 * padding + kernel_extent
            sizes.append(inner + settings.output_padding[dim] + 1)
        else:
            inner = size + 2 * padding - kernel_extent - 1
            sizes.append(inner // stride + 1)
    return tuple(sizes) if min(sizes) > 0 else None


def convolution_backward_cost(call: Call) -> Cost | None:
    """Return the cost of convolution_backward(gradient, input, weight, ...).

    Argument 7 is whether the convolution is transposed. Argument 10 is which of three gradients to
    compute: input, weight, bias.
    """
    grad, x, weight = call.tensor(0), call.tensor(1), call.tensor(2)
    transposed, wanted = call.value(7), call.value(10)
    if grad is None or x is None or weight is None or len(weight.shape) < 3:
        return None
    if not isinstance(transposed, bool) or not isinstance(wanted, list) or len(wanted) != 3:
        return None
    if not all(isinstance(flag, bool) for flag in wanted):
        return None
    for_input, for_weight, for_bias = wanted
    flops_per_gradient = convolution_flops(x, weight, grad, transposed=transposed)
    flops = flops_per_gradient * (for_input + for_weight)
    reads = [grad, weight if for_input else None, x if for_weight else None]
    bias = grad.like((grad.shape[1],)) if len(grad.shape) > 1 else None
    writes = [
        x.like() if for_input else None,
        weight.like() if for_weight else None,
        bias if for_bias else None,
    ]
    return cost_of_tensors(flops, reads, writes, dtype=grad.dtype, matrix=True)


GENERAL = ConvolutionArguments(
    bias=2, stride=3, padding=4, dilation=5, groups=8, transposed=6, output_padding=7
)
WITH_KERNEL_SIZE = ConvolutionArguments(bias=3, stride=4, padding=5)
DILATED_WITH_KERNEL_SIZE = ConvolutionArguments(bias=3, stride=4, padding=5, dilation=6)
WITH_BIAS = ConvolutionArguments(bias=2, padding=3, stride=4, dilation=5, groups=6)
ARGUMENTS = {
    "aten::convolution": GENERAL,
    "aten::_convolution": GENERAL,
    "aten::cudnn_convolution": ConvolutionArguments(padding=2, stride=3, dilation=4, groups=5),
    "aten::miopen_convolution": WITH_BIAS,
    "aten::mkldnn_convolution": WITH_BIAS,
    "aten::_slow_conv2d_forward": WITH_KERNEL_SIZE,
    "aten::slow_conv3d_forward": WITH_KERNEL_SIZE,
    "aten::slow_conv_dilated2d": DILATED_WITH_KERNEL_SIZE,
    "aten::slow_conv_dilated3d": DILATED_WITH_KERNEL_SIZE,
    "aten::_conv_depthwise2d": DILATED_WITH_KERNEL_SIZE,
    "aten::conv_depthwise3d": DILATED_WITH_KERNEL_SIZE,
    "aten::miopen_depthwise_convolution": WITH_BIAS,
    "aten::cudnn_convolution_transpose": ConvolutionArguments(
        padding=2, output_padding=3, stride=4, dilation=5, groups=6, always_transposed=True
    ),
    "aten::miopen_convolution_transpose": ConvolutionArguments(
        bias=2, padding=3, output_padding=4, stride=5, dilation=6, groups=7, always_transposed=True
    ),
}
MODELS: dict[str, CostModel] = {
    **{name: partial(convolution_cost, arguments=found) for name, found in ARGUMENTS.items()},
    "aten::convolution_backward": convolution_backward_cost,
}
