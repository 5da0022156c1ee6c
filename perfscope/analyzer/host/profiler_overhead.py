"""The profiler itself took a large part of the recorded time.

What it means
    While the profiler writes its own records (flushing buffers, ending a window) the device is
    idle. A run without the profiler does not pay this; shares of the other categories are larger
    there.

How it is detected
    Idle time of the device while the trace has the profiler's own overhead on the thread that
    launches next, at least 5 % of the span. For information only: a run without it loses nothing.

What to do
    Record less: fewer steps after a warm-up, without stacks, shapes and memory unless they are
    needed.

When it is wrong
    Only what the profiler itself marks is seen; that it slows every operator and Python call is
    not.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.trace_case import case_of, missing_device, total
from perfscope.analyzer.categories import PROFILER_OVERHEAD
from perfscope.analyzer.diagnosis import Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import ms, percent
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import longest_row
from perfscope.traces.trace import Trace

ID = "profiler-overhead"

RECORD_LESS = Advice(
    "record-fewer-profiled-steps",
    "record fewer steps, after a warm-up, without stacks and memory unless they are needed",
    "profiler-stalls-device",
    "The profiler stalls the device for at least 5 % of the recorded time.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why the overhead cannot be checked: no device in the recording."""
    return missing_device(trace)


def detect(trace: Trace, limits: Limits) -> Finding | None:
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
            case.place(
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


RULE = Rule(ID, not_applicable, detect, advice=(RECORD_LESS,))
