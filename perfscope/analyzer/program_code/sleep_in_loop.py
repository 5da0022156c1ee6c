"""The program sleeps in its loop.

What it means
    The loop calls `time.sleep` (or another function that sleeps) and computes nothing meanwhile.
    Usually it polls: it checks whether something is ready, and sleeps when it is not.

How it is detected
    The Linux kernel reports that the loop's thread sleeps outside of the loader and of PyTorch's
    calls for at least 5 % of the loop's time. Most of that is at one line of the program, which
    calls no function of a package there.

What to do
    Wait for the event itself: a blocking `queue.get()`, a condition variable, an event. Or sleep
    for a shorter time.

When it is wrong
    A program that limits its own rate sleeps on purpose.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import severity_of
from perfscope.analyzer.budget.loop.blocked_lines import (
    evidence_of_blocking,
    missing_loop_samples,
    worst_blocked_line,
)
from perfscope.analyzer.diagnosis import Finding, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.rule import Rule
from perfscope.traces.trace import Trace

ID = "sleep-in-loop"
WAIT_FOR_EVENT = Advice(
    "wait-for-event",
    "wait for the event itself instead of sleeping: a blocking `get` of the queue, or a condition"
    " variable",
    "program-sleeps-in-loop",
    "One line of the program sleeps for at least 5 % of the loop's time.",
)


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where the program sleeps for long enough."""
    line = worst_blocked_line(trace, limits)
    if line is None or not line.is_sleep:
        return None
    share, place = line.share, line.where.place
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(share, limits),
        lost_s=round(share * line.time.loop_s, 4),
        share=round(share, 4),
        speedup=Speedup(None, None, round(1.0 / max(1.0 - share, 0.05), 3)),
        headline=f"Sleep in the loop: {percent(share)} of its time at {place}",
        explanation="The program sleeps there; nothing computes meanwhile.",
        evidence=[evidence_of_blocking(line)],
        actions=WAIT_FOR_EVENT.given(
            share >= limits.recoverable_share, f"{percent(share)} of the loop's time at {place}"
        ),
        processes=[line.where.process],
        where=line.where,
    )


RULE = Rule(
    ID,
    missing_loop_samples,
    detect,
    on_host=True,
    in_traces=False,
    replaces_advice=True,
    consequences=("input-bound/unknown-loader", "launch-bound"),
    advice=(WAIT_FOR_EVENT,),
    color="other-idle",
)
