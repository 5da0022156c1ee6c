"""Recurrent layers that run as one operator: two matrix products per element of each sequence, one
of the input and one of the state.

The weights of all gates are in two matrices, [gates * hidden, input] and [gates * hidden, hidden],
so the number of their elements is the number of multiplications per sequence element. The
elementwise functions of the gates are not counted. The buffer that training keeps for the backward
pass is not part of the traffic: oneDNN chooses its size.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

FORWARD_ARGUMENTS = 7
"""Input, two weights, two biases, two states."""
BACKWARD_ARGUMENTS = 13
"""Those of the forward pass, its three results, and their gradients."""


def recurrent_flops(call: Call) -> float | None:
    """Return the FLOPs of a forward pass, None if input and weights do not match."""
    x, input_weight, state_weight = (call.tensor(position) for position in range(3))
    if x is None or input_weight is None or state_weight is None:
        return None
    if not x.shape or x.shape[-1:] != input_weight.shape[-1:]:
        return None
    elements = x.numel / max(x.shape[-1], 1)
    return 2.0 * elements * (input_weight.numel + state_weight.numel)


def recurrent_cost(call: Call) -> Cost | None:
    """Return the cost of mkldnn_rnn_layer(input, two weights, two biases, two states)."""
    flops, x, state = recurrent_flops(call), call.tensor(0), call.tensor(5)
    if flops is None or x is None or state is None or not state.shape:
        return None
    arguments = [call.tensor(position) for position in range(FORWARD_ARGUMENTS)]
    result = x.like((*x.shape[:-1], state.shape[-1]))
    states = arguments[5:]
    return cost_of_tensors(flops, arguments, [result, *states], dtype=x.dtype, matrix=True)


def recurrent_backward_cost(call: Call) -> Cost | None:
    """Return the cost of mkldnn_rnn_layer_backward.

    Each product of the forward pass has two gradients: of its input and of its weight.
    """
    flops, x = recurrent_flops(call), call.tensor(0)
    if flops is None or x is None:
        return None
    arguments = [call.tensor(position) for position in range(BACKWARD_ARGUMENTS)]
    gradients = arguments[:FORWARD_ARGUMENTS]
    return cost_of_tensors(2.0 * flops, arguments, gradients, dtype=x.dtype, matrix=True)


MODELS: dict[str, CostModel] = {
    "aten::mkldnn_rnn_layer": recurrent_cost,
    "aten::mkldnn_rnn_layer_backward": recurrent_backward_cost,
}
