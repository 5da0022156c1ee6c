"""Memory limits the operators, and several in a row read and write the same tensors.

What it means
    An operator that does little arithmetic for each byte waits for memory, however fast the device
    computes. Elementwise operators, normalisation, reductions and copies all do. Where several
    follow each other on tensors of one size, each writes to memory what the next reads back: one
    fused kernel would read once and write once.

How it is detected
    FLOPs and bytes of each call from its shapes (docs/roofline.md); memory is the nearer roof and
    the call comes near it (without known peaks: at most 1 FLOP per byte, and more than caches hold;
    on a CPU so much data however far below the roof: for pages that are new). Runs of such calls
    behind each other, without other work between them: all but the longest of each run could be had
    back, at least 3 % of the step. The gain is a ceiling: a product or reduction beside a run may
    take all of it in. While attached to a device with GPM (Hopper and newer): at least half of what
    its memory reaches in practice (0.8 of its peak) is used and more of it than of the arithmetic's
    ceiling; SM activity is not asked, as warps that wait count as active. Then what could be had
    back is not known, and no loss is given.

What to do
    `torch.compile` fuses them; so do functions that exist as one operator (`gelu`, `layer_norm`,
    `scaled_dot_product_attention`) and fused optimizers. Half the bytes: bfloat16. Copies between
    layouts: keep one layout (`channels_last` for convolutions).

When it is wrong
    Operators behind each other need not depend on each other. Data that stay in a cache between two
    operators cost less than memory traffic. Inside a window of the profiler everything takes a
    little longer; proportions are told.
"""

import numpy as np
import pandas as pd

from perfscope.analyzer.compute import counter_evidence
from perfscope.analyzer.compute.compute_case import NO_SHARE, WorkCase, no_work, work_case
from perfscope.analyzer.compute.fusable_runs import fusable_runs
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.compute.work_limits import limited_by
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "memory-bound"
LONGEST_RUN = 8


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs operators with shapes, or GPM."""
    reason = no_work(trace) or (NO_SHARE if work_case(trace, limits) is None else None)
    return None if reason is None else counter_evidence.why_not(trace, reason)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """What fusing could give back, when it is enough; what the device's counters say beside it or
    without it.
    """
    by_operators = None if no_work(trace) else of_operators(trace, limits)
    return counter_evidence.with_counters(by_operators, trace, ID, limits)


def of_operators(trace: Trace, limits: Limits) -> Finding | None:
    """What fusing could give back, when it is enough."""
    case = work_case(trace, limits)
    runs = trace.fact(fusable_runs)
    if case is None or not len(runs):
        return None
    runs = runs[(runs["process"] == case.unit.process) & (runs["device"] == case.unit.device)]
    spare = float(runs["spare_ns"].sum())
    if case.share(spare) < limits.worth_share:
        return None
    calls = case.calls[limited_by(case.calls) == MEMORY]
    message = Message(
        "Memory-bound: operators that wait for memory take"
        f" {percent(case.share(case.limits.memory))} of the time",
        f"{case.top(calls)}{rate(case, calls)}. Many follow each other on the same tensors: fusing"
        f" them would save {percent(case.share(spare))} of the time.",
        "Faster arithmetic would not help.",
    )
    return case.finding(
        ID,
        spare,
        limits,
        message=message,
        evidence=evidence(case, calls, runs),
        actions=actions(case, calls),
        speedup=case.ceiling(float(runs["work_ns"].sum()), limits),
    )


def rate(case: WorkCase, calls: pd.DataFrame) -> str:
    """What they reach, against the roof where it is known."""
    seconds = float(calls["work_ns"].sum()) / 1e9
    if seconds <= 0:
        return ""
    text = f", at {digits(float(calls['bytes'].sum()) / seconds / 1e9)} GB/s"
    share = calls["attainable_ns"].sum(skipna=False) / calls["work_ns"].sum()
    return text + (f", {percent(float(share))} of what the device can" if share == share else "")


def evidence(case: WorkCase, calls: pd.DataFrame, runs: pd.DataFrame) -> list[Evidence]:
    worst = runs.iloc[int(np.argmax(runs["spare_ns"].to_numpy()))]
    names = [f"`{name.removeprefix('aten::')}`" for name in worst["names"][:LONGEST_RUN]]
    more = (
        f" and {len(worst['names']) - LONGEST_RUN} more"
        if len(worst["names"]) > LONGEST_RUN
        else ""
    )
    kept = ms(int(worst["work_ns"] - worst["spare_ns"]))
    text = (
        f"the dearest run: {', '.join(names)}{more} in {ms(int(worst['work_ns']))}, the longest of"
        f" them {kept}"
    )
    return [case.place(text, worst, ns=int(worst["spare_ns"])), *case.blamed(calls)]


def actions(case: WorkCase, calls: pd.DataFrame) -> list[Action]:
    """What to change, by what there is."""
    found = [Action("fuse operators that follow each other", "model = torch.compile(model)")]
    found.append(
        Action(
            "or call one operator where there is one: `gelu`, `silu`, `layer_norm`,"
            " `cross_entropy`, attention"
        )
    )
    if (calls["dtype"] == "float32").any():
        found.append(Action("halve the bytes", "torch.autocast(device_type, dtype=torch.bfloat16)"))
    if case.calls["family"].eq("convolutions").any():
        found.append(
            Action(
                "keep one layout through all convolutions",
                "model.to(memory_format=torch.channels_last)",
            )
        )
    return found


RULE = Rule(ID, not_applicable, detect)
