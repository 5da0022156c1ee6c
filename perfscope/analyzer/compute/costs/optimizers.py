"""Fused optimizer steps: every list is read, and every list but the gradients is written.

A trace does not contain the types of tensors in lists. They are those of the gradients that
autograd accumulated, if these all have one type (see `call_costs`). The operations per element
follow from the formula of the update. For Adam: two moments 6, bias corrections and step 6, decay
2.
"""

from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

GRADIENTS = 1


def optimizer_step_cost(call: Call, *, lists: int, operations: int) -> Cost | None:
    """Return the cost of a step, None if the lists have different shapes.

    The first `lists` arguments are lists with a tensor per parameter, or empty if not used.
    """
    parameters = call.tensor_list(0)
    if not parameters:
        return None
    shapes = [tensor.shape for tensor in parameters]
    read, written = [], []
    for position in range(lists):
        tensors = call.tensor_list(position)
        if tensors and [tensor.shape for tensor in tensors] != shapes:
            return None
        read += tensors
        if position != GRADIENTS:
            written += tensors
    flops = float(operations * sum(tensor.numel for tensor in parameters))
    return cost_of_tensors(flops, read, written, dtype=parameters[0].dtype)


MODELS: dict[str, CostModel] = {
    "aten::_fused_adam_": partial(optimizer_step_cost, lists=5, operations=12),
    "aten::_fused_adamw_": partial(optimizer_step_cost, lists=5, operations=14),
    "aten::_fused_sgd_": partial(optimizer_step_cost, lists=3, operations=4),
    "aten::_fused_adagrad_": partial(optimizer_step_cost, lists=3, operations=6),
}
