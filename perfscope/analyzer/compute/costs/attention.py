"""Fused attention: two matrix products forward and five backward, over the pairs of query and key
that the mask keeps.

A fused kernel never writes the scores, so its traffic is queries, keys, values and result. With a
causal mask it skips the pairs above the diagonal, with a sliding window those outside of it. Packed
sequences get no cost: a trace does not contain their lengths.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors

BACKWARD_FACTOR = 2.5
"""FLOPs of the five products of the backward pass, over those of the two forward."""
MASK_BY_TYPE = {0: "all", 1: "top-left", 2: "bottom-right"}
"""Pairs that are kept, by torch's number of a mask type."""


@dataclass(frozen=True)
class AttentionArguments:
    """The tensor layout of an attention operator and the positions of its arguments.

    `heads_first`: tensors are [batch, heads, length, width], else [batch, length, heads, width].
    `causal`: the flag or, with `has_mask_type`, the number of the mask type. `packed`: lengths of
    packed sequences. `mask`: the additive mask. `result`: the forward result, in a backward pass.
    `window`: the two arguments that limit how many keys before and after its own position a query
    attends to, or the one that counts the keys up to and including its own.
    """

    heads_first: bool
    causal: int
    packed: tuple[int, ...] = ()
    mask: int | None = None
    has_mask_type: bool = False
    result: int | None = None
    window: tuple[int, ...] = ()


@dataclass(frozen=True)
class AttentionInputs:
    """The queries, keys and values of one call, each with four dimensions."""

    query: Tensor
    key: Tensor
    value: Tensor

    def all(self) -> list[Tensor]:
        """Return all three."""
        return [self.query, self.key, self.value]


def attention_cost(call: Call, *, arguments: AttentionArguments) -> Cost | None:
    """Return the cost of a forward pass, whose arguments begin with queries, keys and values."""
    inputs = attention_inputs(call, 0)
    flops = attention_flops(call, inputs, arguments)
    if inputs is None or flops is None:
        return None
    query, value = inputs.query, inputs.value
    result = query.like((*query.shape[:-1], value.shape[-1]))
    mask = None if arguments.mask is None else call.tensor(arguments.mask)
    reads = [*inputs.all(), mask]
    return cost_of_tensors(flops, reads, [result], dtype=query.dtype, matrix=True)


def attention_backward_cost(call: Call, *, arguments: AttentionArguments) -> Cost | None:
    """Return the cost of a backward pass: the gradient precedes queries, keys and values."""
    inputs = attention_inputs(call, 1)
    flops = attention_flops(call, inputs, arguments)
    if inputs is None or flops is None:
        return None
    result = None if arguments.result is None else call.tensor(arguments.result)
    reads = [call.tensor(0), *inputs.all(), result]
    gradients = [tensor.like() for tensor in inputs.all()]
    dtype = inputs.query.dtype
    return cost_of_tensors(BACKWARD_FACTOR * flops, reads, gradients, dtype=dtype, matrix=True)


def attention_inputs(call: Call, first: int) -> AttentionInputs | None:
    """Return queries, keys and values from position `first` on, None if one is missing."""
    query, key, value = (call.tensor(position) for position in range(first, first + 3))
    if query is None or key is None or value is None:
        return None
    inputs = AttentionInputs(query, key, value)
    if any(len(tensor.shape) != 4 for tensor in inputs.all()):
        return None
    return inputs


def attention_flops(
    call: Call, inputs: AttentionInputs | None, arguments: AttentionArguments
) -> float | None:
    """Return the FLOPs of both products of the forward pass, None if they are not known."""
    kept = kept_pairs(call, arguments)
    is_packed = any(call.tensor(position) is not None for position in arguments.packed)
    if inputs is None or kept is None or is_packed:
        return None
    query, key = inputs.query.shape, inputs.key.shape
    heads_dim, length_dim = (1, 2) if arguments.heads_first else (2, 1)
    left, right = attention_window(call, arguments)
    if left is None and right is None:
        pairs = pair_count(query[length_dim], key[length_dim], kept)
    else:
        right = 0 if kept != "all" else right
        pairs = pairs_in_window(query[length_dim], key[length_dim], left, right)
    width = query[-1] + inputs.value.shape[-1]
    return 2.0 * query[0] * query[heads_dim] * pairs * width


