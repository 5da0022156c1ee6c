"""The device waits for communication that no computation hides.

What it means
    Collectives (gradients in DDP, parameters in FSDP, activations in tensor parallelism, tables in
    all-to-all) run while nothing computes. What computation hides costs nothing; the rest is added
    to every step.

How it is detected
    The time in which communication runs on the device and no other kernel does, at least 3 % of the
    span (XProf's limit for collectives on the device). With the traces of all ranks, waiting for
    the last rank is not counted here (see `straggler`); with one trace it cannot be told apart and
    is included, which the finding says.

What to do
    Overlap it: gradients in buckets while backward runs, FSDP with prefetch, asynchronous
    all-to-all. Move fewer bytes: accumulate gradients under `no_sync()`, compress to bfloat16. More
    or faster ranks would communicate more.

When it is wrong
    With one rank's trace a slow peer looks like slow communication: give all traces before blaming
    the network. A kernel of a library that communicates without NCCL or RCCL names is taken for
    computation.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import (
    Case,
    a_step,
    case_of,
    case_of_unit,
    no_device,
    total,
)
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collectives_on_links import rates
from perfscope.analyzer.communication.overlap import exposed_collectives, overlap
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import column, longest
from perfscope.analyzer.run.units import units
from perfscope.traces.trace import Trace

ID = "exposed-communication"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs a device that communicates."""
    missing = no_device(trace)
    if missing is not None:
        return missing
    talks = trace.fact(overlap)
    return (
        None if int(talks["communication_ns"].sum()) > 0 else "no communication ran on the device"
    )


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Communication that computation does not hide, when it is enough."""
    case = case_of(trace, limits)
    pieces = case.of(EXPOSED_COMMUNICATION)
    lost = total(pieces)
    share = lost / case.span_ns
    if share < limits.worth_share:
        return None
    alone = len(units(trace)) == 1
    mine = trace.fact(overlap)
    hidden = float(mine.loc[mine["rank"] == case.unit.rank, "hidden_share"].iloc[0])
    waiting = (
        " It includes waiting for other ranks, which the trace of one rank does not distinguish"
        " from data transfer."
        if alone
        else ""
    )
    return case.finding(
        ID,
        lost,
        limits,
        message=Message(
            f"Exposed communication: {percent(share)} of device time is communication not"
            " overlapped with compute",
            f"Computation overlaps {percent(hidden)} of the communication.{waiting}",
            "More ranks would increase it.",
        ),
        evidence=_evidence(case, pieces),
        actions=_actions(hidden, limits),
    )


def _evidence(case: Case, pieces: pd.DataFrame) -> list[Evidence]:
    worst, lost = longest(pieces), total(pieces)
    each = "a step" if case.steps else "in all"
    found = [
        case.place(
            f"longest stretch: {ms(int(worst['dur']))}",
            worst,
            value_ns=int(worst["dur"]),
            lane="device",
        ),
        case.place(f"{ms(a_step(case, lost))} {each}", value_ns=a_step(case, lost), lane="device"),
    ]
    talks = case.trace.fact(exposed_collectives)
    mine = talks[talks["rank"] == case.unit.rank] if len(talks) else talks
    if len(mine):
        kinds = mine.assign(
            group=mine["group"].astype(object).fillna(""), kind=mine["kind"].astype(object)
        )
        for (kind, group), rows in _by_exposed(kinds)[:3]:
            found.append(_of_kind(case, str(kind), str(group), rows))
    found += rates(case)
    if len(units(case.trace)) > 1:
        shares = [
            one
            for one in (case_of_unit(case.trace, unit) for unit in units(case.trace))
            if one.unit.device >= 0
        ]
        told = [
            (one.unit.rank, total(one.of(EXPOSED_COMMUNICATION)) / one.span_ns) for one in shares
        ]
        told.sort(key=lambda pair: -pair[1])
        text = ", ".join(f"rank {rank} {percent(part)}" for rank, part in told[:4])
        found.append(Evidence(f"by rank: {text}", round(told[0][1], 4), "share", rank=told[0][0]))
    return found


def _by_exposed(rows: pd.DataFrame) -> list[tuple[tuple[object, object], pd.DataFrame]]:
    groups = [
        ((str(kind), str(group)), own)
        for (kind, group), own in rows.groupby(["kind", "group"], observed=True)
    ]
    return sorted(groups, key=lambda pair: -int(column(pair[1], "exposed_ns").sum()))


def _of_kind(case: Case, kind: str, group: str, rows: pd.DataFrame) -> Evidence:
    exposed = int(column(rows, "exposed_ns").sum())
    sizes = column(rows, "in_bytes")
    size = f", {megabytes(float(np.median(sizes[sizes >= 0])))} each" if (sizes >= 0).any() else ""
    where = f" in group {group}" if group else ""
    each = f" ({digits(len(rows) / case.steps)} a step)" if case.steps else ""
    text = (
        f"{kind}{where}: {plural(len(rows), 'collective')}{each}{size},"
        f" {ms(float(rows['dur'].mean()))} on average; "
    )
    text += f"{ms(exposed)} exposed of {ms(int(rows['dur'].sum()))}"
    worst = rows.iloc[int(np.argmax(column(rows, "exposed_ns")))]
    return case.place(text, worst, value_ns=exposed, lane="device")


def _actions(hidden: float, limits: Limits) -> list[Action]:
    overlapped = Action(
        "overlap it with computation: DDP in buckets while backward runs, FSDP with prefetch",
        "DistributedDataParallel(model, bucket_cap_mb=25, gradient_as_bucket_view=True)",
    )
    fewer = Action(
        "exchange gradients once for several micro-batches", "with model.no_sync(): loss.backward()"
    )
    smaller = Action(
        "halve the bytes of gradients",
        "model.register_comm_hook(None, default_hooks.bf16_compress_hook)",
    )
    return (
        [overlapped, fewer, smaller] if hidden < limits.overlapped else [fewer, smaller, overlapped]
    )


RULE = Rule(ID, not_applicable, detect, category=EXPOSED_COMMUNICATION, across_hosts=True)
