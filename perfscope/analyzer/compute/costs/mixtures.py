"""Mixture-of-experts layers of inference servers. Their weights are not among the arguments, so the
sizes are inferred from the buffers that the layer allocates.

A layer with tokens [T, H] and router scores [T, E] sends each token to k experts. It allocates the
chosen experts, [T, k], and two buffers of the tokens in order of their experts, in which the rows
of each expert are padded to whole tiles: the result of the gated first product, [P, I], and that of
the second product, [P, H]. With `tile` rows per tile, P = T k + E (tile - 1) is the most that T k
rows can need. This equation is only true if all E experts are on this device, and only then does
the device do all of the work.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel

MOST_CHOSEN = 32
"""More than the number of experts that any model chooses per token."""
TILES = (8, 16, 32, 64, 128, 256)
LEAST_BYTES = 0.5
"""Bytes per weight. A trace does not contain the type; four bits are the least in use."""

Sizes2d = tuple[int, int]


def moe_forward_cost(call: Call) -> Cost | None:
    """Return the cost of moe_forward(tokens [T, H], scores [T, E], name).

    T k rows take part in three products: vLLM keeps gate and up projection in one weight of 2 I
    rows, and the third is the down projection. The weights of the experts that can be chosen are
    read once.
    """
    tokens, scores = call.tensor(0), call.tensor(1)
    if tokens is None or scores is None or not tokens.itemsize:
        return None
    if len(tokens.shape) != 2 or len(scores.shape) != 2 or scores.shape[0] != tokens.shape[0]:
        return None
    (count, width), experts = tokens.shape, scores.shape[1]
    buffers = {(shape[0], shape[1]) for shape in call.allocated if len(shape) == 2}
    chosen = experts_per_token(buffers, count, experts)
    if chosen is None:
        return None
    rows = count * chosen
    inner_width = expert_width(buffers, width, padded_heights(rows, experts))
    if inner_width is None:
        return None
    weights = 3.0 * width * inner_width
    token_bytes = float(tokens.nbytes)
    weight_bytes = LEAST_BYTES * min(experts, rows) * weights
    flops = 2.0 * rows * weights
    return Cost(flops, token_bytes + weight_bytes, token_bytes, tokens.dtype, matrix=True)


def experts_per_token(buffers: set[Sizes2d], tokens: int, experts: int) -> int | None:
    """Return k, from the buffer of chosen experts [tokens, k]; None if it is ambiguous."""
    most = min(MOST_CHOSEN, experts)
    found = {columns for rows, columns in buffers if rows == tokens and 1 <= columns <= most}
    return found.pop() if len(found) == 1 else None


def expert_width(buffers: set[Sizes2d], width: int, heights: set[int]) -> int | None:
    """Return I, from the buffers [P, I] and [P, width]; None if it is ambiguous."""
    found = {
        columns
        for rows, columns in buffers
        if columns != width and (rows, width) in buffers and rows in heights
    }
    return found.pop() if len(found) == 1 else None


def padded_heights(rows: int, experts: int) -> set[int]:
    """Return the possible heights of a padded buffer if all experts are on this device."""
    return {rows + experts * (tile - 1) for tile in TILES}


MODELS: dict[str, CostModel] = {"vllm::moe_forward": moe_forward_cost}