def attention_window(call: Call, arguments: AttentionArguments) -> tuple[int | None, int | None]:
    """Return how many keys before and after its own position a query attends to, None for all."""
    sizes = [call.value(position) for position in arguments.window]
    known = [size if type(size) is int and size >= 0 else None for size in sizes]
    if len(known) == 1:
        return (known[0] - 1 if known[0] else None), None
    return (known[0], known[1]) if known else (None, None)


def kept_pairs(call: Call, arguments: AttentionArguments) -> str | None:
    """Return which pairs the mask keeps: all, top-left or bottom-right; None if unknown."""
    causal = call.value(arguments.causal)
    if arguments.has_mask_type:
        return MASK_BY_TYPE.get(causal) if type(causal) is int else None
    if not isinstance(causal, bool):
        return None
    return "bottom-right" if causal else "all"


def pair_count(queries: int, keys: int, kept: str) -> float:
    """Return the number of pairs of query and key that a mask keeps.

    `bottom-right`: the last query attends to all keys. `top-left`: the first attends to one key.
    """
    if kept == "all":
        return float(queries * keys)
    ahead = keys - queries if kept == "bottom-right" else 0
    first = min(max(1 + ahead, 0), keys)
    last = min(max(queries + ahead, 0), keys)
    rising = last - first + 1 if last >= first else 0
    full = max(queries + ahead - keys, 0)
    return (first + last) * rising / 2.0 + full * keys


def pairs_in_window(queries: int, keys: int, left: int | None, right: int | None) -> float:
    """Return the number of pairs in a sliding window; the last query is at the position of the last
    key.
    """
    position = np.arange(queries, dtype=np.int64) + keys - queries
    first = np.zeros_like(position) if left is None else np.maximum(position - left, 0)
    last = (
        np.full_like(position, keys - 1)
        if right is None
        else np.minimum(position + right, keys - 1)
    )
    return float(np.maximum(last - first + 1, 0).sum())


FORWARD = {
    "aten::_scaled_dot_product_flash_attention": AttentionArguments(heads_first=True, causal=4),
    "aten::_flash_attention_forward": AttentionArguments(
        heads_first=False, causal=8, packed=(3, 4), window=(11, 12)
    ),
    "aten::_scaled_dot_product_flash_attention_for_cpu": AttentionArguments(
        heads_first=True, causal=4, mask=5
    ),
    "aten::_scaled_dot_product_efficient_attention": AttentionArguments(
        heads_first=True, causal=6, mask=3
    ),
    "aten::_efficient_attention_forward": AttentionArguments(
        heads_first=False, causal=9, packed=(4, 5), mask=3, has_mask_type=True, window=(13,)
    ),
    "aten::_scaled_dot_product_cudnn_attention": AttentionArguments(
        heads_first=True, causal=6, mask=3
    ),
    "aten::_cudnn_attention_forward": AttentionArguments(
        heads_first=True, causal=10, packed=(4, 5), mask=3
    ),
    "flash_attn::_flash_attn_forward": AttentionArguments(
        heads_first=False, causal=5, window=(6, 7)
    ),
}
BACKWARD = {
    "aten::_scaled_dot_product_flash_attention_backward": AttentionArguments(
        heads_first=True, causal=11, result=4
    ),
    "aten::_flash_attention_backward": AttentionArguments(
        heads_first=False, causal=11, result=4, packed=(6, 7), window=(15, 16)
    ),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": AttentionArguments(
        heads_first=True, causal=7, result=4
    ),
    "aten::_scaled_dot_product_efficient_attention_backward": AttentionArguments(
        heads_first=True, causal=11, result=5
    ),
    "aten::_efficient_attention_backward": AttentionArguments(
        heads_first=False, causal=14, result=5, packed=(6, 7), has_mask_type=True, window=(18,)
    ),
    "aten::_scaled_dot_product_cudnn_attention_backward": AttentionArguments(
        heads_first=True, causal=14, result=4
    ),
    "flash_attn::_flash_attn_backward": AttentionArguments(
        heads_first=False, causal=11, result=4, window=(12, 13)
    ),
}
MODELS: dict[str, CostModel] = {
    **{name: partial(attention_cost, arguments=found) for name, found in FORWARD.items()},
    **{name: partial(attention_backward_cost, arguments=found) for name, found in BACKWARD.items()},
}
