"""The verdict on a recording of perfscope's own: a finding, healthy, or unknown and what to do."""

from dataclasses import dataclass

import msgspec
import pandas as pd

from perfscope.analyzer.budget.critical_rank import most_steps
from perfscope.analyzer.budget.observed_budget import ObservedBudget, observed_budget
from perfscope.analyzer.categories import (
    CATEGORY,
    COMPUTE_OR_HOST,
    DEVICE_COMPUTE,
    EXPOSED_COMMUNICATION,
    EXPOSED_COPY,
    INPUT_WAIT,
    OTHER_IDLE,
    PEER_WAIT,
)
from perfscope.analyzer.counters.bound_by_from_counters import computes_on_device
from perfscope.analyzer.diagnosis import Finding, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import capitalized, digits, ms, percent, plural
from perfscope.analyzer.run.accelerators.device_use import device_use
from perfscope.analyzer.run.accelerators.device_window import device_window, window_trace
from perfscope.analyzer.run.loops.steps import STEADY, steps
from perfscope.analyzer.run.table_access import manifest, table, uses_device
from perfscope.analyzer.summary.run_budget import span_s
from perfscope.analyzer.verdict.confidence import VerdictConfidence
from perfscope.traces.trace import Trace

FEW_STEPS = "Based on few steps; record longer for higher confidence."
SHORTEST_RECORDING_S = 30.0
STEPS_TO_RECORD = 25
"""Steps of the longest duration that a longer recording should contain."""
SHOWN_SHARE = 0.01
"""Categories of the main thread with less than this share are not listed."""


@dataclass(frozen=True)
class StepShares:
    """Mean step of the critical rank in ns, and shares of it.

    `between_calls` is the time between calls of a server in which a busy host cannot be
    distinguished from one that waits.
    """

    step_ns: float
    computing: float
    idle: float
    communicating: float
    between_calls: float
    input_wait_ns: float
    serves: bool
    has_device_time: bool
    unseen: float
    """The share in which it is unknown whether a device works, and that of exposed copies."""


def finding_verdict(
    finding: Finding, confidence: VerdictConfidence, steps_caveat: str = ""
) -> Verdict:
    """Return the verdict that is the most expensive finding, with what limits its confidence."""
    caveats = [finding.caveat or ""]
    if confidence.rival is not None:
        caveats.append(
            f"{confidence.rival} costs about as much, so the order of the two is uncertain."
        )
    if confidence.has_few_steps:
        caveats.append(FEW_STEPS)
    caveats.append(steps_caveat)
    return Verdict(
        id=finding.id,
        cause=finding.cause,
        headline=finding.headline,
        explanation=finding.explanation,
        caveat=" ".join(filter(None, caveats)) or None,
        confidence=confidence.value,
    )


def with_shared_machine(verdict: Verdict, shared: Finding) -> Verdict:
    """Return a verdict with the caveat that other jobs use the machine, too."""
    caveat = (
        f"{shared.explanation.rstrip('.')}, and the loop waits for a core {percent(shared.share)}"
        " of the time, which no change to the program prevents."
    )
    caveats = " ".join(filter(None, (verdict.caveat, caveat)))
    return msgspec.structs.replace(verdict, caveat=caveats)


def caveat_without_steps(trace: Trace, limits: Limits) -> str:
    """Return the caveat of a verdict that rests on too few steps, "" where there are enough.

    Without the probe no steps are expected, and there is no caveat.
    """
    count = most_steps(trace)
    sources = manifest(trace).sources
    probe_is_off = any(source.name == "probe" and source.status == "off" for source in sources)
    if count >= limits.fewest_steps or probe_is_off:
        return ""
    if len(trace.fact(steps)):
        trains = (trace.fact(steps)["phase"] == "train").any()
        name = "step" if trains else "forward pass"
        return f"Based on {plural(count, f'steady {name}')}; record longer for higher confidence."
    return "No complete step was recorded: this describes the recording as a whole."


