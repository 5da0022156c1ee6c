"""Collectives: the memory that a rank reads and writes. Links and peers limit their time, so no
roofline applies to them.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors


def symmetric_all_reduce_cost(call: Call) -> Cost | None:
    """Return the cost of an all-reduce of one tensor through the memory of the peers."""
    x = call.tensor(0)
    if x is None:
        return None
    return cost_of_tensors(float(x.numel), [x], [x], dtype=x.dtype)


MODELS: dict[str, CostModel] = {
    "symm_mem::multimem_all_reduce_": symmetric_all_reduce_cost,
    "symm_mem::one_shot_all_reduce": symmetric_all_reduce_cost,
    "symm_mem::two_shot_all_reduce_": symmetric_all_reduce_cost,
}
