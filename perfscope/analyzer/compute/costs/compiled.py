"""Kernels that torch.compile writes in Triton: each tensor that it is given moves once; its
arithmetic is not known.

A kernel that looks rows up is given whole tables, and a template (a product, an attention) does
more than its operands tell: these get no cost.
"""

import re

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs

POINTWISE = re.compile(r"^triton_(poi|red|per)_fused_")
PARTIAL = re.compile(r"embedding|gather|index|scatter|slice|cat")


def fused(call: Call) -> Cost | None:
    """What is written is among the arguments too and cannot be told from what is read: the sum is
    right, not the halves.
    """
    moved = [one for one in call.tensors if isinstance(one, Tensor)]
    if PARTIAL.search(call.name) or not moved:
        return None
    return costs(None, moved, [], dtype=moved[0].dtype)
