"""Steps take longer and longer.

What it means
    Each step does more than the one before: a metric is computed from all past batches, hooks or
    callbacks are registered in every step and never removed, a graph is kept from step to step, a
    list is searched that only grows. However fast the first steps are, the time of the run grows
    with the square of its steps.

How it is detected
    A straight line is fitted to the times of steady steps, without waits for a core, for a loader,
    checkpoints, garbage collections and compilation. All of the following must hold. The 95 %
    interval of its slope is above zero. It rises by at least 15 % during the recording, also at its
    beginning and at its end, and fits better than a single jump. The time by which the steps exceed
    the first one is at least 5 % of their total time. The thread of the loop uses more CPU time, or
    waits longer in a job of one rank without a device. The parts of a step (forward, backward,
    optimizer, the rest) do not all grow alike, as they do on a machine that becomes slower. One
    line of the program explains at least half of the growth, by stack samples of the first and the
    last third.

What to do
    Look at the line that is named. Keep only what the next steps need, update a result instead of
    computing it from everything again, remove hooks after use, detach what is carried over to the
    next step.

When it is wrong
    Inputs that get longer on purpose (a curriculum, samples sorted by length) look the same if
    they change in every step. The loss counts from the first recorded step: what had grown before
    is not in it.
"""

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps, severity_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Interval, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, megabytes, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.resources.memory_trend import MemoryTrend, memory_trend
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.slow_steps.line_contrast import locate_line, main_thread_samples
from perfscope.analyzer.slow_steps.step_growth import StepGrowth, growth_of_steps
from perfscope.analyzer.slow_steps.step_series import BACKWARD, OPTIMIZER, PARTS, REST
from perfscope.traces.trace import Trace

ID = "growing-steps"
STEPS_OF_PACE = 1000
"""The growth is given per this number of steps."""

