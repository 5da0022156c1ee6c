"""Operators of inference servers whose operands stand in the trace.

Attention over a paged cache (`unified_attention`) gets no cost: the lengths of the sequences are
not among its arguments.
"""

from collections.abc import Callable

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, costs


def rotary(call: Call) -> Cost | None:
    """rotary_embedding(positions, query, key, head size, cosines and sines): query and key are
    turned in place.
    """
    positions, query, key, table = call.tensor(0), call.tensor(1), call.tensor(2), call.tensor(4)
    if positions is None or query is None or table is None or len(table.shape) != 2:
        return None
    both = [query] if key is None else [query, key]
    rows = table.like((positions.numel, table.shape[1]))
    return costs(
        3.0 * sum(one.numel for one in both), [positions, *both, rows], both, dtype=query.dtype
    )


def gated(call: Call) -> Cost | None:
    """silu_and_mul(result, input) and the like: half of the input is the gate."""
    out, x = call.tensor(0), call.tensor(1)
    return None if out is None or x is None else costs(5.0 * out.numel, [x], [out], dtype=x.dtype)


def quantized(call: Call) -> Cost | None:
    """static_scaled_fp8_quant(result, input, scale) and the dynamic ones."""
    out, x = call.tensor(0), call.tensor(1)
    return None if out is None or x is None else costs(2.0 * x.numel, [x], [out], dtype=x.dtype)


def cached(call: Call) -> Cost | None:
    """reshape_and_cache_flash(key, value, key cache, value cache, slots): the new rows go into the
    cache.
    """
    key, value, keys, values, slots = (call.tensor(at) for at in range(5))
    if key is None or value is None or keys is None or values is None:
        return None
    return costs(
        0.0,
        [key, value, slots],
        [key.like(dtype=keys.dtype), value.like(dtype=values.dtype)],
        dtype=key.dtype,
    )


Model = Callable[[Call], Cost | None]
MODELS: dict[str, Model] = {
    "_C::rotary_embedding": rotary,
    **{f"_C::{name}": gated for name in ("silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul")},
    **{
        f"_C::{name}": quantized for name in ("static_scaled_fp8_quant", "dynamic_scaled_fp8_quant")
    },
    "_C_cache_ops::reshape_and_cache_flash": cached,
}
