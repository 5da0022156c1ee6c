"""Resident memory grows step after step.

What it means
    Something keeps what should be freed: losses appended with their graphs, a cache without a
    limit, lists of tensors, a data set whose workers copy it page by page. Nothing is slow yet; the
    run ends when the memory does.

How it is detected
    A line through the resident memory of the whole process tree over the steady steps (seen from
    outside: over the recording; a program that has yet to take steps is still starting). The 95 %
    interval of its slope (bootstrap over blocks of the residuals) lies above zero, in both halves
    of the recording and on both sides of a window too, and the growth is at least 16 MB for each
    process and 1 % of what is resident.

What to do
    Append `loss.item()`, not `loss`; `del` or `detach()` what is kept; bound caches. Data sets held
    as Python objects grow in forked workers by reference counting: keep them in arrays.

When it is wrong
    A cache that is still filling looks the same; a longer recording tells. Page cache is not
    counted.
"""

from perfscope.analyzer.budget.critical_rank import few_steps
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.host.memory_trend import memory_trend
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, duration, megabytes
from perfscope.analyzer.rule import Rule
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "memory-growth"


def not_applicable(trace: Trace, limits: Limits) -> str | None:
    """Needs readings of resident memory over some seconds, and steps where they can be seen: a
    program that starts grows.
    """
    few = few_steps(trace, limits)
    if few is not None and (trace.has("ranges") or trace.has("loader")):
        return few
    trend = trace.fact(memory_trend)
    if trend is None:
        return "resident memory was not read"
    if trend.span_s < limits.growth_span_s:
        return f"needs {limits.growth_span_s:.0f} s of readings, {digits(trend.span_s)} s taken"
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Growth that is more than noise; it loses no time, so it is never the verdict."""
    trend = trace.fact(memory_trend)
    if trend is None or trend.low <= 0.0 or min(trend.parts) <= 0.5 * trend.slope:
        return None
    grown = trend.slope * trend.span_s
    if grown < max(limits.growth_bytes * trend.processes, limits.growth_share * trend.first_bytes):
        return None
    # What a window of the profiler made the allocator give back comes again: then the end is no
    # higher than the beginning.
    if trend.last_bytes - trend.first_bytes < 0.25 * grown:
        return None
    rows = trace.fact(steady_budget)
    step_s = float(rows["dur"].mean()) / 1e9 if few_steps(trace, limits) is None else None
    pace = f"{megabytes(trend.slope)} per second"
    if step_s is not None:
        pace = f"{megabytes(trend.slope * step_s)} per step ({pace})"
    limit = manifest(trace).memory_limit_bytes
    ends = (
        None
        if limit is None or limit <= trend.last_bytes
        else (limit - trend.last_bytes) / trend.slope
    )
    until = (
        ""
        if ends is None
        else f" At this rate it reaches the limit of {megabytes(limit or 0)} in {duration(ends)}."
    )
    return Finding(
        id=ID,
        cause=None,
        severity="warning",
        rank=None,
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Memory growth: resident memory grows by {pace}",
        explanation=(
            f"It grew from {megabytes(trend.first_bytes)} to {megabytes(trend.last_bytes)} in "
            f"{digits(trend.span_s)} s.{until}"
        ),
        caveat="No time is lost until memory runs out.",
        evidence=[
            Evidence(
                text=(
                    f"slope {megabytes(trend.slope)}/s (95 %: {megabytes(trend.low)} to"
                    f" {megabytes(trend.high)})"
                ),
                value=round(trend.slope / 1e6, 4),
                unit="MB/s",
            )
        ],
        actions=[
            Action(
                "keep numbers, not tensors with their graphs",
                "losses.append(loss.item())  # not losses.append(loss)",
            ),
            Action("look for a list, dict or cache that only grows: `tracemalloc` names the line"),
        ],
    )


RULE = Rule(ID, not_applicable, detect, needs=("counters",), in_traces=False)
