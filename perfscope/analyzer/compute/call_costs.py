"""The work of each operator on the device (on a CPU: its own), and its least FLOPs and bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.process_computing import computing_of
from perfscope.analyzer.compute.costs import NEEDS_ALLOCATIONS, cost_of, family_of, has_model
from perfscope.analyzer.compute.costs.call import (
    dtype_from_cpp_name,
    int_tuple,
    parse_call,
    parse_list,
    parse_value,
)
from perfscope.analyzer.compute.costs.cost import Cost
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.run.accelerators.launch_origin import work_origin
from perfscope.analyzer.run.budget_units import NO_DEVICE
from perfscope.analyzer.run.nested_rows import nearest_of_group, nearest_rows
from perfscope.analyzer.run.table_access import column, table
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
TEXTS = ("shapes", "dtypes", "strides", "concrete")
ACCUMULATES = "torch::autograd::AccumulateGrad"
NOTHING: frozenset[tuple[int, ...]] = frozenset()
OVER_A_LINK = ("h2d", "d2h", "p2p", "h2h")


@dataclass(frozen=True)
class Work:
    """Pieces of work of a device: where and when they ran, and the operator that they belong to.

    `op`, `kernel` and `copy` are rows of these tables, -1 for none. `costed`: the operator has a
    cost.
    """

    process: Ints
    device: Ints
    ts: Ints
    dur: Ints
    op: Ints
    kernel: Ints
    copy: Ints
    costed: NDArray[np.bool_]


@dataclass(frozen=True)
class OpCosts:
    """For each row of `ops`: FLOPs (NaN unknown), bytes (NaN: no cost), type, and matrix units."""

    flops: Floats
    bytes: Floats
    dtype: NDArray[np.object_]
    matrix: NDArray[np.bool_]


def op_costs(trace: Trace) -> OpCosts:
    """Return the cost of every call with a model.

    A call that delegates to another of its family (`linear` to `addmm`) has none.
    """
    ops = table(trace, "ops")
    costs = empty_costs(0 if ops is None else len(ops))
    if ops is None or not len(ops):
        return costs
    names = ops["name"].cat.categories.to_numpy(object)
    rows = np.flatnonzero(per_name(ops, [has_model(str(name)) for name in names], missing=False))
    if not len(rows):
        return costs
    list_dtypes = list_types(ops)
    allocated = allocated_in(ops, NEEDS_ALLOCATIONS)
    keys = distinct_call_keys(ops, rows, allocated)
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    distinct = [
        cost_of_row(ops.iloc[row], list_dtypes, allocated.get(int(row), NOTHING))
        for row in rows[first]
    ]
    known = [cost if cost is not None else UNKNOWN_COST for cost in distinct]
    number = number.ravel()
    costs.flops[rows] = np.array([np.nan if cost.flops is None else cost.flops for cost in known])[
        number
    ]
    costs.bytes[rows] = np.array([cost.bytes for cost in known])[number]
    costs.dtype[rows] = np.array([cost.dtype for cost in known], object)[number]
    costs.matrix[rows] = np.array([cost.matrix for cost in known], bool)[number]
    delegating = delegates(ops, ~np.isnan(costs.bytes))
    costs.flops[delegating] = costs.bytes[delegating] = np.nan
    return costs


UNKNOWN_COST = Cost(None, float("nan"), float("nan"), "")


def empty_costs(count: int) -> OpCosts:
    """Return the costs of so many calls, all unknown."""
    return OpCosts(
        flops=np.full(count, np.nan),
        bytes=np.full(count, np.nan),
        dtype=np.full(count, "", object),
        matrix=np.zeros(count, bool),
    )


def per_name(ops: pd.DataFrame, values: Sequence[object], *, missing: object) -> NDArray[Any]:
    """Return a value for each operator, from one per name; `missing` for one without a name."""
    return np.array([*values, missing])[ops["name"].cat.codes]


def distinct_call_keys(
    ops: pd.DataFrame, rows: Ints, allocated: dict[int, frozenset[tuple[int, ...]]]
) -> Ints:
    """Return a key for each of these calls. Calls with equal keys have equal costs."""
    keys = [ops[name].cat.codes.to_numpy()[rows].astype(np.int64) for name in ("name", *TEXTS)]
    keys.append(column(ops, "process")[rows])
    if allocated:
        distinct_sizes = dict.fromkeys(allocated.values())
        number_of_sizes = {sizes: number for number, sizes in enumerate(distinct_sizes)}
        numbers = [number_of_sizes.get(allocated.get(int(row), NOTHING), -1) for row in rows]
        keys.append(np.array(numbers, np.int64))
    return combined_key(keys)


def combined_key(keys: list[Ints]) -> Ints:
    """Return, for each row, a number for all its keys (-1 or more) together.

    Sorting one number is far faster than sorting rows.
    """
    found = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        size = int(key.max(initial=-1)) + 2
        if int(found.max(initial=0)) >= (1 << 62) // size:
            found = np.unique(found, return_inverse=True)[1].astype(np.int64).ravel()
        found = found * size + key + 1
    return found


def allocated_in(ops: pd.DataFrame, names: frozenset[str]) -> dict[int, frozenset[tuple[int, ...]]]:
    """Return the sizes that `aten::empty` allocates inside each operator of these names, by row."""
    wanted = ops["name"].isin(names).to_numpy()
    if not wanted.any():
        return {}
    allocations = np.flatnonzero((ops["name"] == "aten::empty").to_numpy())
    parent = column(ops, "parent")
    owner = innermost_of(wanted, parent[allocations], parent)
    texts = ops["concrete"].to_numpy(object)[allocations]
    found: dict[int, set[tuple[int, ...]]] = {}
    for row, text in zip(owner.tolist(), texts, strict=True):
        if row < 0:
            continue
        arguments = parse_list(text) or [None]
        sizes = int_tuple(parse_value(arguments[0]))
        if sizes:
            found.setdefault(row, set()).add(sizes)
    return {row: frozenset(sizes) for row, sizes in found.items()}


def innermost_of(wanted: NDArray[np.bool_], start: Ints, parent: Ints) -> Ints:
    """Return the innermost wanted operator at or around each of `start`, -1 if there is none."""
    return np.append(nearest_rows(wanted, parent), -1)[start]


def cost_of_row(
    row: "pd.Series[str]", types: dict[int, str], allocated: frozenset[tuple[int, ...]]
) -> Cost | None:
    """Return the cost of one row of `ops`, None without a model for its inputs."""
    call = parse_call(
        str(row["name"]),
        row["shapes"],
        row["dtypes"],
        row["strides"],
        row["concrete"],
        list_dtype=types.get(int(row["process"]), ""),
    )
    return None if call is None else cost_of(replace(call, allocated=allocated))


def list_types(ops: pd.DataFrame) -> dict[int, str]:
    """Return, by process, the type of tensors in lists (parameters and their moments).

    A trace does not contain it. It is that of the gradients that autograd accumulated, where these
    are all of one type.
    """
    grads = ops[ops["name"] == ACCUMULATES]
    found: dict[int, set[str]] = {}
    for process, text in grads[["process", "dtypes"]].drop_duplicates().itertuples(index=False):
        dtypes = parse_list(text) or [""]
        found.setdefault(int(process), set()).add(dtype_from_cpp_name(str(dtypes[0])))
    return {process: next(iter(types)) for process, types in found.items() if len(types) == 1}


def delegates(ops: pd.DataFrame, costed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which calls with a cost have another of their family inside, which does the work."""
    names = [family_of(str(name)) for name in ops["name"].cat.categories]
    numbers = {name: number for number, name in enumerate(sorted({*names, ""}))}
    family = per_name(ops, [numbers[name] for name in names], missing=numbers[""])
    found = np.zeros(len(ops), bool)
    outer = nearest_of_group(family, column(ops, "parent"), np.flatnonzero(costed))
    found[outer[outer >= 0]] = True
    return found & costed


