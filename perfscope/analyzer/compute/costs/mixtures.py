"""Mixtures of experts of inference servers, whose weights are not among their arguments: what they
allocate tells their sizes.

A layer with tokens [T, H] and router scores [T, E] sends each token to k experts. It allocates the
choice, [T, k], and two buffers of the tokens in the order of their experts, each expert's part
filled up to whole tiles: what the gated first product leaves, [P, I], and what the second gives,
[P, H]. With `tile` rows a tile, P = T k + E (tile - 1) is the most that T k rows can need: that
equation holds only where all E experts are on this device, and only then is all of the work done
here.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost

MOST_CHOSEN = 32
"""No model chooses more experts for a token."""
TILES = (8, 16, 32, 64, 128, 256)
LEAST_BYTES = 0.5
"""Of a weight, whose type is not told: four bits are the least in use."""


def experts_of_tokens(call: Call) -> Cost | None:
    """moe_forward(tokens [T, H], scores [T, E], name): three products of [T k] rows (vLLM holds
    gate and up projection in one weight of 2 I rows), the weights of the experts that can be chosen
    read once.
    """
    tokens, scores = call.tensor(0), call.tensor(1)
    if (
        tokens is None
        or scores is None
        or len(tokens.shape) != 2
        or len(scores.shape) != 2
        or not tokens.itemsize
    ):
        return None
    (count, width), experts = tokens.shape, scores.shape[1]
    flat = [shape for shape in call.allocated if len(shape) == 2]
    chosen = {
        columns
        for rows, columns in flat
        if rows == count and 1 <= columns <= min(MOST_CHOSEN, experts)
    }
    if scores.shape[0] != count or len(chosen) != 1:
        return None
    rows = count * chosen.pop()
    inner = {
        hidden
        for height, hidden in flat
        if hidden != width and (height, width) in flat and whole(height, rows, experts)
    }
    if len(inner) != 1:
        return None
    weights = 3.0 * width * inner.pop()
    moved = float(tokens.nbytes)
    return Cost(
        2.0 * rows * weights,
        moved + LEAST_BYTES * min(experts, rows) * weights,
        moved,
        tokens.dtype,
        True,
    )


def whole(height: int, rows: int, experts: int) -> bool:
    """Is a buffer so high the most that so many rows need where all experts are here?"""
    return any(height == rows + experts * (tile - 1) for tile in TILES)


MODELS = {"vllm::moe_forward": experts_of_tokens}