def verdict_without_losses(
    trace: Trace,
    limits: Limits,
    rows: pd.DataFrame,
    confidence: VerdictConfidence,
    hidden: list[Finding],
) -> Verdict:
    """Return the verdict where no finding costs enough.

    It is healthy unless a finding without a known loss (`hidden`) may explain the run, the thread
    waits for something that was not timed, or it is not known whether a device works.
    """
    shares = step_shares(rows)
    if hidden:
        return Verdict(
            id="unknown",
            cause=None,
            headline="No certain bottleneck",
            explanation=f"{hidden[0].headline}. {hidden[0].explanation}",
            caveat=hidden[0].caveat,
            confidence=0.0,
        )
    waits = not shares.serves and shares.idle >= limits.main_cause_share
    if waits and not computes_on_device(trace, trace.fact(device_use)):
        return untimed_wait_verdict(trace, shares)
    is_seen = not uses_device(trace) or trace.fact(window_trace) is not None
    if not is_seen and shares.unseen >= limits.recoverable_share:
        return unseen_device_verdict(trace, shares)
    return healthy_verdict(shares, limits, confidence)


def verdict_with_ignored(verdict: Verdict, ignored: list[Finding], limits: Limits) -> Verdict:
    """Return the verdict; a healthy one names the costly findings that it does not cover."""
    costly = [
        finding
        for finding in ignored
        if finding.severity != "info" and finding.share >= limits.worth_share
    ]
    if verdict.id != "healthy" or not costly:
        return verdict
    least = percent(limits.recoverable_share)
    names = ", ".join(f"{finding.id} ({percent(finding.share)})" for finding in costly)
    return msgspec.structs.replace(
        verdict,
        headline=f"Nothing else costs {least} of a step or more; ignored: {names}",
        caveat=None,
    )


def step_shares(rows: pd.DataFrame) -> StepShares:
    """Return how the steady steps divide."""
    whole_ns = float(rows["dur"].sum())
    between_calls = share_between_calls(rows)
    computing_ns = float((rows[COMPUTE_OR_HOST] + rows[DEVICE_COMPUTE]).sum())
    communicating_ns = float((rows[EXPOSED_COMMUNICATION] + rows[PEER_WAIT]).sum())
    return StepShares(
        step_ns=float(rows["dur"].mean()),
        computing=computing_ns / whole_ns - between_calls,
        idle=float(rows[OTHER_IDLE].sum()) / whole_ns,
        communicating=communicating_ns / whole_ns,
        between_calls=between_calls,
        input_wait_ns=float(rows[INPUT_WAIT].mean()),
        serves=bool((rows["phase"] == "inference").all()),
        has_device_time=bool(rows[DEVICE_COMPUTE].any()),
        unseen=float((rows[COMPUTE_OR_HOST] + rows[EXPOSED_COPY]).sum()) / whole_ns,
    )


def share_between_calls(rows: pd.DataFrame) -> float:
    """Return the share of the time between calls in which the host is busy or waits for requests.

    It is 0 in training, and without a window of torch's profiler: only that shows what computes in
    the calls.
    """
    if not (rows["phase"] == "inference").all() or not rows[DEVICE_COMPUTE].any():
        return 0.0
    return float(rows[COMPUTE_OR_HOST].sum() / rows["dur"].sum())


def healthy_verdict(shares: StepShares, limits: Limits, confidence: VerdictConfidence) -> Verdict:
    """Return the verdict that nothing recoverable is above its limit."""
    unit = "forward pass" if shares.serves else "step"
    caveat = None if shares.serves else "More loader workers would not make it faster."
    if shares.input_wait_ns >= limits.recoverable_share * shares.step_ns:
        caveat = (
            f"{ms(shares.input_wait_ns)} per step go into receiving batches; only larger batches"
            " amortize this."
        )
    limit = percent(limits.recoverable_share)
    return Verdict(
        id="healthy",
        cause=None,
        headline=f"Healthy: nothing recoverable costs {limit} of a {unit} or more",
        explanation=f"A {unit} takes {ms(shares.step_ns)}: {', '.join(parts_of(shares, limits))}.",
        caveat=caveat,
        confidence=confidence.value,
    )


def parts_of(shares: StepShares, limits: Limits) -> list[str]:
    """Return what a step consists of, as text with shares."""
    busy = "compute" if shares.has_device_time else CATEGORY[COMPUTE_OR_HOST].label
    parts = [f"{percent(shares.computing)} {busy}"]
    if shares.serves and shares.idle >= 0.5:
        parts = [f"{percent(shares.idle)} waiting for requests"]
    if shares.communicating >= limits.recoverable_share:
        parts.append(f"{percent(shares.communicating)} communication between ranks")
    if shares.between_calls >= limits.recoverable_share:
        parts.append(
            f"{percent(shares.between_calls)} between calls, where a busy host cannot be"
            " distinguished from one that waits"
        )
    return parts


