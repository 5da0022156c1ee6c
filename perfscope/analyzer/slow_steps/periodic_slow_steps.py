"""Some steps take much longer, and they come back at a regular interval.

What it means
    Something is done in addition to training every N steps, or every N seconds: a plot, a metric
    over a large set, a histogram of all weights, an export. Its mean time per step is small only if
    it is rare enough.

How it is detected
    Step times are compared without waits for a loader, checkpoints, garbage collections,
    compilation and validation. A slow step takes at least 1.5 times the median. Slow steps come
    back after the same number of steps (at least three quarters of the expected ones, more than by
    chance) or after the same time. The time by which they exceed the mean of the other steps is at
    least 5 % of all steady steps. One line of the program explains at least half of that: it is in
    the stack samples of slow steps and hardly in those of others. Three kinds of slow steps do not
    count: those in which the thread sleeps or waits, those that update the weights after gradient
    accumulation, and those that make the data of the next steps (rollouts).

What to do
    Do it less often, on less data, or in another process. The predicted step time follows from the
    measured times: the usual step and the same slow steps, at a longer period.

When it is wrong
    What is done every N steps may be part of the algorithm. With a device, slow steps in which the
    thread waits for the driver are left out: they may wait for work of the steps before.
"""

import math

import numpy as np

from perfscope.analyzer.advice import Advice
from perfscope.analyzer.budget.critical_rank import missing_steps, severity_of
from perfscope.analyzer.diagnosis import Action, Evidence, Finding, Prediction, Speedup
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, duration, ms, percent, plural
from perfscope.analyzer.rule import Rule, Unmet
from perfscope.analyzer.run.table_access import table
from perfscope.analyzer.slow_steps.slow_step_code import SlowStepCode, slow_step_code
from perfscope.analyzer.slow_steps.slow_step_period import PER_STEP, SlowSteps
from perfscope.traces.trace import Trace

ID = "periodic-slow-steps"
WIDTH = 0.1
"""The half-width of the prediction, as a share: usual steps of one run differ by that."""
SHOWN_STEPS = 3
MOST = 0.5

DO_LESS_OFTEN = Advice(
    "do-less-often",
    "do it less often, on less data, or in another process",
    "work-repeats-every-few-steps",
    "At least four slow steps were recorded at a fixed distance, and they are not the first steps"
    " of epochs.",
)


def not_applicable(trace: Trace, limits: Limits) -> Unmet | None:
    """Return why slow steps cannot be checked: too few steps, or no stack samples."""
    missing = missing_steps(trace, limits)
    if missing is not None:
        return missing
    if table(trace, "outside_stacks") is None and table(trace, "stacks") is None:
        return Unmet("other", "needs stack samples, to see what slow steps do")
    return None


def detect(trace: Trace, limits: Limits) -> Finding | None:
    """Return the finding where slow steps with a period cost enough."""
    code = slow_step_code(trace, limits)
    if code is None:
        return None
    slow = code.slow
    actions = less_frequent(code, limits)
    every = period_text(slow)
    return Finding(
        id=ID,
        cause=None,
        severity=severity_of(slow.share, limits),
        lost_s=round(slow.lost_ns / 1e9, 4),
        share=round(slow.share, 4),
        speedup=speedup_at_longer_period(slow, actions),
        headline=(
            f"Periodic slow steps: every {every} one takes {ms(slow_step_ns(slow))} instead of"
            f" {ms(slow.usual_ns)}, {percent(slow.share)} of the time"
        ),
        explanation=slow_step_explanation(code),
        caveat=None,
        evidence=slow_step_evidence(slow),
        actions=actions,
        processes=[slow.series.process],
        where=code.where,
    )


def slow_step_ns(slow: SlowSteps) -> float:
    """Return the mean of the slow steps."""
    return slow.usual_ns + float(slow.excess_ns.mean())


def slow_step_explanation(code: SlowStepCode) -> str:
    """Return which line makes the steps slow, where enough samples name it."""
    if code.where is None:
        return "Too few stack samples are in these steps to name the line that makes them slow."
    share = code.line.difference_ns / max(float(code.slow.excess_ns.mean()), 1.0)
    return (
        f"{percent(min(share, 1.0))} of what these steps take longer is in `{code.line.frame}`,"
        " which takes little of the other steps."
    )


def period_text(slow: SlowSteps, times: int = 1) -> str:
    """Return the period, or a multiple of it: `50 steps`, `2 seconds`."""
    if slow.unit == PER_STEP:
        return plural(round(slow.period) * times, "step")
    return duration(round(slow.period / 1e9, 2) * times)


