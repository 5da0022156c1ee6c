"""Recurrent layers that run as one operator: at each element of each sequence two products, of the
input's and the state's.

The weights of all gates lie in one matrix each, [gates * hidden, input] and [gates * hidden,
hidden], so their elements are the multiplications of one step. The gates' own elementwise functions
are not counted. What training keeps for its backward is not among the traffic: its size is oneDNN's
own.
"""

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs


def products(call: Call) -> tuple[Tensor, float] | None:
    """The input, and the FLOPs of a forward pass over it."""
    x, of_input, of_state = (call.tensor(at) for at in range(3))
    if (
        x is None
        or of_input is None
        or of_state is None
        or not x.shape
        or x.shape[-1] != of_input.shape[-1]
    ):
        return None
    elements = x.numel / max(x.shape[-1], 1)
    return x, 2.0 * elements * (of_input.numel + of_state.numel)


def forward(call: Call) -> Cost | None:
    """input, two weights, two biases, both states."""
    found, state = products(call), call.tensor(5)
    if found is None or state is None or not state.shape:
        return None
    x, flops = found
    out = x.like((*x.shape[:-1], state.shape[-1]))
    read = [call.tensor(at) for at in range(7)]
    return costs(flops, read, [out, *read[5:]], dtype=x.dtype, matrix=True)


def backward(call: Call) -> Cost | None:
    """The same seven, what forward returned and the gradients of that; for each product two: of its
    input and of its weight.
    """
    found = products(call)
    if found is None:
        return None
    x, flops = found
    read = [call.tensor(at) for at in range(13)]
    return costs(2.0 * flops, read, read[:7], dtype=x.dtype, matrix=True)


MODELS = {"aten::mkldnn_rnn_layer": forward, "aten::mkldnn_rnn_layer_backward": backward}