def device_work(trace: Trace) -> Work:
    """Return all work of all devices; without devices the work of operators on the CPU.

    Each piece belongs to the innermost operator around its launch that has a cost, else to the
    innermost operator.
    """
    if any(unit.device != NO_DEVICE for unit in work_units(trace)):
        origin, kernels, copies = (
            trace.fact(work_origin),
            table(trace, "kernels"),
            table(trace, "copies"),
        )
        ts = np.concatenate([column(kernels, "ts"), column(copies, "ts")])
        row = np.arange(len(origin.op))
        kernel = np.where(row < origin.kernels, row, -1)
        copy = np.where(row >= origin.kernels, row - origin.kernels, -1)
        on_device = origin.device >= 0
        parts = (origin.process, origin.device, ts, origin.dur, origin.op, kernel, copy)
        process, device, ts, dur, op, kernel, copy = (part[on_device] for part in parts)
    else:
        process, ts, dur, op = cpu_work(trace)
        device = kernel = copy = np.full(len(op), NO_DEVICE, np.int64)
    owner, costed = costed_operators(trace, op)
    return Work(process, device, ts, dur, owner, kernel, copy, costed)


def cpu_work(trace: Trace) -> tuple[Ints, Ints, Ints, Ints]:
    """Return process, begin, duration and row of the computation of operators on the CPU."""
    parts = [np.empty((4, 0), np.int64)]
    for unit in work_units(trace):
        found = computing_of(trace, unit.process)
        process = np.full(len(found.row), unit.process, np.int64)
        parts.append(np.stack([process, found.begin, found.end - found.begin, found.row]))
    process, begin, dur, op = np.concatenate(parts, axis=1)
    return process, begin, dur, op


