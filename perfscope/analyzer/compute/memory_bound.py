"""Memory limits the operators, and several consecutive ones read and write the same tensors.

What it means
    An operator that does little arithmetic per byte waits for memory, however fast the device
    computes: elementwise operators, normalization, reductions and copies. Where several of them
    follow each other on tensors of one size, each writes to memory what the next one reads back.
    One fused kernel would read once and write once.

How it is detected
    FLOPs and bytes of each call follow from its shapes (docs/roofline.md). Memory is the lower
    roof, and the call comes near it. Without known peaks: at most 1 FLOP per byte, and more data
    than caches hold. On a CPU calls with that much data count however far below the roof they are,
    because new pages have to be allocated. In each run of consecutive such calls without other work
    between them, the loss is the time of all but the longest call. In total it is at least 3 % of
    the step. The speedup is a ceiling: a matrix multiplication or reduction next to a run may
    absorb all of it. While attached to a device with GPM (Hopper and newer): at least half of the
    reachable memory bandwidth (0.8 of peak) is used, and memory is nearer to its ceiling than
    arithmetic. SM activity is not used, because warps that wait count as active. Then it is unknown
    how much could be saved, and no loss is given.

What to do
    Where they are in the model, `torch.compile(model)` fuses them; so do functions that exist as
    one operator (`gelu`, `layer_norm`, `scaled_dot_product_attention`). Where they are in the
    optimizer, `fused=True` does, or `torch.compile(optimizer.step)` for an optimizer without it.
    bfloat16 halves the bytes. Where layouts are copied, keep one layout (`channels_last` for
    convolutions).

When it is wrong
    Consecutive operators need not depend on each other. Data that stay in a cache between two
    operators cost less than memory traffic. Inside a profiling window every call takes a little
    longer, so only proportions are reported.
"""

from functools import partial

import numpy as np
import pandas as pd

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.lines.line_samples import samples_in_phase
from perfscope.analyzer.compute import counter_evidence
from perfscope.analyzer.compute.compiled_code import compiled_code
from perfscope.analyzer.compute.compute_case import (
    WorkCase,
    no_costed_work,
    no_work_case,
    work_case,
)
from perfscope.analyzer.compute.fusable_runs import fusable_runs
from perfscope.analyzer.compute.precision_advice import (
    CHANNELS_LAST,
    bfloat16_evidence,
    channels_last_actions,
    has_bfloat16,
)
from perfscope.analyzer.compute.roofline import MEMORY
from perfscope.analyzer.compute.runs_by_phase import (
    FUSED_OPTIMIZERS,
    is_in_phase,
    optimizer_names,
    phase_of_runs,
    spare_by_phase,
)
from perfscope.analyzer.compute.work_limits import limited_by
from perfscope.analyzer.compute.work_lines import line_of_work
from perfscope.analyzer.diagnosis import Action, CodeLocation, Evidence, Finding, Message
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.phases.phase_intervals import STEPS
from perfscope.traces.trace import Trace

