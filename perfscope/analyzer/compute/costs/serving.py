"""Operators of inference servers whose operands are in the trace.

Attention over a paged cache (`unified_attention`) gets no cost: the lengths of the sequences are
not among its arguments.
"""

from perfscope.analyzer.compute.costs.call import Call
from perfscope.analyzer.compute.costs.cost import Cost, CostModel, cost_of_tensors


def rotary_embedding_cost(call: Call) -> Cost | None:
    """Return the cost of rotary_embedding(positions, query, key, head size, table).

    Query and key are rotated in place. The table of cosines and sines has a row per position.
    """
    positions, query, key, table = call.tensor(0), call.tensor(1), call.tensor(2), call.tensor(4)
    if positions is None or query is None or table is None or len(table.shape) != 2:
        return None
    rotated = [query] if key is None else [query, key]
    table_rows = table.like((positions.numel, table.shape[1]))
    flops = 3.0 * sum(tensor.numel for tensor in rotated)
    return cost_of_tensors(flops, [positions, *rotated, table_rows], rotated, dtype=query.dtype)


def gated_activation_cost(call: Call) -> Cost | None:
    """Return the cost of silu_and_mul(result, input): half of the input is the gate."""
    result, x = call.tensor(0), call.tensor(1)
    if result is None or x is None:
        return None
    return cost_of_tensors(5.0 * result.numel, [x], [result], dtype=x.dtype)


def quantization_cost(call: Call) -> Cost | None:
    """Return the cost of static_scaled_fp8_quant(result, input, scale), or of the dynamic one."""
    result, x = call.tensor(0), call.tensor(1)
    if result is None or x is None:
        return None
    return cost_of_tensors(2.0 * x.numel, [x], [result], dtype=x.dtype)


def kv_cache_write_cost(call: Call) -> Cost | None:
    """Return the cost of reshape_and_cache_flash(key, value, key cache, value cache, slots).

    The new rows are written to the cache, in its type.
    """
    key, value, key_cache, value_cache, slots = (call.tensor(position) for position in range(5))
    if key is None or value is None or key_cache is None or value_cache is None:
        return None
    written = [key.like(dtype=key_cache.dtype), value.like(dtype=value_cache.dtype)]
    return cost_of_tensors(0.0, [key, value, slots], written, dtype=key.dtype)


MODELS: dict[str, CostModel] = {
    "_C::rotary_embedding": rotary_embedding_cost,
    "_C::silu_and_mul": gated_activation_cost,
    "_C::gelu_and_mul": gated_activation_cost,
    "_C::gelu_tanh_and_mul": gated_activation_cost,
    "_C::static_scaled_fp8_quant": quantization_cost,
    "_C::dynamic_scaled_fp8_quant": quantization_cost,
    "_C_cache_ops::reshape_and_cache_flash": kv_cache_write_cost,
}
