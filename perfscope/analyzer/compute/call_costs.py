"""What each operator did on the device (on a CPU: itself), and what that costs at least."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.analyzer.budget.cpu_work import computing
from perfscope.analyzer.compute.costs import LOOKED_INTO, cost_of, family_of, has_model
from perfscope.analyzer.compute.costs.call import call_of, dtype_of, listed, value_of, whole_numbers
from perfscope.analyzer.compute.costs.cost import Cost
from perfscope.analyzer.compute.work_units import work_units
from perfscope.analyzer.run.launch_origin import work_origin
from perfscope.analyzer.run.table_access import column, table
from perfscope.analyzer.run.units import NO_DEVICE
from perfscope.traces.intervals import Ints
from perfscope.traces.trace import Trace

Floats = NDArray[np.float64]
TEXTS = ("shapes", "dtypes", "strides", "concrete")
ACCUMULATES = "torch::autograd::AccumulateGrad"
NOTHING: frozenset[tuple[int, ...]] = frozenset()
OVER_A_LINK = ("h2d", "d2h", "p2p", "h2h")


@dataclass(frozen=True)
class Work:
    """Pieces of work of a device: where it ran, how long, and the operator (row of `ops`) that it
    is told of, -1 for none.
    """

    process: Ints
    device: Ints
    ts: Ints
    dur: Ints
    op: Ints
    kernel: Ints  # row of `kernels`, -1 for none
    copy: Ints  # row of `copies`, -1 for none
    costed: NDArray[np.bool_]  # the operator has a cost


@dataclass(frozen=True)
class OpCosts:
    """For each row of `ops`: FLOPs (NaN unknown), bytes (NaN: no cost), type, matrix units or
    not.
    """

    flops: Floats
    bytes: Floats
    dtype: NDArray[np.object_]
    matrix: NDArray[np.bool_]


def op_costs(trace: Trace) -> OpCosts:
    """The cost of every call with a model; none for one that passes on to others of its family
    (`linear` to `addmm`).
    """
    ops = table(trace, "ops")
    count = 0 if ops is None else len(ops)
    found = OpCosts(
        np.full(count, np.nan),
        np.full(count, np.nan),
        np.full(count, "", object),
        np.zeros(count, bool),
    )
    if ops is None or not count:
        return found
    names = ops["name"].cat.categories.to_numpy(object)
    modelled = np.array([has_model(str(one)) for one in names] + [False], bool)[
        ops["name"].cat.codes
    ]
    rows = np.flatnonzero(modelled)
    if not len(rows):
        return found
    types, inside = list_types(ops), allocated_in(ops, LOOKED_INTO)
    number = {sizes: at for at, sizes in enumerate(dict.fromkeys(inside.values()))}
    keys = [ops[name].cat.codes.to_numpy()[rows].astype(np.int64) for name in ("name", *TEXTS)]
    keys.append(
        np.array(
            [number.get(inside.get(int(row), NOTHING), -1) for row in rows] if inside else 0 * rows,
            np.int64,
        )
    )
    _, first, of = np.unique(
        one_number([*keys, column(ops, "process")[rows]]), return_index=True, return_inverse=True
    )
    priced = [price(ops.iloc[rows[at]], types, inside.get(int(rows[at]), NOTHING)) for at in first]
    of = of.ravel()
    known = np.array([one is not None for one in priced], bool)[of]
    here, mine = rows[known], of[known]
    found.flops[here] = np.array(
        [np.nan if c is None or c.flops is None else c.flops for c in priced]
    )[mine]
    found.bytes[here] = np.array([np.nan if c is None else c.bytes for c in priced])[mine]
    found.dtype[here] = np.array(["" if c is None else c.dtype for c in priced], object)[mine]
    found.matrix[here] = np.array([c is not None and c.matrix for c in priced], bool)[mine]
    passing = passes_on(ops, ~np.isnan(found.bytes))
    found.flops[passing] = found.bytes[passing] = np.nan
    return found


def one_number(keys: list[Ints]) -> Ints:
    """For each row a number that stands for all its keys (-1 or more) together: sorting it is far
    faster than sorting rows.
    """
    found = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        size = int(key.max(initial=-1)) + 2
        if int(found.max(initial=0)) >= (1 << 62) // size:
            found = np.unique(found, return_inverse=True)[1].astype(np.int64).ravel()
        found = found * size + key + 1
    return found


def allocated_in(ops: pd.DataFrame, names: frozenset[str]) -> dict[int, frozenset[tuple[int, ...]]]:
    """By row of the operators of these names: the sizes of what `aten::empty` was asked for inside
    each.
    """
    wanted = ops["name"].isin(names).to_numpy()
    if not wanted.any():
        return {}
    parent, row = column(ops, "parent"), np.flatnonzero((ops["name"] == "aten::empty").to_numpy())
    at, found = parent[row], dict[int, set[tuple[int, ...]]]()
    while (climbing := (at >= 0) & ~np.append(wanted, False)[at]).any():
        at[climbing] = parent[at[climbing]]
    for text, owner in zip(
        ops["concrete"].to_numpy(object)[row[at >= 0]], at[at >= 0], strict=True
    ):
        sizes = whole_numbers(value_of((listed(text) or [None])[0]))
        if sizes:
            found.setdefault(int(owner), set()).add(sizes)
    return {owner: frozenset(sizes) for owner, sizes in found.items()}


def price(
    row: "pd.Series[str]", types: dict[int, str], allocated: frozenset[tuple[int, ...]]
) -> Cost | None:
    call = call_of(
        str(row["name"]),
        row["shapes"],
        row["dtypes"],
        row["strides"],
        row["concrete"],
        types.get(int(row["process"]), ""),
    )
    return None if call is None else cost_of(replace(call, allocated=allocated))


def list_types(ops: pd.DataFrame) -> dict[int, str]:
    """By process: the type of what is in lists of tensors (parameters and their moments), which a
    trace does not tell: that of the gradients which autograd accumulated, where these are all of
    one type.
    """
    grads = ops[ops["name"] == ACCUMULATES]
    found: dict[int, set[str]] = {}
    for process, text in grads[["process", "dtypes"]].drop_duplicates().itertuples(index=False):
        said = listed(text) or [""]
        found.setdefault(int(process), set()).add(dtype_of(str(said[0])))
    return {process: next(iter(types)) for process, types in found.items() if len(types) == 1}


def passes_on(ops: pd.DataFrame, costed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Calls with a cost that have another of their family inside them: the inner one does the
    work.
    """
    names = ops["name"].cat.categories
    families = {
        name: at + 1
        for at, name in enumerate(sorted({family_of(str(one)) for one in names} - {""}))
    }
    family = np.array([families.get(family_of(str(one)), 0) for one in names] + [0])[
        ops["name"].cat.codes
    ]
    parent, found = column(ops, "parent"), np.zeros(len(ops), bool)
    inner = np.flatnonzero(costed)
    at = parent[inner]
    while len(inner):
        keep = at >= 0
        inner, at = inner[keep], at[keep]
        same = family[at] == family[inner]
        found[at[same]] = True
        inner, at = inner[~same], at[~same]
        at = parent[at]
    return found & costed


