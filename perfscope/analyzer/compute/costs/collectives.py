"""Collectives: what a rank puts in and takes out of its memory. Their time is that of links and
peers, so they have no roof.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, costs

SUMS = ("all_reduce", "reduce_scatter", "reduce")


def collective(kind: str, in_bytes: int, out_bytes: int, itemsize: int, dtype: str) -> Cost | None:
    """From the sizes in the trace (-1 unknown): an addition for each element that a reduction is
    given.
    """
    if in_bytes < 0 or out_bytes < 0:
        return None
    adds = in_bytes / itemsize if kind in SUMS and itemsize > 0 else 0.0
    return Cost(adds, float(in_bytes), float(out_bytes), dtype or "unknown")


def in_place(call: Call) -> Cost | None:
    """An all-reduce on one tensor through its peers' memory."""
    x = call.tensor(0)
    return None if x is None else costs(float(x.numel), [x], [x], dtype=x.dtype)


MODELS = {
    "symm_mem::multimem_all_reduce_": in_place,
    "symm_mem::one_shot_all_reduce": in_place,
    "symm_mem::two_shot_all_reduce_": in_place,
}
