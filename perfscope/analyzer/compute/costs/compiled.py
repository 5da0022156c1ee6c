"""Kernels that torch.compile writes in Triton: each argument tensor is moved once, and the
arithmetic is not known.

Two sorts of kernels get no cost. A kernel that reads some rows of a table gets the whole table as
argument. A template (a matrix product, an attention) does more work than its operands show.
"""

import re

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, cost_of_tensors

FUSED_KERNEL = re.compile(r"^triton_(poi|red|per)_fused_")
PARTIAL_ACCESS = re.compile(r"embedding|gather|index|scatter|slice|cat")


def is_compiled(name: str) -> bool:
    """Return whether this is the name of a fused kernel of torch.compile."""
    return bool(FUSED_KERNEL.match(name))


def compiled_kernel_cost(call: Call) -> Cost | None:
    """Return the cost of a fused kernel, None if it accesses its arguments in part.

    Arguments that are written are counted as read: which ones they are is not recorded. The sum of
    the bytes is right, the two directions are not.
    """
    moved = [argument for argument in call.tensors if isinstance(argument, Tensor)]
    if PARTIAL_ACCESS.search(call.name) or not moved:
        return None
    return cost_of_tensors(None, moved, [], dtype=moved[0].dtype)