def device_work(trace: Trace) -> Work:
    """All work of all devices; where there is none, what operators compute on the CPU. Each piece
    belongs to the innermost operator around its launch that has a cost, else to the innermost there
    is.
    """
    ops = table(trace, "ops")
    if any(one.device != NO_DEVICE for one in work_units(trace)):
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
        process, device, ts, dur, op, kernel, copy = (one[on_device] for one in parts)
    else:
        process, ts, dur, op = on_the_cpu(trace, ops)
        device = kernel = copy = np.full(len(op), NO_DEVICE, np.int64)
    owner, costed = owned(trace, op)
    return Work(process, device, ts, dur, owner, kernel, copy, costed)


def on_the_cpu(trace: Trace, ops: pd.DataFrame | None) -> tuple[Ints, Ints, Ints, Ints]:
    """Process, begin, duration and row of what operators compute."""
    parts = [np.empty((4, 0), np.int64)]
    for unit in work_units(trace):
        rows = np.flatnonzero(column(ops, "process") == unit.process)
        if ops is None or not len(rows):
            continue
        begin, end, place = computing(ops.iloc[rows])
        parts.append(
            np.stack([np.full(len(begin), unit.process, np.int64), begin, end - begin, rows[place]])
        )
    process, begin, dur, op = np.concatenate(parts, axis=1)
    return process, begin, dur, op


def owned(trace: Trace, op: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The operator each piece is told of, and whether that has a cost."""
    costed = ~np.isnan(trace.fact(op_costs).bytes)
    if not len(costed):
        return op, np.zeros(len(op), bool)
    parent = column(table(trace, "ops"), "parent")
    at = op.copy()
    while True:
        climbing = np.flatnonzero((at >= 0) & ~np.append(costed, False)[at])
        if not len(climbing):
            break
        at[climbing] = parent[at[climbing]]
    known = at >= 0
    return np.where(known, at, op), known


def call_costs(trace: Trace) -> pd.DataFrame:
    """One row for each call of an operator that has a cost and did work on a device.

    Columns: process, device, op (row of `ops`), name, family, shapes, dtype, matrix, flops (NaN
    unknown), bytes, work_ns (sum of its work; kernels side by side each count whole), kernels, ts
    (of its first work), span_ns (to its last). Copies over a link are left out: their roof is the
    link's.
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
    families = np.array([family_of(str(one)) for one in ops["name"].cat.categories], object)
    told = {
        "name": ops["name"].to_numpy(object)[op],
        "family": families[ops["name"].cat.codes.to_numpy()[op]],
    }
    told |= {
        "shapes": ops["shapes"].to_numpy(object)[op],
        "dtype": costs.dtype[op],
        "matrix": costs.matrix[op],
    }
    calls = calls.assign(**told, flops=costs.flops[op], bytes=costs.bytes[op])
    return calls[[*columns, "work_ns", "kernels", "ts", "span_ns"]]


def over_a_link(trace: Trace, work: Work) -> NDArray[np.bool_]:
    """Copies between host and device, or devices."""
    copies = table(trace, "copies")
    linked = np.append(
        np.zeros(0, bool) if copies is None else copies["direction"].isin(OVER_A_LINK).to_numpy(),
        False,
    )
    found: NDArray[np.bool_] = (work.copy >= 0) & linked[work.copy]
    return found


def communicates(trace: Trace, work: Work) -> NDArray[np.bool_]:
    """Kernels that talk to other devices."""
    kernels = table(trace, "kernels")
    talks = np.append(
        np.zeros(0, bool) if kernels is None else (kernels["kind"] == "communication").to_numpy(),
        False,
    )
    ops = table(trace, "ops")
    names = [] if ops is None else list(ops["name"].cat.categories)
    by_name = np.array([family_of(str(one)) == "collectives" for one in names] + [False], bool)
    asked = np.append(np.full(0, -1) if ops is None else ops["name"].cat.codes.to_numpy(), -1)[
        work.op
    ]
    found: NDArray[np.bool_] = ((work.kernel >= 0) & talks[work.kernel]) | by_name[asked]
    return found
