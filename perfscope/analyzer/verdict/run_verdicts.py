"""How the phases of the whole recording change a verdict on its steps."""

from typing import Final

import msgspec

from perfscope.analyzer.diagnosis import RunPhase, Verdict
from perfscope.analyzer.limits import Limits
from perfscope.analyzer.number_text import percent
from perfscope.analyzer.run.phases import (
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

PASSES_WITH_TIME = "It passes with time: record again later, or longer with `--duration`."
NEXT_STEP: Final = {
    COMPILATION: PASSES_WITH_TIME,
    START_UP: PASSES_WITH_TIME,
    WARM_UP: PASSES_WITH_TIME,
    VALIDATION: "Record longer, so that several validation passes are in it.",
    CHECKPOINT: "Record longer, so that it is known how often checkpoints are written.",
    DATA_SETUP: "Record longer, so that it is known how often this is repeated.",
    LOGGING: "Record longer, so that it is known how often this is repeated.",
    WAITING_FOR_RANKS: "Record all ranks (`--all-ranks`), to see which one arrives last.",
    OTHER: "The stack samples outside of steps show what ran: `perfscope ui`.",
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


def verdict_on_recording(verdict: Verdict, budget: list[RunPhase], limits: Limits) -> Verdict:
    """Return a verdict on steps as one on the recorded time.

    Its confidence is lower by the unexplained share. Where much of the time is outside of steps,
    the run is not healthy: the verdict names the phase that fills it, and a finding mentions it.
    """
    shares = recorded_shares(budget)
    if not shares or verdict.scope == "run":
        return verdict
    unexplained = shares.get(OTHER, 0.0)
    sure = msgspec.structs.replace(
        verdict, confidence=round(verdict.confidence * (1.0 - unexplained), 3)
    )
    outside = {phase: share for phase, share in shares.items() if phase not in STEADY_PHASES}
    outside_share = sum(outside.values())
    if outside_share < limits.outside_steps_share:
        return sure
    if verdict.id == "healthy":
        return phase_verdict(verdict, outside, 1.0 - outside_share)
    largest = max(outside, key=lambda phase: outside[phase])
    if verdict.id == "unknown":
        is_most = largest != OTHER and outside[largest] >= limits.most_of_trace
        return phase_verdict(verdict, outside, 1.0 - outside_share) if is_most else sure
    return msgspec.structs.replace(
        sure,
        caveat=" ".join(filter(None, (verdict.caveat, outside_text(outside, 1.0 - outside_share)))),
    )


def phase_verdict(verdict: Verdict, outside: dict[str, float], steps_share: float) -> Verdict:
    """Return the verdict that names the largest phase outside of steps."""
    largest = max(outside, key=lambda phase: outside[phase])
    share = percent(outside[largest])
    headline = f"{PHASE_TEXT[largest].capitalize()} takes {share} of the recorded time"
    if largest == OTHER:
        headline = f"{share} of the recorded time is in no step and unexplained"
    explanation = outside_text(outside, steps_share)
    if verdict.id == "healthy":
        explanation += f" The steps themselves: {lower_first(verdict.headline)}."
    return Verdict(
        id="unknown",
        cause=None,
        headline=headline,
        explanation=explanation,
        caveat=NEXT_STEP[largest],
        confidence=0.0,
        scope="run",
    )


def outside_text(outside: dict[str, float], steps_share: float) -> str:
    """Return what fills the time outside of steps, with shares of the recorded time."""
    ordered = sorted(outside.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{PHASE_TEXT[phase]} {percent(share)}" for phase, share in ordered)
    return f"Steps fill {percent(steps_share)} of the recorded time; the rest is {parts}."


def lower_first(text: str) -> str:
    """Return the text with a small first letter."""
    return text[:1].lower() + text[1:]
