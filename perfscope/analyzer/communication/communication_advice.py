"""Changes that reduce or hide communication, and what must hold before they are recommended."""

import re
from typing import Final

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import Case, mean_per_step, total
from perfscope.analyzer.categories import DEVICE_COMPUTE
from perfscope.analyzer.communication.overlap import exposed_collectives
from perfscope.analyzer.diagnosis import Action
from perfscope.analyzer.number_text import megabytes, ms, plural
from perfscope.analyzer.run.accelerators.device_activity import rows_on
from perfscope.analyzer.run.process_rows import table_rows
from perfscope.analyzer.run.table_access import column
from perfscope.analyzer.run.training_evidence import training_evidence

GRADIENT_KINDS: Final = ("all_reduce", "reduce_scatter")
FLOAT32_NAMES: Final = ("float", "c10::float", "float32")
OVERLAP: Final = Advice(
    id="overlap-communication",
    text=(
        "overlap communication with computation: start collectives early, and wait only where"
        " their result is needed"
    ),
    precondition="computes-without-communicating",
    holds_when="The device computes while nothing communicates.",
)
OF_GRADIENTS: Final = (
    "where these are gradients, reduce them in buckets while backward runs, as"
    " DistributedDataParallel does",
    "DistributedDataParallel(model, gradient_as_bucket_view=True)",
)
OF_PARAMETERS: Final = (
    "gather the parameters of the next FSDP module while this one computes",
    "module.set_modules_to_forward_prefetch([next_module])",
)
OVERLAP_IN_TRAINING: Final = {
    "all_reduce": OF_GRADIENTS,
    "all_gather": OF_PARAMETERS,
    "reduce_scatter": OF_PARAMETERS,
}
"""How training overlaps the kinds of collectives: the change, and its code (PyTorch's DDP and
FSDP2).
"""
DDP: Final = re.compile(r"DistributedDataParallel|ddp\.reducer")
FSDP: Final = re.compile("FSDP|FullyShardedDataParallel")
ACCUMULATE_GRADIENTS: Final = Advice(
    id="accumulate-gradients",
    text="exchange gradients once for several micro-batches",
    precondition="exchanges-gradients",
    holds_when="The process trains, and it runs all_reduce or reduce_scatter.",
)
COMPRESS_GRADIENTS: Final = Advice(
    id="compress-gradients",
    text="halve the bytes of gradients: exchange them in bfloat16",
    precondition="exchanges-float32-gradients",
    holds_when="The process trains, and it runs all_reduce or reduce_scatter of float32.",
)


def overlap_actions(case: Case) -> list[Action]:
    """Return the advice to overlap communication, where there is computation to overlap it with."""
    computing_ns = total(case.of(DEVICE_COMPUTE))
    per = "per step" if case.steps else "in total"
    text, snippet = way_to_overlap(case) or (None, None)
    return OVERLAP.given(
        computing_ns > 0,
        f"{ms(mean_per_step(case, computing_ns))} {per} of computation",
        text=text,
        snippet=snippet,
    )


def way_to_overlap(case: Case) -> tuple[str, str] | None:
    """Return (change, code) for the kind of collective that is exposed longest, None if unknown.

    Training with DDP reduces gradients in buckets already. All-gathers are of parameters in FSDP
    only.
    """
    collectives = case.trace.fact(exposed_collectives)
    if not len(collectives) or not training_evidence(case.trace, case.unit.process).trains:
        return None
    rows = collectives[collectives["rank"] == case.unit.rank]
    if not len(rows):
        return None
    exposed_ns = rows.groupby(rows["kind"].astype(object))["exposed_ns"].sum()
    way = OVERLAP_IN_TRAINING.get(str(exposed_ns.idxmax()))
    if way is OF_GRADIENTS:
        return None if has_named_work(case, DDP) else way
    return way if has_named_work(case, FSDP) else None


def has_named_work(case: Case, pattern: re.Pattern[str]) -> bool:
    """Return whether an operator or range of the case's process has such a name."""
    for table in ("ops", "ranges"):
        rows = table_rows(case.trace, table, case.unit.process)
        if rows is not None and any(map(pattern.search, rows["name"].dropna().unique())):
            return True
    return False


def fewer_gradient_bytes(case: Case) -> list[Action]:
    """Return the advice about gradients that fits the collectives of the rank."""
    training = training_evidence(case.trace, case.unit.process)
    rows = rows_on(case.trace, "collectives", case.unit)
    if rows is None or not len(rows):
        return []
    gradients = rows[rows["kind"].isin(GRADIENT_KINDS)]
    count = plural(float(len(gradients)), "collective")
    accumulate = ACCUMULATE_GRADIENTS.given(
        training.trains and len(gradients) > 0,
        f"{count} of gradients; {training.text}",
        snippet="with model.no_sync(): loss.backward()",
    )
    names = pd.Categorical(gradients["dtype"])
    float32_names = [name for name in names.categories if is_float32_name(name)]
    is_float32 = np.asarray(names.isin(float32_names), bool)
    sizes = column(gradients, "in_bytes")[is_float32]
    moved = float(np.maximum(sizes, 0).sum())
    compress = COMPRESS_GRADIENTS.given(
        training.trains and bool(is_float32.any()),
        f"{megabytes(moved)} of float32 in {plural(float(is_float32.sum()), 'collective')}",
        snippet="model.register_comm_hook(None, default_hooks.bf16_compress_hook)",
    )
    return [*accumulate, *compress]


def is_float32_name(dtype: object) -> bool:
    """Return whether a recorded element type is float32."""
    return isinstance(dtype, str) and dtype.lower() in FLOAT32_NAMES