ID = "memory-bound"
MOST_NAMES_IN_RUN = 8
COMPILE_MODEL = Advice(
    id="compile-model",
    text="fuse consecutive operators",
    precondition="not-compiled",
    holds_when="Operators were recorded, and none of them is code that torch.compile compiled.",
)
USE_ONE_OPERATOR = Advice(
    id="use-fused-operators",
    text=(
        "call one operator instead of several where there is one: `gelu`, `silu`, `layer_norm`,"
        " `cross_entropy`, attention"
    ),
    precondition="consecutive-memory-bound-operators",
    holds_when="Runs of consecutive operators that memory limits were recorded.",
)
FUSE_UPDATE = Advice(
    id="fuse-update",
    text="update the parameters in one pass over memory",
    precondition="memory-bound-runs-in-optimizer",
    holds_when=(
        "At least half of what fusing saves is in steps of the optimizer, and none of the recorded"
        " operators is compiled code."
    ),
)
HALVE_BYTES = Advice(
    id="halve-bytes-with-bfloat16",
    text="halve the bytes with bfloat16",
    precondition="moves-float32-and-has-bfloat16",
    holds_when=(
        "Calls that memory limits use float32, and the device is known to be faster in bfloat16."
    ),
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why this cannot be checked: it needs operators with shapes, or GPM counters."""
    unmet = no_work_case(trace, limits)
    return None if unmet is None else counter_evidence.unmet_without_counters(trace, unmet)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return what fusing would save, when it is enough, with what the device's counters show."""
    by_operators = None if no_costed_work(trace) else memory_bound_by_operators(trace, limits)
    return counter_evidence.with_counters(by_operators, trace, ID, limits)


def memory_bound_by_operators(trace: Trace, limits: Limits) -> Finding | None:
    """Return what fusing consecutive operators would save, when it is enough."""
    case = work_case(trace, limits)
    runs = trace.fact(fusable_runs)
    if case is None or not len(runs):
        return None
    of_unit = (runs["process"] == case.unit.process) & (runs["device"] == case.unit.device)
    runs = runs[of_unit]
    spare_ns = float(runs["spare_ns"].sum())
    if case.share(spare_ns) < limits.worth_share:
        return None
    calls = case.calls[limited_by(case.calls) == MEMORY]
    ceiling = case.ceiling(float(runs["work_ns"].sum()), limits)
    most = 1.0 - 1.0 / ceiling.high
    message = Message(
        "Memory-bound: operators that wait for memory take"
        f" {percent(case.share(case.limits.memory))} of the time",
        f"Of these {percent(case.share(case.limits.memory))}: {case.top_operators(calls)}."
        f"{memory_rate_text(calls)} Many follow each other on the same tensors: fusing them would"
        f" save {percent(case.share(spare_ns))} of the time, and up to {percent(most)} where a"
        " matrix product or reduction absorbs them.",
        "Faster arithmetic would not make them faster.",
    )
    return case.finding(
        ID,
        spare_ns,
        limits,
        message=message,
        evidence=[costliest_run(case, runs), *case.origin_evidence(calls)],
        actions=fewer_passes_over_memory(case, calls, runs),
        speedup=ceiling,
    )


def memory_rate_text(calls: pd.DataFrame) -> str:
    """Return the memory bandwidth that these calls reach, as a sentence."""
    seconds = float(calls["work_ns"].sum()) / 1e9
    if seconds <= 0:
        return ""
    text = f" They move {digits(float(calls['bytes'].sum()) / seconds / 1e9)} GB/s"
    of_roof = float(calls["attainable_ns"].sum(skipna=False) / calls["work_ns"].sum())
    return f"{text}." if np.isnan(of_roof) else f"{text}, {percent(of_roof)} of the peak."


def costliest_run(case: WorkCase, runs: pd.DataFrame) -> Evidence:
    """Return the run of operators that fusing would shorten most."""
    worst = runs.iloc[int(np.argmax(runs["spare_ns"].to_numpy()))]
    names = [f"`{name.removeprefix('aten::')}`" for name in worst["names"]]
    shown = ", ".join(names[:MOST_NAMES_IN_RUN])
    hidden = len(names) - MOST_NAMES_IN_RUN
    more = f" and {hidden} more" if hidden > 0 else ""
    longest = ms(int(worst["work_ns"] - worst["spare_ns"]))
    text = (
        f"most expensive run of fusable operators: {shown}{more} in {ms(int(worst['work_ns']))},"
        f" the longest of them {longest}"
    )
    return case.timed_evidence(text, worst, ns=int(worst["spare_ns"]))


def fewer_passes_over_memory(
    case: WorkCase, calls: pd.DataFrame, runs: pd.DataFrame
) -> list[Action]:
    """Return the changes that move fewer bytes and fit these calls."""
    compiled = compiled_code(case.trace, case.unit.process)
    in_float32 = int((calls["dtype"] == "float32").sum())
    spare = spare_by_phase(case.trace, case.unit.process, runs)
    whole_ns = max(float(runs["spare_ns"].sum()), 1.0)
    in_optimizer = 2.0 * spare["optimizer"] >= whole_ns
    return [
        *FUSE_UPDATE.given(
            in_optimizer and compiled.is_eager,
            f"{percent(spare['optimizer'] / whole_ns)} of it in the optimizer; {compiled.text}",
            snippet=fused_update(optimizer_names(case.trace, case.unit.process)),
        ),
        *COMPILE_MODEL.given(
            compiled.is_eager and not in_optimizer,
            compiled.text,
            snippet="model = torch.compile(model)",
        ),
        *USE_ONE_OPERATOR.given(
            len(runs) > 0 and not in_optimizer,
            f"{plural(float(len(runs)), 'run')} of consecutive operators",
        ),
        *HALVE_BYTES.given(
            in_float32 > 0 and has_bfloat16(case),
            f"{plural(float(in_float32), 'call')} in float32; {bfloat16_evidence(case)}",
            snippet="torch.autocast(device_type, dtype=torch.bfloat16)",
        ),
        *([] if in_optimizer else channels_last_actions(case, case.calls)),
    ]


def fused_update(optimizers: list[str]) -> str:
    """Return how to fuse the step of these optimizers, as code."""
    if len(optimizers) == 1 and optimizers[0] in FUSED_OPTIMIZERS:
        return f"torch.optim.{optimizers[0]}(..., fused=True)"
    return "optimizer.step = torch.compile(optimizer.step)"


def line_of_memory_work(trace: Trace, finding: Finding) -> CodeLocation | None:
    """Return the line in the part of a step in which runs of operators are called."""
    process, place = finding.processes[0], None
    phase = phase_of_runs(trace, process)
    if phase is not None:
        is_of_phase = partial(is_in_phase, phase=phase)
        place = samples_in_phase(trace, process, STEPS).hottest_line(is_of_phase)
    return place or line_of_work(trace, finding)


RULE = Rule(
    ID,
    not_applicable,
    detect,
    where=line_of_memory_work,
    advice=(
        FUSE_UPDATE,
        COMPILE_MODEL,
        USE_ONE_OPERATOR,
        HALVE_BYTES,
        CHANNELS_LAST,
        *counter_evidence.COUNTER_ADVICE,
    ),
    color="device-compute",
)
