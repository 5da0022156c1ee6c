"""The device waits for communication that computation does not overlap.

What it means
    Collectives (gradients in DDP, parameters in FSDP, activations in tensor parallelism, tables in
    all-to-all) run while nothing computes. Communication that overlaps with computation costs
    nothing; the rest adds to every step.

How it is detected
    The time in which communication runs on the device and no other kernel does is at least 3 % of
    the span (XProf's limit for collectives on the device). With the traces of all ranks, waiting
    for the last rank is not included (see `straggler`). With one rank's trace it cannot be
    distinguished and is included; the finding says so.

What to do
    Overlap it: gradients in buckets while backward runs, FSDP with prefetch, asynchronous
    all-to-all. Move fewer bytes: accumulate gradients under `no_sync()`, compress them to bfloat16.
    More or faster ranks would communicate more.

When it is wrong
    With one rank's trace a slow peer looks like slow communication: analyze the traces of all ranks
    before blaming the network. A kernel of a library that communicates without NCCL or RCCL names
    counts as computation.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.budget.trace_case import (
    Case,
    case_of,
    case_of_unit,
    mean_per_step,
    missing_device,
    total,
)
from perfscope.analyzer.categories import EXPOSED_COMMUNICATION
from perfscope.analyzer.communication.collectives_on_links import rate_evidence
from perfscope.analyzer.communication.communication_advice import (
    ACCUMULATE_GRADIENTS,
    COMPRESS_GRADIENTS,
    OVERLAP,
    fewer_gradient_bytes,
    overlap_actions,
)
from perfscope.analyzer.communication.overlap import exposed_collectives, overlap
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.budget_units import NO_DEVICE, Unit, units
from perfscope.analyzer.run.table_access import column, longest_row
from perfscope.traces.trace import Trace

ID = "exposed-communication"
MOST_KINDS = 3
MOST_RANKS = 4
NO_COMMUNICATION = Unmet("one-process", "no communication ran on the device")


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: no device communicates."""
    unmet = missing_device(trace)
    if unmet is not None:
        return unmet
    communication_ns = int(trace.fact(overlap)["communication_ns"].sum())
    return None if communication_ns > 0 else NO_COMMUNICATION


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the communication that computation does not overlap, when it is enough."""
    case = case_of(trace, limits, EXPOSED_COMMUNICATION)
    pieces = case.of(EXPOSED_COMMUNICATION)
    lost_ns = total(pieces)
    share = lost_ns / case.span_ns
    if share < limits.worth_share:
        return None
    overlaps = trace.fact(overlap)
    of_rank = overlaps["rank"] == case.unit.rank
    hidden_share = float(overlaps.loc[of_rank, "hidden_share"].iloc[0])
    explanation = f"Computation overlaps {percent(hidden_share)} of the communication."
    if len(units(trace)) == 1:
        explanation += (
            " It includes waiting for other ranks, which the trace of one rank does not distinguish"
            " from data transfer."
        )
    return case.finding(
        ID,
        lost_ns,
        limits,
        message=Message(
            f"Exposed communication: {percent(share)} of the time is communication not"
            " overlapped with compute",
            explanation,
            "More ranks increase exposed communication.",
        ),
        evidence=exposure_evidence(case, pieces),
        actions=less_exposure(case, hidden_share, limits),
    )


def less_exposure(case: Case, hidden_share: float, limits: Limits) -> list[Action]:
    """Return the changes that fit; overlap comes first where there is little of it."""
    overlapping, fewer = overlap_actions(case), fewer_gradient_bytes(case)
    if hidden_share < limits.overlapped:
        return [*overlapping, *fewer]
    return [*fewer, *overlapping]


def exposure_evidence(case: Case, pieces: pd.DataFrame) -> list[Evidence]:
    """Return the longest stretch, the time per step, and it by kind, by link and by rank."""
    worst, lost_ns = longest_row(pieces), total(pieces)
    worst_ns, step_ns = int(worst["dur"]), mean_per_step(case, lost_ns)
    per = "per step" if case.steps else "in total"
    return [
        case.timed_evidence(
            f"longest stretch: {ms(worst_ns)}", worst, value_ns=worst_ns, lane="device"
        ),
        case.timed_evidence(f"{ms(step_ns)} {per}", value_ns=step_ns, lane="device"),
        *exposure_by_kind(case),
        *rate_evidence(case),
        *exposure_by_rank(case.trace),
    ]


def exposure_by_kind(case: Case) -> list[Evidence]:
    """Return the kinds of collectives of the rank with most exposed time."""
    collectives = case.trace.fact(exposed_collectives)
    if not len(collectives):
        return []
    rows = collectives[collectives["rank"] == case.unit.rank]
    named = rows.assign(
        group=rows["group"].astype(object).fillna(""), kind=rows["kind"].astype(object)
    )
    kinds = named.groupby(["kind", "group"], observed=True)
    number = kinds.ngroup().to_numpy(np.int64)
    exposed_ns = kinds["exposed_ns"].sum().to_numpy(np.int64)
    most = np.argsort(-exposed_ns, kind="stable")[:MOST_KINDS]
    return [kind_evidence(case, named[number == kind]) for kind in most.tolist()]


def kind_evidence(case: Case, rows: pd.DataFrame) -> Evidence:
    """Return the count, size and exposed time of one kind of collective in one group."""
    exposed = column(rows, "exposed_ns")
    sizes = column(rows, "in_bytes")
    known = sizes[sizes >= 0]
    group = str(rows["group"].iloc[0])
    in_group = f" in group {group}" if group else ""
    per_step = f" ({digits(len(rows) / case.steps)} per step)" if case.steps else ""
    size = f", {megabytes(float(np.median(known)))} each" if len(known) else ""
    text = (
        f"{rows['kind'].iloc[0]}{in_group}: {plural(len(rows), 'collective')}{per_step}{size},"
        f" {ms(float(rows['dur'].mean()))} on average; {ms(int(exposed.sum()))} exposed of"
        f" {ms(int(rows['dur'].sum()))}"
    )
    worst = rows.iloc[int(np.argmax(exposed))]
    return case.timed_evidence(text, worst, value_ns=int(exposed.sum()), lane="device")


def exposure_by_rank(trace: Trace) -> list[Evidence]:
    """Return the share of exposed communication of each rank, where there are several."""
    found = units(trace)
    if len(found) < 2:
        return []
    shares = [(unit, exposed_share(trace, unit)) for unit in found if unit.device != NO_DEVICE]
    shares.sort(key=lambda pair: -pair[1])
    text = ", ".join(f"rank {unit.rank} {percent(share)}" for unit, share in shares[:MOST_RANKS])
    unit, share = shares[0]
    return [
        Evidence(
            f"by rank: {text}",
            round(share, 4),
            "share",
            process=unit.process,
            device=unit.device,
        )
    ]


def exposed_share(trace: Trace, unit: Unit) -> float:
    """Return the share of a device's span that is exposed communication."""
    case = case_of_unit(trace, unit)
    return total(case.of(EXPOSED_COMMUNICATION)) / case.span_ns


RULE = Rule(
    ID,
    not_applicable,
    detect,
    category=EXPOSED_COMMUNICATION,
    in_windows=True,
    across_hosts=True,
    advice=(OVERLAP, ACCUMULATE_GRADIENTS, COMPRESS_GRADIENTS),
)
