"""Tables of what ran on the host: operators, launches, ranges, loader waits, allocations."""

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from perfscope.traces.intervals import Ints
from perfscope.traces.kineto.assemble import Group
from perfscope.traces.kineto.columns import Coded
from perfscope.traces.kineto.device_tables import category
from perfscope.traces.naming import LOADER_WAIT, by_name, launch_kind
from perfscope.traces.nesting import enclosing
from perfscope.traces.trace import framed, unlabelled

STEP = re.compile(r"^ProfilerStep\s*#\s*\d+$")
ON_A_DEVICE = (1, 6, 9, 12, 13, 15, 18, 19, 20)
"""c10::DeviceType of CUDA, HIP, XLA, XPU, MPS, HPU, IPU, MTIA and privateuse1: those with memory of
their own.
"""


def nested(process: Ints, ops: Group, launches: Group) -> tuple[Ints, Ints]:
    """(row of the operator around each operator, row of the operator around each launch), -1 for
    none.
    """
    both = {
        name: np.concatenate([ops.numbers(name), launches.numbers(name)])
        for name in ("pid", "tid", "ts", "dur")
    }
    pid, tid = pd.factorize(both["pid"])[0], pd.factorize(both["tid"])[0]
    thread = pid * (tid.max(initial=0) + 1) + tid
    holds = np.arange(len(both["ts"])) < len(ops)
    around = enclosing(thread, both["ts"], both["ts"] + both["dur"], holds)
    return around[: len(ops)], around[len(ops) :]


def op_table(group: Group, process: Ints, parent: Ints) -> pd.DataFrame:
    """Table `ops`, in the order of the group."""
    name = group.names("name")
    texts = {"shapes": "dims", "dtypes": "types", "strides": "strides", "concrete": "concrete"}
    return framed(
        "ops",
        {
            **where_and_when(group, process),
            "name": category(name.codes, name.names),
            "parent": parent,
            "sequence": group.numbers("sequence"),
            "forward_tid": group.numbers("forward_tid"),
            **{
                column: category(group.names(said).codes, group.names(said).names)
                for column, said in texts.items()
            },
        },
    )


def launch_table(group: Group, process: Ints, op: Ints) -> pd.DataFrame:
    """Table `launches`, in the order of the group."""
    name = group.names("name")
    kinds, kind_names = by_name(name.codes, name.names, launch_kind)
    return framed(
        "launches",
        {
            **where_and_when(group, process),
            "name": category(name.codes, name.names),
            "kind": category(kinds, kind_names),
            "correlation": group.numbers("correlation"),
            "op": op,
        },
    )


def where_and_when(group: Group, process: Ints) -> dict[str, Ints]:
    return {"process": process, **{name: group.numbers(name) for name in ("tid", "ts", "dur")}}


def range_table(group: Group, process: Ints) -> pd.DataFrame:
    """Table `ranges`: annotations, profiler steps, Python functions, the profiler's own work."""
    name, said = group.names("name"), group.names("cat")
    kinds = ["annotation", "python", "overhead", "step"]
    by_category = {"python_function": 1, "overhead": 2}
    kind = np.array([by_category.get(one, 0) for one in said.names] + [0], np.int32)[said.codes]
    kind = np.where(is_step(name) & (kind == 0), 3, kind).astype(np.int32)
    missing = np.full(len(group), -1, np.int64)
    return framed(
        "ranges",
        {
            **where_and_when(group, process),
            "category": category(kind, kinds),
            "name": category(name.codes, name.names),
            "object": missing,
            "value": missing,
            **unlabelled(len(group)),
        },
    )


def is_step(name: Coded) -> NDArray[np.bool_]:
    """Rows that are the profiler's marks of steps."""
    return np.array([bool(STEP.match(one)) for one in name.names] + [False], bool)[name.codes]


def is_loader(name: Coded) -> NDArray[np.bool_]:
    """Rows that are waits for PyTorch's data loader."""
    return np.array([bool(LOADER_WAIT.match(one)) for one in name.names] + [False], bool)[
        name.codes
    ]


def loader_table(group: Group, process: Ints) -> pd.DataFrame | None:
    """Table `loader`: the waits for batches that torch itself annotates; nothing is known of queue
    and workers.
    """
    if not len(group):
        return None
    name = group.names("name")
    alone = np.array([0 if "SingleProcess" in one else -1 for one in name.names] + [-1], np.int64)[
        name.codes
    ]
    missing = np.full(len(group), -1, np.int64)
    columns = {
        "iterator": missing * 0,
        "loader": missing * 0,
        "workers": alone,
        "prefetch": missing,
        "queue_depth": missing,
    }
    columns |= {"end": missing * 0, "cpu_before_ns": missing, "cpu_after_ns": missing}
    return framed(
        "loader", {**where_and_when(group, process), "kind": ["next"] * len(group), **columns}
    )


def memory_table(group: Group, process: Ints) -> pd.DataFrame | None:
    """Table `memory`: allocations on accelerators; None when there are none."""
    on_device = np.isin(group.numbers("device_type"), ON_A_DEVICE)
    group, process = group.where(on_device), process[on_device]
    if not len(group):
        return None
    return framed(
        "memory",
        {
            "process": process,
            "device": group.numbers("device_id"),
            "ts": group.numbers("ts"),
            "bytes": group.numbers("memory_bytes"),
            "allocated_bytes": group.numbers("allocated"),
            "reserved_bytes": group.numbers("reserved"),
        },
    )