def untimed_wait_verdict(trace: Trace, shares: StepShares) -> Verdict:
    """Return the verdict on a loop that mostly waits for something that was not timed.

    That may be a sleep, a service, another process, or the device if there is one.
    """
    has_stacks = table(trace, "stacks") is not None
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"The training thread waits {percent(shares.idle)} of each step",
        explanation=(
            f"Each step takes {ms(shares.step_ns)}. The thread waits for something perfscope does"
            " not time (not the loader, a checkpoint or a copy)."
        ),
        caveat="Its stack samples show where: `perfscope ui`." if has_stacks else None,
        confidence=0.0,
    )


def unseen_device_verdict(trace: Trace, shares: StepShares) -> Verdict:
    """Return the verdict on a loop of which it is not known whether the device works or waits.

    Without its own times neither small kernels nor slow ones nor exposed copies can be found.
    """
    busy = [use.means.get("kernel_time_share") for use in trace.fact(device_use) if use.processes]
    known = [share for share in busy if share is not None]
    counted = ""
    if known:
        counted = f" By the driver's counters it runs a kernel {percent(max(known))} of the time."
    window = trace.fact(device_window)
    advice = "Attach with `--depth kernels`: its profiling window shows what the device does."
    return Verdict(
        id="unknown",
        cause=None,
        headline="Unknown device activity: no profiling window shows it",
        explanation=(
            f"Each step takes {ms(shares.step_ns)}. In {percent(shares.unseen)} of it the device"
            f" computes, copies, or waits for the host to prepare its work.{counted} Nothing that"
            " the host waits for costs enough to be a finding."
        ),
        caveat=advice if window is None else f"{capitalized(window.why_not)}.",
        confidence=0.0,
    )


def unknown_verdict(trace: Trace, reason: str) -> Verdict:
    """Return the verdict where the evidence is insufficient: how much there was, what to do."""
    frame = trace.fact(steps)
    frame = frame[frame["phase"].isin((*STEADY, "warmup"))]
    if len(frame):
        return too_few_steps_verdict(frame, span_s(trace))
    if table(trace, "ranges") is None and table(trace, "loader") is None:
        return unobserved_steps_verdict(trace, trace.fact(observed_budget))
    span = span_s(trace)
    duration = f" in {digits(span)} s" if span > 0 else ""
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"No complete step was recorded{duration}",
        explanation=f"{capitalized(reason)}: no optimizer step, loader or module call repeated.",
        caveat="If its steps are long, record longer: `--max-duration`.",
        confidence=0.0,
    )


def too_few_steps_verdict(frame: pd.DataFrame, recorded_s: float) -> Verdict:
    """Return the verdict on a recording with too few steps, and how long to record."""
    count = float(frame.groupby("process").size().max())
    longest_ns = float(frame["dur"].max())
    wanted_s = max(SHORTEST_RECORDING_S, 2.0 * recorded_s, STEPS_TO_RECORD * longest_ns / 1e9)
    return Verdict(
        id="unknown",
        cause=None,
        headline=f"Too few steps: {plural(count, 'step')} in {digits(recorded_s)} s",
        explanation=(
            f"The longest step took {ms(longest_ns)}. Record longer: `--max-duration"
            f" {wanted_s:.0f}`."
        ),
        caveat=None,
        confidence=0.0,
    )


def unobserved_steps_verdict(trace: Trace, seen: ObservedBudget | None) -> Verdict:
    """Return the verdict on a recording without any call that marks a step."""
    headline = "No steps: the process was observed from outside only"
    if manifest(trace).depth != "observe":
        headline = "No step was recorded: no optimizer, loader or module call"
    explanation = ""
    if seen is not None:
        ordered = sorted(seen.shares.items(), key=lambda item: -item[1])
        parts = ", ".join(
            f"{CATEGORY[category].label} {percent(share)}"
            for category, share in ordered
            if share >= SHOWN_SHARE
        )
        explanation = f"The main thread: {parts}. None of it is clearly wasted."
    reason = manifest(trace).depth_reason
    return Verdict(
        id="unknown",
        cause=None,
        headline=headline,
        explanation=explanation,
        caveat=f"Could not attach the probe: {reason}" if reason else None,
        confidence=0.0,
    )
