"""The one sentence: what bounds the run, that nothing does, or why it cannot be told."""

import pandas as pd

from perfscope.analyzer.budget.critical_rank import most_steps
from perfscope.analyzer.budget.observed_budget import observed_budget
from perfscope.analyzer.categories import (
    CATEGORY,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    INPUT_WAIT,
    OTHER_IDLE,
    PEER_WAIT,
)
from perfscope.analyzer.counters.bound_by_counters import on_device
from perfscope.analyzer.counters.device_use import device_use
from perfscope.analyzer.diagnosis import Finding, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import digits, ms, percent, plural
from perfscope.analyzer.run.steps import STEADY, steps
from perfscope.analyzer.run.table_access import manifest, table
from perfscope.analyzer.summary.run_budget import span_s
from perfscope.analyzer.verdict.confidence import Standing
from perfscope.traces.trace import Trace


def of_finding(finding: Finding, standing: Standing, unstepped: str = "") -> Verdict:
    """The finding with the largest loss, and what keeps it from being sure; `unstepped` is a
    sentence of `without_steps`.
    """
    reservations = [finding.caveat or ""]
    if standing.rival is not None:
        reservations.append(
            f"{standing.rival} costs about as much, so the order of the two is uncertain."
        )
    if standing.few:
        reservations.append("Based on few steps; record longer for higher confidence.")
    caveat = " ".join(filter(None, [*reservations, unstepped])) or None
    return Verdict(
        finding.id,
        finding.cause,
        finding.headline,
        finding.explanation,
        caveat,
        standing.confidence,
    )


def without_steps(trace: Trace, limits: Limits) -> str:
    """What a verdict says that rests on no steps; "" where there are enough, and where it was asked
    not to look for any.
    """
    seen = most_steps(trace)
    if seen >= limits.fewest_steps or any(
        one.name == "probe" and one.status == "off" for one in manifest(trace).sources
    ):
        return ""
    if len(trace.fact(steps)):
        return f"Based on {seen} steady steps; record longer for higher confidence."
    return "No complete step was recorded: this describes the recording as a whole."


def healthy(
    trace: Trace,
    limits: Limits,
    rows: pd.DataFrame | None,
    standing: Standing,
    hidden: list[Finding],
) -> Verdict:
    """Nothing recoverable is above its limit."""
    assert rows is not None
    step = float(rows["dur"].mean())
    between = between_calls(rows)
    computing = (
        float((rows[COMPUTE_OR_HOST] + rows[DEVICE_COMPUTE]).sum() / rows["dur"].sum()) - between
    )
    idle = float(rows[OTHER_IDLE].sum() / rows["dur"].sum())
    serving = bool((rows["phase"] == "inference").all())
    if hidden:
        return Verdict(
            "unknown",
            None,
            "No certain bottleneck",
            f"{hidden[0].headline}. {hidden[0].explanation}",
            hidden[0].caveat,
            0.0,
        )
    if not serving and idle >= limits.explains and not on_device(trace, trace.fact(device_use)):
        return waiting_for_unknown(trace, step, idle)
    busy = "compute" if rows[DEVICE_COMPUTE].any() else CATEGORY[COMPUTE_OR_HOST].label
    doing, share = (
        (busy, computing) if not serving or idle < 0.5 else ("waiting for requests", idle)
    )
    what = "call" if serving else "step"
    talking = float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).sum() / rows["dur"].sum())
    parts = [f"{percent(share)} {doing}"]
    if talking >= limits.input_share:
        parts.append(f"{percent(talking)} communication between ranks")
    if between >= limits.input_share:
        parts.append(
            f"{percent(between)} between calls, where a busy host cannot be distinguished from one"
            " that waits"
        )
    explanation = f"A {what} takes {ms(step)}: {', '.join(parts)}."
    caveat = None if serving else "More loader workers would not make it faster."
    waits = float(rows[INPUT_WAIT].mean())
    if waits >= limits.input_share * step:
        caveat = (
            f"{ms(waits)} per step go into receiving batches; only larger batches amortize this."
        )
    headline = (
        f"Healthy: nothing recoverable costs {percent(limits.input_share)} of a {what} or more"
    )
    return Verdict("healthy", None, headline, explanation, caveat, standing.confidence)


def between_calls(rows: pd.DataFrame) -> float:
    """Share of the time of calls that lies between them, as far as nothing tells whether the host
    was busy there.

    0 without a window of torch's profiler, which alone tells what computes in the calls; nor in
    training.
    """
    if not (rows["phase"] == "inference").all() or not rows[DEVICE_COMPUTE].any():
        return 0.0
    return float(rows[COMPUTE_OR_HOST].sum() / rows["dur"].sum())


def waiting_for_unknown(trace: Trace, step_ns: float, idle: float) -> Verdict:
    """A loop that mostly waits for what nothing times: a sleep, a service, another process (or, on
    a device, for it).
    """
    explanation = (
        f"Each step takes {ms(step_ns)}. The thread waits for something perfscope does not time"
        " (not the loader, a checkpoint or a copy)."
    )
    shown = (
        "Its stack samples show where: `perfscope ui`."
        if table(trace, "stacks") is not None
        else None
    )
    return Verdict(
        "unknown",
        None,
        f"The training thread waits {percent(idle)} of each step",
        explanation,
        shown,
        0.0,
    )


def unknown(trace: Trace, reason: str) -> Verdict:
    """The evidence does not carry a verdict: how much there was, and what to do."""
    frame = trace.fact(steps)
    frame = frame[frame["phase"].isin((*STEADY, "warmup"))]
    span = span_s(trace)
    if len(frame):
        most = frame.groupby("process").size().max()
        longest = float(frame["dur"].max())
        wanted = max(30.0, 2.0 * span, 25.0 * longest / 1e9)
        headline = f"Too few steps: {plural(float(most), 'step')} in {digits(span)} s"
        explanation = (
            f"The longest step took {ms(longest)}. Record longer: `--max-duration {wanted:.0f}`."
        )
        return Verdict("unknown", None, headline, explanation, None, 0.0)
    seen = trace.fact(observed_budget)
    if table(trace, "ranges") is None and table(trace, "loader") is None:
        entered = manifest(trace).depth != "observe"
        headline = (
            "No step was recorded: no optimizer, loader or module call"
            if entered
            else "No steps: the process was observed from outside only"
        )
        explanation = ""
        if seen is not None:
            shares = sorted(seen.shares.items(), key=lambda item: -item[1])
            parts = ", ".join(
                f"{CATEGORY[name].label} {percent(share)}"
                for name, share in shares
                if share >= 0.01
            )
            explanation = f"The main thread: {parts}. None of it is clearly wasted."
        why = manifest(trace).depth_reason
        return Verdict(
            "unknown",
            None,
            headline,
            explanation,
            f"Could not attach the probe: {why}" if why else None,
            0.0,
        )
    where = f" in {digits(span)} s" if span > 0 else ""
    return Verdict(
        "unknown",
        None,
        f"No complete step was recorded{where}",
        f"{reason[:1].upper()}{reason[1:]}: no optimizer step, loader or module call repeated.",
        "If its steps are long, record longer: `--max-duration`.",
        0.0,
    )