REMOVE_HOOK = Advice(
    "remove-hook-after-use",
    "register the hook once, and remove it after use",
    "hook-takes-longer",
    "Most of the growth is in a function that torch calls as a hook of a module or a gradient.",
)
DETACH_STATE = Advice(
    "detach-carried-state",
    "detach what is carried from one step to the next, so that backward ends within the step",
    "backward-and-memory-grow",
    "Most of the growth is in backward, and the 95 % interval of the slope of resident memory is"
    " above zero.",
)
BOUND_HISTORY = Advice(
    "bound-growing-work",
    "make the work independent of the number of past steps: keep the last N, update the result in"
    " each step, or look things up in a set",
    "one-line-takes-longer",
    "Most of the growth is in one line of the program, and neither in a hook, in backward nor in an"
    " optimizer.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why growth cannot be checked: too few steps, no stack samples, no CPU time."""
    missing = missing_steps(trace, limits)
    if missing is not None:
        return missing
    if table(trace, "outside_stacks") is None and table(trace, "stacks") is None:
        return Unmet("other", "needs stack samples, to see what grows")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where steps take longer and longer."""
    growth = growth_of_steps(trace, limits)
    if growth is None or growth.excess_share < limits.recoverable_share:
        return None
    series, trend = growth.series, growth.trend
    samples = main_thread_samples(trace, series.process, series.tid)
    where = locate_line(growth.line, samples, series.process, series.spans)
    memory = growing_memory(trace, limits)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(growth.excess_share, limits),
        lost_s=round(growth.lost_s, 4),
        share=round(growth.excess_share, 4),
        speedup=most_speedup(where.share),
        headline=(
            f"Growing steps: from {ms(trend.first)} to {ms(trend.last)} per step during the"
            " recording"
        ),
        explanation=growth_explanation(growth, memory),
        caveat=(
            "The loss counts from the first recorded step: what had grown before is not in it."
        ),
        evidence=growth_evidence(growth, memory),
        actions=step_growth_actions(growth, memory, limits),
        processes=[series.process],
        where=where,
    )


def most_speedup(share: Interval) -> Speedup:
    """Return the speedup of steps without the line that grows, a ceiling."""
    return Speedup(None, None, round(1.0 / max(1.0 - share.high, 0.01), 3))


def growing_memory(trace: Trace, limits: Limits) -> MemoryTrend | None:
    """Return the trend of resident memory where it grows for certain, else None."""
    trend = trace.fact(memory_trend)
    if trend is None or trend.span_s < limits.growth_span_s or trend.low <= 0.0:
        return None
    return trend if trend.slope * trend.span_s >= limits.kept_graph_bytes else None


def growth_explanation(growth: StepGrowth, memory: MemoryTrend | None) -> str:
    """Return how fast steps grow, where, and what grows with them."""
    line, trend = growth.line, growth.trend
    grown_ns = growth.late.steps.step_ns - growth.early.steps.step_ns
    share = min(line.difference_ns / max(grown_ns, 1.0), 1.0)
    kind = ", a hook" if line.is_hook else ""
    parts = [
        f"Steps grow by {step_pace_text(growth)}, throughout the recording.",
        f"{percent(share)} of the growth is in `{line.frame}`{kind}: {ms(line.less_ns)} per step in"
        f" the first third, {ms(line.more_ns)} in the last.",
    ]
    if growth.operators is not None and growth.operators[1] > growth.operators[0]:
        before, after = growth.operators
        parts.append(f"A step calls {digits(after)} operators instead of {digits(before)}.")
    if memory is not None:
        parts.append(f"Resident memory grows by {megabytes(memory.slope)} per second.")
    recorded = growth.series.number[-1] - growth.series.number[0]
    more_steps = round(trend.last / trend.slope)
    parts.append(
        f"If this continues, steps take twice as long after {digits(more_steps)}"
        f" more steps; {digits(float(recorded))} were recorded."
    )
    return " ".join(parts)


def step_pace_text(growth: StepGrowth) -> str:
    """Return the growth per 1,000 steps with its interval."""
    low, likely, high = (
        ms(slope * STEPS_OF_PACE)
        for slope in (max(growth.trend.low, 0.0), growth.trend.slope, growth.trend.high)
    )
    return f"{likely} per {digits(STEPS_OF_PACE)} steps (95 %: {low} to {high})"


def growth_evidence(growth: StepGrowth, memory: MemoryTrend | None) -> list[Evidence]:
    """Return the slope, the first and the last third, and what grows with the steps."""
    process = growth.series.process
    facts = [
        Evidence(
            f"growth {step_pace_text(growth)}",
            round(growth.trend.slope * STEPS_OF_PACE / 1e6, 4),
            "ms",
            process=process,
        )
    ]
    for name, section in (("first", growth.early), ("last", growth.late)):
        of_parts = ", ".join(
            f"{'outside of them' if part == REST else part} {ms(section.parts[part])}"
            for part in PARTS
        )
        facts.append(
            Evidence(
                f"{name} third, {plural(section.count, 'step')}: {ms(section.work_ns)} per step"
                f" ({of_parts}), {ms(section.cpu_ns or 0.0)} of CPU time",
                round(section.work_ns / 1e6, 4),
                "ms",
                start_ns=section.begin_ns,
                end_ns=section.end_ns,
                process=process,
                lane="main",
            )
        )
    if memory is not None:
        facts.append(
            Evidence(
                f"resident memory grows by {megabytes(memory.slope)} per second",
                round(memory.slope / 1e6, 4),
                "MB/s",
                process=process,
            )
        )
    return facts


def step_growth_actions(
    growth: StepGrowth, memory: MemoryTrend | None, limits: Limits
) -> list[Action]:
    """Return the changes that fit what grows."""
    line = growth.line
    in_line = f"{ms(line.less_ns)} to {ms(line.more_ns)} per step in `{line.frame}`"
    most = limits.main_cause_share
    in_backward = growth.part_of_growth(BACKWARD) >= most
    in_optimizer = growth.part_of_growth(OPTIMIZER) >= most
    return [
        *REMOVE_HOOK.given(
            line.is_hook,
            in_line,
            text=f"register `{line.frame.function}` once, and remove the hook after use",
            snippet="handle = module.register_forward_hook(hook); ...; handle.remove()",
        ),
        *DETACH_STATE.given(
            in_backward and not line.is_hook and memory is not None,
            f"{percent(min(growth.part_of_growth(BACKWARD), 1.0))} of the growth is in backward",
            snippet="state = state.detach()",
        ),
        *BOUND_HISTORY.given(
            not line.is_hook and not in_backward and not in_optimizer,
            in_line,
            text=(
                f"make the work of `{line.frame}` independent of the number of past steps: keep"
                " the last N, update its result in each step, or look things up in a set"
            ),
        ),
    ]


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("ranges", "counters"),
    in_traces=False,
    replaces_advice=True,
    outranks_others_if_critical=True,
    consequences=(
        "launch-bound",
        "memory-growth",
        "host-code",
        "validation-time",
        "input-bound/unknown-loader",
        "compute-bound",
        "memory-bound",
    ),
    advice=(REMOVE_HOOK, DETACH_STATE, BOUND_HISTORY),
    color="compute-or-host",
)
