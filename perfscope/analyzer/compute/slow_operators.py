"""Operators on a CPU that are far slower than the same work usually is.

A matrix product or convolution is compared with what any current core reaches, an elementwise
operator with others of the same recording. Why one is slow is not known: its type has no fast
implementation on this CPU, a library is switched off, its values are denormal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.compute.call_costs import op_costs
from perfscope.analyzer.run.resources.host_load import host_load
from perfscope.analyzer.run.table_access import column, manifest, table, uses_device
from perfscope.traces.trace import Trace

CORE_FLOPS_PER_S: Final = 64e9
"""Arithmetic of one core: 2 GHz, and two 8-wide fused multiply-additions of float32 per cycle, as
in x86-64-v3 (the psABI's levels).
"""
SLOW_PART: Final = 0.35
"""Products of some hundred rows reach at least half of a core's arithmetic. Convolutions without
oneDNN reached 0.18 to 0.33, products in bfloat16 without hardware for it 0.22, others 0.7 to 1.5
(docs/measured.md).
"""
LEAST_FLOPS: Final = 10e6
LEAST_INTENSITY: Final = 50.0
"""FLOP per byte from which on no CPU waits for memory."""
LEAST_BYTES: Final = 1e6
SIMILAR_SIZE: Final = 4.0
TIMES_SLOWER: Final = 4.0
LEAST_MEMORY_BYTES_PER_S: Final = 3e9
"""Slower than any memory, also where the kernel provides new pages meanwhile (5e9 measured)."""
MOST_DELAY: Final = 0.3
"""The share of time without a core up to which the speed of an operator is known. A parallel region
waits for the last of its threads, so that its time is stretched by more than the delay of one.
"""
SIMPLE: Final = frozenset(
    f"aten::{name}"
    for operator in ("add", "sub", "mul", "div", "addcmul", "addcdiv", "lerp", "sqrt", "neg", "abs")
    for name in (operator, f"{operator}_")
)
"""Elementwise operators whose arithmetic takes no longer than their traffic with memory."""


@dataclass(frozen=True)
class SlowOperator:
    """An operator with inputs of one shape; `share` is that of all operators' own time.

    `rate` and `usual_rate` are in `unit`.
    """

    name: str
    share: float
    rate: float
    usual_rate: float
    unit: str


def slow_operators(trace: Trace) -> dict[int, list[SlowOperator]]:
    """Return the slow operators of each process in its windows, most time first.

    None where other jobs take its cores for much of the time.
    """
    ops = table(trace, "ops")
    if ops is None or not len(ops) or uses_device(trace) or trace.has_profiled_work:
        return {}
    calls = timed_calls_with_costs(trace, ops)
    torch = manifest(trace).torch
    threads = 1 if torch is None else max(torch.intra_op_threads, 1)
    found = {}
    for process in np.unique(calls["process"]).tolist():
        delay = trace.fact(host_load).longest_delay(int(process))
        if delay > MOST_DELAY:
            continue
        groups = groups_of(calls[calls["process"] == process])
        slow = [*slow_products(groups, threads * (1.0 - delay)), *slow_elementwise(groups)]
        found[int(process)] = sorted(slow, key=lambda operator: -operator.share)
    return found


def timed_calls_with_costs(trace: Trace, ops: pd.DataFrame) -> pd.DataFrame:
    """Return the process, name, shapes, dur, own time (ns), FLOPs and bytes of each call."""
    costs = trace.fact(op_costs)
    parent, dur = column(ops, "parent"), column(ops, "dur")
    called = np.bincount(parent[parent >= 0], dur[parent >= 0], len(ops))
    return pd.DataFrame(
        {
            "process": column(ops, "process"),
            "name": ops["name"].astype(str).to_numpy(),
            "shapes": ops["shapes"].astype(str).to_numpy(),
            "dur": dur,
            "own": np.maximum(dur - called, 0),
            "flops": costs.flops,
            "bytes": costs.bytes,
        }
    )


def groups_of(calls: pd.DataFrame) -> pd.DataFrame:
    """Return one row per name and shapes: median dur, FLOPs and bytes of a call, share of time."""
    whole = max(float(calls["own"].sum()), 1.0)
    known = calls[calls["bytes"].notna() & (calls["dur"] > 0)]
    groups = known.groupby(["name", "shapes"], sort=False).agg(
        dur=("dur", "median"),
        in_all=("dur", "sum"),
        flops=("flops", "median"),
        bytes=("bytes", "median"),
    )
    return groups.assign(share=groups["in_all"] / whole).reset_index()


def slow_products(groups: pd.DataFrame, cores: float) -> list[SlowOperator]:
    """Return the products and convolutions far below what the threads' cores reach."""
    flops = groups["flops"].to_numpy(np.float64)
    rate = flops / groups["dur"].to_numpy(np.float64) * 1e9
    intensity = flops / groups["bytes"].to_numpy(np.float64)
    usual = CORE_FLOPS_PER_S * cores
    is_slow = (flops >= LEAST_FLOPS) & (intensity >= LEAST_INTENSITY) & (rate < SLOW_PART * usual)
    return operators_in(groups, is_slow, rate, np.full(len(groups), usual), "FLOP/s")


def slow_elementwise(groups: pd.DataFrame) -> list[SlowOperator]:
    """Return simple elementwise operators far slower than others of the same size."""
    moved = groups["bytes"].to_numpy(np.float64)
    rate = moved / groups["dur"].to_numpy(np.float64) * 1e9
    simple = groups["name"].isin(SIMPLE).to_numpy() & (moved >= LEAST_BYTES)
    best = np.zeros(len(groups))
    for row in np.flatnonzero(simple):
        similar = (
            simple & (moved >= moved[row] / SIMILAR_SIZE) & (moved <= moved[row] * SIMILAR_SIZE)
        )
        best[row] = rate[similar].max()
    is_slow = simple & (rate * TIMES_SLOWER < best) & (rate < LEAST_MEMORY_BYTES_PER_S)
    return operators_in(groups, is_slow, rate, best, "B/s")


def operators_in(
    groups: pd.DataFrame,
    wanted: NDArray[np.bool_],
    rate: NDArray[np.float64],
    usual: NDArray[np.float64],
    unit: str,
) -> list[SlowOperator]:
    """Return the wanted groups as slow operators."""
    return [
        SlowOperator(
            str(groups["name"].iloc[row]),
            float(groups["share"].iloc[row]),
            float(rate[row]),
            float(usual[row]),
            unit,
        )
        for row in np.flatnonzero(wanted)
    ]
