"""Updates of parameters in one call: every list is read, all but the gradients are written.

Lists come without types in a trace; they are those of the gradients that autograd accumulated,
where these agree (see `call_costs`). Operations an element, from the update's formula: Adam's two
moments 6, bias corrections and step 6, decay 2.
"""

from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, costs

GRADIENTS = 1


def update(call: Call, *, lists: int, operations: int) -> Cost | None:
    """The first `lists` arguments are lists of the parameters' length; one that is not used is
    empty.
    """
    found = [call.tensor_list(at) for at in range(lists)]
    if not found[0] or any(
        one and [t.shape for t in one] != [t.shape for t in found[0]] for one in found
    ):
        return None
    flops = float(operations * sum(one.numel for one in found[0]))
    written = [tensor for at, one in enumerate(found) if at != GRADIENTS for tensor in one]
    return costs(
        flops, [tensor for one in found for tensor in one], written, dtype=found[0][0].dtype
    )


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::_fused_adam_": partial(update, lists=5, operations=12),
    "aten::_fused_adamw_": partial(update, lists=5, operations=14),
    "aten::_fused_sgd_": partial(update, lists=3, operations=4),
    "aten::_fused_adagrad_": partial(update, lists=3, operations=6),
}
