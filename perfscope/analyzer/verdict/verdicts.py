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
from perfscope.analyzer.verdict.confidence import Standing
from perfscope.analyzer.verdict.run_summary import span_s
from perfscope.traces.trace import Trace


def of_finding(finding: Finding, standing: Standing, unstepped: str = "") -> Verdict:
    """The finding with the largest loss, and what keeps it from being sure; `unstepped` is a sentence of `without_steps`."""
    text = finding.summary
    if standing.rival is not None:
        text += f" It cannot be told apart from {standing.rival}, which costs about as much."
    if standing.few:
        text += " There were few steps: a longer recording would make this surer."
    return Verdict(finding.id, finding.cause, f"{text} {unstepped}".rstrip(), standing.confidence)


def without_steps(trace: Trace, limits: Limits) -> str:
    """What a verdict says that rests on no steps; "" where there are enough, and where it was asked not to look for any."""
    seen = most_steps(trace)
    if seen >= limits.fewest_steps or any(
        one.name == "probe" and one.status == "off" for one in manifest(trace).sources
    ):
        return ""
    if len(trace.fact(steps)):
        return f"Too few steady steps were seen ({seen}): a longer recording would make this surer."
    return "No whole step was seen: this is told of the recording as a whole."


def healthy(
    trace: Trace, limits: Limits, rows: pd.DataFrame | None, standing: Standing, hidden: list[Finding]
) -> Verdict:
    """Nothing recoverable is above its limit."""
    assert rows is not None
    step = float(rows["dur"].mean())
    between = between_calls(rows)
    computing = float((rows[COMPUTE_OR_HOST] + rows[DEVICE_COMPUTE]).sum() / rows["dur"].sum()) - between
    idle = float(rows[OTHER_IDLE].sum() / rows["dur"].sum())
    serving = bool((rows["phase"] == "inference").all())
    if hidden:
        text = f"Nothing certain: {hidden[0].summary}"
        return Verdict("unknown", None, text, 0.0)
    if not serving and idle >= limits.explains and not on_device(trace, trace.fact(device_use)):
        return Verdict("unknown", None, waiting_untold(trace, step, idle), 0.0)
    busy = "computing" if rows[DEVICE_COMPUTE].any() else CATEGORY[COMPUTE_OR_HOST].label
    doing, share = (busy, computing) if not serving or idle < 0.5 else ("waiting for work", idle)
    what = "call" if serving else "step"
    talking = float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).sum() / rows["dur"].sum())
    where, talks = "here", ""
    if talking >= limits.input_share:
        where, talks = "beside the exchange between ranks", f" and {percent(talking)} exchanging"
    if between >= limits.input_share:
        talks += f" and {percent(between)} between calls, where a busy host looks like one that waits for work"
    text = (
        f"Healthy: nothing {where} costs {percent(limits.input_share)} of a {what} or more. A {what} takes {ms(step)}, "
        f"{percent(share)} of it {doing}{talks}"
    )
    waits = float(rows[INPUT_WAIT].mean())
    tail = "; more loader workers will not make it faster." if not serving else "."
    if waits >= limits.input_share * step:
        tail = f"; {ms(waits)} go into taking over a batch, which only larger batches dilute."
    return Verdict("healthy", None, text + tail, standing.confidence)


def between_calls(rows: pd.DataFrame) -> float:
    """Share of the time of calls that lies between them, as far as nothing tells whether the host was busy there.

    0 without a window of torch's profiler, which alone tells what computes in the calls; nor in training.
    """
    if not (rows["phase"] == "inference").all() or not rows[DEVICE_COMPUTE].any():
        return 0.0
    return float(rows[COMPUTE_OR_HOST].sum() / rows["dur"].sum())


def waiting_untold(trace: Trace, step_ns: float, idle: float) -> str:
    """A loop that mostly waits for what nothing times: a sleep, a service, another process (or, on a device, for it)."""
    text = (
        f"The training thread waits {percent(idle)} of each step of {ms(step_ns)}, and not for its loader, a checkpoint or a "
        "copy: for what is not known."
    )
    return text + (" Its stacks show where: `perfscope ui`." if table(trace, "stacks") is not None else "")


def unknown(trace: Trace, reason: str) -> Verdict:
    """The evidence does not carry a verdict: how much there was, and what to do."""
    frame = trace.fact(steps)
    frame = frame[frame["phase"].isin((*STEADY, "warmup"))]
    span = span_s(trace)
    if len(frame):
        most = frame.groupby("process").size().max()
        longest = float(frame["dur"].max())
        wanted = max(30.0, 2.0 * span, 25.0 * longest / 1e9)
        text = (
            f"{plural(float(most), 'step')} in {digits(span)} s "
            f"{'is' if most == 1 else 'are'} too few to tell what bounds it. "
            f"Longest: {ms(longest)}. Try `--max-duration {wanted:.0f}`."
        )
        return Verdict("unknown", None, text, 0.0)
    seen = trace.fact(observed_budget)
    if table(trace, "ranges") is None and table(trace, "loader") is None:
        entered = manifest(trace).depth != "observe"
        text = (
            "The process ran no step while it was watched: no optimizer, loader or module call."
            if entered
            else "Looked at from outside only, so no steps were seen."
        )
        if seen is not None:
            shares = sorted(seen.shares.items(), key=lambda item: -item[1])
            told = ", ".join(f"{CATEGORY[name].label} {percent(share)}" for name, share in shares if share >= 0.01)
            text += f" The main thread: {told}. Nothing of it is clearly lost."
        why = manifest(trace).depth_reason
        return Verdict("unknown", None, text + (f" Not deeper: {why}" if why else ""), 0.0)
    where = f" in {digits(span)} s" if span > 0 else ""
    return Verdict(
        "unknown",
        None,
        f"No whole step was seen{where} ({reason}): no optimizer step, loader or module call repeated. "
        "If its steps are long, try a longer `--max-duration`.",
        0.0,
    )
