"""The profiler itself took a large part of the recorded time.

What it means
    While the profiler writes its own records (flushing buffers, ending a window) the device is
    idle. A run without the profiler does not pay this; shares of the other categories are larger
    there.

How it is detected
    Idle time of the device while the trace has the profiler's own overhead on the thread that
    launches next, at least 5 % of the span. For information only: a run without it loses nothing.
    In a recording of a running program: stack samples of its loop in the profiler that the program
    itself uses, at least 5 % of them.

What to do
    Record less: fewer steps after a warm-up, without stacks, shapes and memory unless they are
    needed. End the profiler after the steps of interest (`repeat=1` in its schedule).

When it is wrong
    Only the time that the profiler itself marks is counted. That it slows every operator and every
    Python call is not measured.
"""

import re

import numpy as np

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.loop.loop_samples import (
    LoopSamples,
    hottest_line,
    location_in_loop,
    loop_samples,
)
from perfscope.analyzer.budget.loop.loop_time import loop_times
from perfscope.analyzer.budget.trace_case import case_of, missing_device, total
from perfscope.analyzer.categories import PROFILER_OVERHEAD
from perfscope.analyzer.diagnosis import Evidence, Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.stacks.sample_shares import FEWEST_SAMPLES
from perfscope.analyzer.run.table_access import longest_row
from perfscope.traces.trace import Trace

ID = "profiler-overhead"

RECORD_LESS = Advice(
    "record-fewer-profiled-steps",
    "record fewer steps, after a warm-up, without stacks and memory unless they are needed",
    "profiler-stalls-device",
    "The profiler stalls the device for at least 5 % of the recorded time.",
)


END_PROFILING = Advice(
    "end-profiling",
    "end the program's own profiler after the steps of interest",
    "program-profiles-itself",
    "At least 5 % of the loop's stack samples are in the program's own profiler.",
)
IN_PROFILER = re.compile(r"^torch/(profiler/|autograd/profiler)")


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why the overhead cannot be checked: neither stack samples of a loop nor a device."""
    return None if trace.fact(loop_samples) else missing_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where a profiler costs enough."""
    if trace.has_profiled_work:
        return overhead_in_trace(trace, limits)
    loops = trace.fact(loop_samples).values()
    found = [finding for loop in loops if (finding := overhead_of_program(trace, loop, limits))]
    return max(found, key=lambda finding: finding.lost_s, default=None)


def overhead_of_program(trace: Trace, samples: LoopSamples, limits: Limits) -> Finding | None:
    """Return the finding where the program's own profiler takes enough of its loop."""
    profiles = np.array(
        [any(IN_PROFILER.match(frame.file) for frame in code.below) for code in samples.codes], bool
    )
    share = samples.weight_of(profiles)
    if share < limits.profiler_share or samples.count_of(profiles) < FEWEST_SAMPLES:
        return None
    profiled = f"{percent(share)} of the loop's time is in the program's own profiler"
    line = hottest_line(samples, profiles)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        processes=[samples.process],
        lost_s=round(share * trace.fact(loop_times)[samples.process].loop_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.05), 3)),
        headline=f"Profiler overhead: {profiled}",
        explanation="It also slows every operator while it records.",
        evidence=[Evidence(profiled, round(share, 4), "share", process=samples.process)],
        actions=END_PROFILING.given(
            share >= limits.profiler_share,
            profiled,
            snippet="torch.profiler.schedule(wait=5, warmup=2, active=5, repeat=1)",
        ),
        where=location_in_loop(samples, line, profiles & samples.mask_of_line(line)),
    )


def overhead_in_trace(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the profiler's own marks cover enough idle time."""
    case = case_of(trace, limits)
    pieces = case.of(PROFILER_OVERHEAD)
    share = total(pieces) / case.span_ns
    if share < limits.profiler_share:
        return None
    worst = longest_row(pieces)
    stalls = f"the profiler stalls the device {percent(share)} of the recorded time"
    return Finding(
        id=ID,
        cause=None,
        severity="info",
        processes=[case.unit.process],
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Profiler overhead: {stalls}",
        explanation=(
            "A run without it is faster, and the shares of the other categories are larger there."
        ),
        evidence=[
            case.timed_evidence(
                f"longest: {ms(int(worst['dur']))}", worst, value_ns=int(worst["dur"]), lane="host"
            )
        ],
        actions=RECORD_LESS.given(
            share >= limits.profiler_share,
            stalls,
            snippet=(
                "torch.profiler.profile(schedule=torch.profiler.schedule(wait=5, warmup=2,"
                " active=5))"
            ),
        ),
    )


RULE = Rule(
    ID,
    not_applicable,
    detect,
    consequences=("launch-bound", "input-bound/unknown-loader"),
    advice=(RECORD_LESS, END_PROFILING),
    color="profiler-overhead",
)
