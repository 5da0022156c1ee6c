"""Resident memory grows step after step.

What it means
    Something keeps what should be freed: losses appended with their graphs, a cache without a
    limit, lists of tensors, a dataset whose workers copy it page by page. Nothing is slow yet; the
    run ends when memory runs out.

How it is detected
    A line is fitted to the resident memory of the whole process tree over the steady steps (seen
    from outside: over the recording; a program that has not made steps yet is still starting). The
    95 % interval of its slope (bootstrap over blocks of the residuals) is above zero, in both
    halves of the recording and on both sides of a window too, and the growth is at least 16 MB for
    each process and 1 % of what is resident.

What to do
    Append `loss.item()`, not `loss`; `del` or `detach()` what is kept; bound caches. Datasets held
    as Python objects grow in forked workers by reference counting: keep them in arrays.

When it is wrong
    A cache that is still filling looks the same; a longer recording shows the difference. Page
    cache is not counted.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps
from perfscope.analyzer.budget.time_budget import steady_budget
from perfscope.analyzer.diagnosis import Action, Evidence, Finding
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, duration, megabytes, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.resources.memory_trend import MemoryTrend, memory_trend
from perfscope.analyzer.run.table_access import manifest
from perfscope.traces.trace import Trace

ID = "memory-growth"

KEEP_NUMBERS = Advice(
    "keep-numbers-not-graphs",
    "keep numbers, not tensors with their graphs",
    "memory-grows-while-training",
    "Resident memory grows, and training steps were recorded.",
)
FIND_CONTAINER = Advice(
    "find-growing-container",
    "look for a list, dict or cache that only grows: `tracemalloc` names the line",
    "memory-grows",
    "The 95 % interval of the slope of resident memory is above zero.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why growth cannot be checked: too few steps, or readings over too little time.

    A program that starts grows; where steps cannot be seen at all, readings are enough.
    """
    missing = missing_steps(trace, limits)
    if missing is not None and (trace.has("ranges") or trace.has("loader")):
        return missing
    trend = trace.fact(memory_trend)
    if trend is None:
        return Unmet("other", "resident memory was not read")
    if trend.span_s < limits.growth_span_s:
        wanted = f"{limits.growth_span_s:.0f} s of readings"
        return Unmet("too-short", f"needs {wanted}, {digits(trend.span_s)} s taken")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where growth is more than noise.

    It loses no time, so it is never the verdict.
    """
    trend = trace.fact(memory_trend)
    if trend is None or not is_growth(trend, limits):
        return None
    return Finding(
        id=ID,
        cause=None,
        severity="warning",
        scope="run",
        lost_s=0.0,
        share=0.0,
        speedup=None,
        headline=f"Memory growth: resident memory grows by {pace_text(trace, trend, limits)}",
        explanation=(
            f"It grew from {megabytes(trend.first_bytes)} to {megabytes(trend.last_bytes)} in"
            f" {digits(trend.span_s)} s.{limit_text(trace, trend)}"
        ),
        caveat="No time is lost until memory runs out.",
        evidence=[
            Evidence(slope_text(trend), value=round(trend.slope / 1e6, 4), unit="MB/s"),
        ],
        actions=growth_actions(trace, trend),
    )


def is_growth(trend: MemoryTrend, limits: Limits) -> bool:
    """Return whether memory grows steadily and by more than the noise of allocators."""
    steady = min(trend.parts) > limits.steady_growth_share * trend.slope
    if trend.low <= 0.0 or not steady:
        return False
    grown = trend.slope * trend.span_s
    noise = max(limits.growth_bytes * trend.processes, limits.growth_share * trend.first_bytes)
    # A profiling window makes the allocator return memory that it takes again: then the end is not
    # higher than the beginning.
    kept = trend.last_bytes - trend.first_bytes
    return grown >= noise and kept >= limits.kept_growth_share * grown


def pace_text(trace: Trace, trend: MemoryTrend, limits: Limits) -> str:
    """Return the growth per second, and per step where there are steps."""
    per_second = f"{megabytes(trend.slope)} per second"
    if missing_steps(trace, limits) is not None:
        return per_second
    step_s = float(trace.fact(steady_budget)["dur"].mean()) / 1e9
    return f"{megabytes(trend.slope * step_s)} per step ({per_second})"


def limit_text(trace: Trace, trend: MemoryTrend) -> str:
    """Return when memory reaches the job's limit, "" without a known one."""
    limit = manifest(trace).memory_limit_bytes
    if limit is None or limit <= trend.last_bytes:
        return ""
    left = duration((limit - trend.last_bytes) / trend.slope)
    return f" At this rate it reaches the limit of {megabytes(limit)} in {left}."


def slope_text(trend: MemoryTrend) -> str:
    """Return the slope with its interval."""
    interval = f"{megabytes(trend.low)} to {megabytes(trend.high)}"
    return f"slope {megabytes(trend.slope)}/s (95 %: {interval})"


def growth_actions(trace: Trace, trend: MemoryTrend) -> list[Action]:
    """Return the actions for memory that grows."""
    rows = trace.fact(steady_budget)
    training_steps = int((rows["phase"] == "train").sum()) if len(rows) else 0
    return [
        *KEEP_NUMBERS.given(
            training_steps > 0,
            f"{slope_text(trend)} in {plural(training_steps, 'training step')}",
            snippet="losses.append(loss.item())  # not losses.append(loss)",
        ),
        *FIND_CONTAINER.given(trend.low > 0.0, slope_text(trend)),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("counters",),
    in_traces=False,
    advice=(KEEP_NUMBERS, FIND_CONTAINER),
    color="compute-or-host",
)