def costed_operators(trace: Trace, op: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the operator that each piece belongs to, and whether it has a cost."""
    costed = ~np.isnan(trace.fact(op_costs).bytes)
    if not len(costed):
        return op, np.zeros(len(op), bool)
    owner = innermost_of(costed, op, column(table(trace, "ops"), "parent"))
    has_owner = owner >= 0
    return np.where(has_owner, owner, op), has_owner


def call_costs(trace: Trace) -> pd.DataFrame:
    """Return one row per call of an operator that has a cost and did work on a device.

    Columns: process, device, op (row of `ops`), name, family, shapes, dtype, matrix, flops (NaN
    unknown), bytes, work_ns (sum of its work; kernels at the same time each count in full),
    kernels, ts (of its first work), span_ns (to its last). Copies over a link are left out: the
    link limits them.
    """
    work, costs, ops = trace.fact(device_work), trace.fact(op_costs), table(trace, "ops")
    columns = [
        "process",
        "device",
        "op",
        "name",
        "family",
        "shapes",
        "dtype",
        "matrix",
        "flops",
        "bytes",
    ]
    if ops is None or not work.costed.any():
        return pd.DataFrame(columns=[*columns, "work_ns", "kernels", "ts", "span_ns"])
    keep = work.costed & ~over_a_link(trace, work) & ~communicates(trace, work)
    frame = pd.DataFrame(
        {
            "process": work.process,
            "device": work.device,
            "op": work.op,
            "dur": work.dur,
            "ts": work.ts,
        }
    )[keep]
    frame["end"] = frame["ts"] + frame["dur"]
    calls = frame.groupby(["process", "device", "op"], sort=True).agg(
        work_ns=("dur", "sum"), kernels=("dur", "size"), ts=("ts", "min"), end=("end", "max")
    )
    calls = calls.reset_index()
    op = calls["op"].to_numpy()
    calls["span_ns"] = calls.pop("end") - calls["ts"]
    families = np.array([family_of(str(name)) for name in ops["name"].cat.categories], object)
    described = {
        "name": ops["name"].to_numpy(object)[op],
        "family": families[ops["name"].cat.codes.to_numpy()[op]],
    }
    described |= {
        "shapes": ops["shapes"].to_numpy(object)[op],
        "dtype": costs.dtype[op],
        "matrix": costs.matrix[op],
    }
    calls = calls.assign(**described, flops=costs.flops[op], bytes=costs.bytes[op])
    return calls[[*columns, "work_ns", "kernels", "ts", "span_ns"]]


def over_a_link(trace: Trace, work: Work) -> NDArray[np.bool_]:
    """Return which pieces are copies between host and device, or between devices."""
    copies = table(trace, "copies")
    if copies is None:
        return np.zeros(len(work.copy), bool)
    linked = np.append(copies["direction"].isin(OVER_A_LINK).to_numpy(), False)
    found: NDArray[np.bool_] = linked[work.copy]
    return found


def communicates(trace: Trace, work: Work) -> NDArray[np.bool_]:
    """Return which pieces communicate with other devices."""
    found = np.zeros(len(work.op), bool)
    kernels, ops = table(trace, "kernels"), table(trace, "ops")
    if kernels is not None:
        is_communication = (kernels["kind"] == "communication").to_numpy()
        found |= np.append(is_communication, False)[work.kernel]
    if ops is not None:
        names = ops["name"].cat.categories
        is_collective = [family_of(str(name)) == "collectives" for name in names]
        by_op = per_name(ops, is_collective, missing=False)
        found |= np.append(by_op, False)[work.op]
    return found
