"""Fused attention: two products forward, five backward, over the pairs of query and key that the
mask leaves.

Scores are never written (that is what fused means), so traffic is queries, keys, values and result.
A causal mask leaves the pairs on and below the diagonal; these kernels skip the others. Sequences
packed behind each other have lengths that a trace does not hold: no cost.
"""

from collections.abc import Callable
from functools import partial

from perfscope.analyzer.compute.costs.call import Call, Tensor
from perfscope.analyzer.compute.costs.cost import Cost, costs

FORWARD, BACKWARD = 1.0, 2.5
CAUSAL_TOP_LEFT, CAUSAL_BOTTOM_RIGHT = 1, 2


def forward(
    call: Call,
    *,
    heads_first: bool,
    causal: int,
    packed: tuple[int, ...] = (),
    mask: int | None = None,
    mask_type: bool = False,
) -> Cost | None:
    """By the places of the arguments; queries, keys and values come first."""
    query, key, value = call.tensor(0), call.tensor(1), call.tensor(2)
    flops = _flops(call, query, key, value, heads_first, _causal(call, causal, mask_type), packed)
    if flops is None or query is None or key is None or value is None:
        return None
    result = query.like((*query.shape[:-1], value.shape[-1]))
    added = call.tensor(mask) if mask is not None else None
    return costs(flops, [query, key, value, added], [result], dtype=query.dtype, matrix=True)


def backward(
    call: Call,
    *,
    heads_first: bool,
    causal: int,
    out: int,
    packed: tuple[int, ...] = (),
    mask_type: bool = False,
) -> Cost | None:
    """The gradient of the result comes first, then queries, keys, values; the result stands at
    `out`.
    """
    grad, query, key, value = (call.tensor(at) for at in range(4))
    flops = _flops(call, query, key, value, heads_first, _causal(call, causal, mask_type), packed)
    if flops is None or query is None or key is None or value is None:
        return None
    reads = [grad, query, key, value, call.tensor(out)]
    return costs(
        BACKWARD * flops,
        reads,
        [query.like(), key.like(), value.like()],
        dtype=query.dtype,
        matrix=True,
    )


def _causal(call: Call, at: int, by_type: bool) -> str | None:
    """Which pairs: all, top-left or bottom-right; None unknown."""
    said = call.value(at)
    if by_type:
        kinds = {0: "all", CAUSAL_TOP_LEFT: "top-left", CAUSAL_BOTTOM_RIGHT: "bottom-right"}
        return kinds.get(said) if type(said) is int else None
    return None if not isinstance(said, bool) else "bottom-right" if said else "all"


def _flops(
    call: Call,
    query: Tensor | None,
    key: Tensor | None,
    value: Tensor | None,
    heads_first: bool,
    causal: str | None,
    packed: tuple[int, ...],
) -> float | None:
    """Of both products forward."""
    if query is None or key is None or value is None or causal is None:
        return None
    if any(len(one.shape) != 4 for one in (query, key, value)) or any(
        call.tensor(at) is not None for at in packed
    ):
        return None
    at_heads, at_length = (1, 2) if heads_first else (2, 1)
    heads, length, keys = query.shape[at_heads], query.shape[at_length], key.shape[at_length]
    seen = pairs(length, keys, causal)
    return 2.0 * query.shape[0] * heads * seen * (query.shape[-1] + value.shape[-1])


def pairs(queries: int, keys: int, causal: str) -> float:
    """Pairs of query and key that are looked at. `bottom-right`: the last query sees all keys;
    `top-left`: the first sees one.
    """
    if causal == "all":
        return float(queries * keys)
    ahead = keys - queries if causal == "bottom-right" else 0
    first, last = min(max(1 + ahead, 0), keys), min(max(queries + ahead, 0), keys)
    rising = last - first + 1 if last >= first else 0
    full = max(queries + ahead - keys, 0)
    return (first + last) * rising / 2.0 + full * keys


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "aten::_scaled_dot_product_flash_attention": partial(forward, heads_first=True, causal=4),
    "aten::_flash_attention_forward": partial(forward, heads_first=False, causal=8, packed=(3, 4)),
    "aten::_scaled_dot_product_flash_attention_for_cpu": partial(
        forward, heads_first=True, causal=4, mask=5
    ),
    "aten::_scaled_dot_product_efficient_attention": partial(
        forward, heads_first=True, causal=6, mask=3
    ),
    "aten::_efficient_attention_forward": partial(
        forward, heads_first=False, causal=9, packed=(4, 5), mask=3, mask_type=True
    ),
    "aten::_scaled_dot_product_cudnn_attention": partial(
        forward, heads_first=True, causal=6, mask=3
    ),
    "aten::_cudnn_attention_forward": partial(
        forward, heads_first=True, causal=10, packed=(4, 5), mask=3
    ),
    "flash_attn::_flash_attn_forward": partial(forward, heads_first=False, causal=5),
    "aten::_scaled_dot_product_flash_attention_backward": partial(
        backward, heads_first=True, causal=11, out=4
    ),
    "aten::_flash_attention_backward": partial(
        backward, heads_first=False, causal=11, out=4, packed=(6, 7)
    ),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": partial(
        backward, heads_first=True, causal=7, out=4
    ),
    "aten::_scaled_dot_product_efficient_attention_backward": partial(
        backward, heads_first=True, causal=11, out=5
    ),
    "aten::_efficient_attention_backward": partial(
        backward, heads_first=False, causal=14, out=5, packed=(6, 7), mask_type=True
    ),
    "aten::_scaled_dot_product_cudnn_attention_backward": partial(
        backward, heads_first=True, causal=14, out=4
    ),
    "flash_attn::_flash_attn_backward": partial(backward, heads_first=False, causal=11, out=4),
}
