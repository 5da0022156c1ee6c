"""How the phases of the whole recording change a verdict on its steps."""

from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import Finding, RunPhase, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import as_clause, percent
from perfscope.analyzer.run.phases.phase_intervals import (
    CHECKPOINT,
    COMPILATION,
    DATA_SETUP,
    IDLE,
    LOGGING,
    NOT_RECORDED,
    OTHER,
    START_UP,
    STEPS,
    VALIDATION,
    WAITING_FOR_RANKS,
    WARM_UP,
)

STEADY_PHASES: Final = (STEPS, IDLE)
"""Phases that the steady steps describe."""

REPEATING: Final = (CHECKPOINT, LOGGING, DATA_SETUP, WAITING_FOR_RANKS)
"""Phases that a run repeats; validation is a finding of its own."""

ENDS_AFTER_A_TIME = "This phase ends: record again later, or longer with `--duration`."
SMALLEST_NAMED = 0.005
"""Smaller shares of the recorded time are not named: they would be 0 %."""
NEXT_STEP: Final = {
    COMPILATION: ENDS_AFTER_A_TIME,
    START_UP: ENDS_AFTER_A_TIME,
    WARM_UP: ENDS_AFTER_A_TIME,
    VALIDATION: "Record longer, so that several validation passes are in it.",
    CHECKPOINT: "Record longer, to see how often checkpoints are written.",
    DATA_SETUP: "Record longer, to see how often this is repeated.",
    LOGGING: "Record longer, to see how often this is repeated.",
    WAITING_FOR_RANKS: "Record all ranks (`--all-ranks`), to see which one arrives last.",
    OTHER: "Its stack samples show what ran: see the page By code of `perfscope ui`.",
}
"""What to do to know more, by the phase that fills the time outside of steps."""
PHASE_TEXT: Final = {
    COMPILATION: "compilation",
    START_UP: "start-up",
    WARM_UP: "warm-up",
    VALIDATION: "validation",
    CHECKPOINT: "writing checkpoints between steps",
    DATA_SETUP: "setting up data",
    LOGGING: "logging",
    WAITING_FOR_RANKS: "waiting for other ranks",
    OTHER: "unexplained",
}


def recorded_shares(budget: list[RunPhase]) -> dict[str, float]:
    """Return the share of each phase in the recorded time, without what was not recorded."""
    recorded_s = sum(phase.seconds for phase in budget if phase.phase != NOT_RECORDED)
    if recorded_s <= 0.0:
        return {}
    return {
        phase.phase: phase.seconds / recorded_s for phase in budget if phase.phase != NOT_RECORDED
    }


def verdict_on_recording(
    verdict: Verdict, finding: Finding | None, budget: list[RunPhase], limits: Limits
) -> Verdict:
    """Return a verdict on steps as one on the recorded time.

    Its confidence is lower by the unexplained share. Where much of the time is outside of steps,
    the run is not healthy: the verdict names the phase that fills it. A finding mentions it, unless
    it costs much less than a phase that repeats. Nothing changes where no phase is known.
    """
    shares = recorded_shares(budget)
    if verdict.scope == "run" or not set(shares) - {OTHER}:
        return verdict
    outside = {phase: share for phase, share in shares.items() if phase not in STEADY_PHASES}
    outside_share = sum(outside.values())
    confidence = round(verdict.confidence * (1.0 - shares.get(OTHER, 0.0)), 3)
    sure = msgspec.structs.replace(verdict, confidence=confidence)
    if outside_share < limits.outside_steps_share:
        return sure
    named = dict(outside)
    if finding is not None:
        least = max(limits.outside_steps_share, finding.share_of_run / limits.main_cause_share)
        named = {phase: outside.get(phase, 0.0) for phase in REPEATING}
    elif verdict.id == "unknown" or verdict.kind == "general":
        least = limits.most_of_trace
        named.pop(OTHER, None)
    else:
        least = 0.0
    largest = max(named, key=lambda phase: named[phase], default=None)
    if largest is not None and named[largest] >= least:
        return phase_verdict(verdict, largest, outside)
    if finding is None:
        return sure
    caveats = (verdict.caveat, outside_text(outside))
    return msgspec.structs.replace(sure, caveat=" ".join(filter(None, caveats)))


def phase_verdict(verdict: Verdict, phase: str, outside: dict[str, float]) -> Verdict:
    """Return the verdict that names a phase outside of steps, with what is known of the steps."""
    share = percent(outside[phase])
    headline = f"{capitalized_phase(phase)} takes {share} of the recorded time"
    if phase == OTHER:
        headline = f"{share} of the recorded time is in no step and unexplained"
    explanation = outside_text(outside)
    if verdict.id != "unknown" and 1.0 - sum(outside.values()) >= SMALLEST_NAMED:
        explanation += f" In the steps: {as_clause(verdict.headline)}."
    return Verdict(
        id="unknown",
        cause=None,
        headline=headline,
        explanation=explanation,
        caveat=NEXT_STEP[phase],
        confidence=0.0,
        scope="run",
    )


def outside_text(outside: dict[str, float]) -> str:
    """Return what fills the time outside of steps, with shares of the recorded time."""
    ordered = sorted(outside.items(), key=lambda item: -item[1])
    parts = ", ".join(
        f"{PHASE_TEXT[phase]} {percent(share)}"
        for phase, share in ordered
        if share >= SMALLEST_NAMED
    )
    steps_share = 1.0 - sum(outside.values())
    filled = percent(steps_share) if steps_share >= SMALLEST_NAMED else "almost none"
    return f"Steps fill {filled} of the recorded time; the rest is {parts}."


def capitalized_phase(phase: str) -> str:
    """Return the name of a phase at the beginning of a sentence."""
    return PHASE_TEXT[phase][:1].upper() + PHASE_TEXT[phase][1:]