def slow_step_evidence(slow: SlowSteps) -> list[Evidence]:
    """Return the number of slow steps and their period, and the longest ones with their place."""
    series = slow.series
    in_steps = slow.unit == PER_STEP
    facts = [
        Evidence(
            f"{plural(len(slow.rows), 'slow step')} of {digits(len(series))}, one every"
            f" {period_text(slow)}",
            round(slow.period if in_steps else slow.period / 1e9, 4),
            "steps" if in_steps else "s",
            process=series.process,
        ),
        Evidence(
            f"they take {ms(float(slow.excess_ns.mean()))} longer on average",
            round(float(slow.excess_ns.mean()) / 1e6, 4),
            "ms",
            process=series.process,
        ),
    ]
    order = sorted(range(len(slow.rows)), key=lambda at: -int(slow.excess_ns[at]))
    for at in order[:SHOWN_STEPS]:
        row = int(slow.rows[at])
        facts.append(
            Evidence(
                f"step {int(series.number[row])}: {ms(float(series.work_ns[row]))}",
                round(float(series.work_ns[row]) / 1e6, 4),
                "ms",
                start_ns=int(series.begin_ns[row]),
                end_ns=int(series.end_ns[row]),
                process=series.process,
                lane="main",
            )
        )
    return facts


def less_frequent(code: SlowStepCode, limits: Limits) -> list[Action]:
    """Return the advice to do it so rarely that it takes at most 5 % of the time."""
    slow = code.slow
    starts_epochs = is_at_epochs(slow)
    step_ns = float(slow.series.dur_ns.mean())
    excess_ns = slow.lost_ns / len(slow.series)
    other_ns = step_ns - excess_ns
    allowed_ns = limits.recoverable_share / (1.0 - limits.recoverable_share) * other_ns
    times = rounded_up(max(excess_ns / max(allowed_ns, 1.0), 2.0))
    called = "do it" if code.where is None else f"call `{code.line.frame}`"
    given = DO_LESS_OFTEN.given(
        not starts_epochs,
        f"{plural(len(slow.rows), 'slow step')}, one every {period_text(slow)}",
        text=(
            f"{called} every {period_text(slow, times)} instead of every"
            f" {period_text(slow)}, give it less to do, or do it in another process"
        ),
    )
    likely_ns = other_ns + excess_ns / times
    prediction = Prediction(
        metric="step_ms",
        before=round(step_ns / 1e6, 4),
        low=round(likely_ns * (1.0 - WIDTH) / 1e6, 4),
        likely=round(likely_ns / 1e6, 4),
        high=round(min(likely_ns * (1.0 + WIDTH), step_ns) / 1e6, 4),
    )
    return [
        Action(
            id=action.id,
            text=action.text,
            precondition=action.precondition,
            snippet=action.snippet,
            predictions=[prediction],
        )
        for action in given
    ]


def is_at_epochs(slow: SlowSteps) -> bool:
    """Return whether most slow steps create an iterator of a loader, or the next step does."""
    starts = np.append(slow.series.starts_iterator, False)
    return float((starts[slow.rows] | starts[slow.rows + 1]).mean()) >= MOST


def rounded_up(times: float) -> int:
    """Return a factor rounded up to 2, 5 or 10 times a power of ten."""
    size = 10.0 ** math.floor(math.log10(times))
    return int(next(size * step for step in (1, 2, 5, 10) if size * step >= times - 1e-9))


def speedup_at_longer_period(slow: SlowSteps, actions: list[Action]) -> Speedup:
    """Return the speedup that the first action predicts, else that without slow steps at most."""
    if actions:
        predicted = actions[0].predictions[0]
        low, high = predicted.before / predicted.high, predicted.before / predicted.low
        likely = predicted.before / (predicted.likely or predicted.high)
        return Speedup(round(low, 3), round(likely, 3), round(high, 3))
    return Speedup(None, None, round(1.0 / max(1.0 - slow.share, 0.01), 3))


RULE = Rule(
    ID,
    not_applicable,
    detect,
    needs=("ranges",),
    in_traces=False,
    replaces_advice=True,
    consequences=(
        "launch-bound",
        "host-code",
        "input-bound/unknown-loader",
        "compute-bound",
        "memory-bound",
    ),
    advice=(DO_LESS_OFTEN,),
    color="compute-or-host",
)
